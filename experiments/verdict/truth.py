"""Are the study's own times those of the model? Every run is judged by what it measured itself.

The calibration's pings (``experiments.verdict.calibrate``) tell of other paths at other moments; a
study whose own samples are off is wrong, whatever they said.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from experiments.verdict.result import Check

if TYPE_CHECKING:
    import pandas as pd

    from topologies.plan import Plan

SHARE = 0.1
"""A path's median may be off by this share of its RTT, or by ``Timed.floor_us`` if that is more."""

SIGMAS = 4.0
"""So many standard deviations off is no chance any more."""

FEW = 0.01
"""So small a share may have come too late on a machine that was busy for a moment."""

TAIL = 3.0
"""One sample in a hundred may be off by so many times what a median may."""


@dataclass(frozen=True)
class Timed:
    """Which samples of a study are times: ``rtt_ms`` beside ``model_rtt_ms``.

    ``path`` names the columns that tell paths apart, ``where`` picks the rows that count, and
    ``floor_us`` is what programs at the ends may add to any path. ``arm`` names the column that
    says by which of the means that the study compares. ``complete``: wherever there is a model
    there is an answer, so nothing may be lost but what links lose by themselves.
    """

    path: tuple[str, ...]
    where: Callable[[pd.DataFrame], pd.Series[bool]]
    floor_us: float = 400.0
    arm: str = "arm"
    complete: bool = False

    def counting(self, samples: pd.DataFrame) -> pd.Series[bool]:
        """Which rows are times that count: answered, and picked by ``where``."""
        return (samples["outcome"] == "ok") & samples["rtt_ms"].notna() & self.where(samples)


def checks(timed: Timed, samples: pd.DataFrame, plan: Plan) -> tuple[Check, ...]:
    """Whether a study's times are the model's, and whether any is missing."""
    lost = (_complete(timed, samples, plan),) if timed.complete else ()
    return (*times(timed, samples, plan), *lost)


def times(timed: Timed, samples: pd.DataFrame, plan: Plan) -> tuple[Check, ...]:
    """Whether each path's median is the model's, on either side, and how far the tail reaches."""
    import pandas as pd

    rows = samples[timed.counting(samples)].dropna(subset="model_rtt_ms")
    if len(rows) == 0:
        return (Check("the study's times are the model's", False, "nothing was timed"),)
    error_us = (rows["rtt_ms"] - rows["model_rtt_ms"]) * 1000
    bound_us = (SHARE * rows["model_rtt_ms"] * 1000).clip(lower=timed.floor_us)
    off = error_us / bound_us
    judged = pd.DataFrame({"off": off, "error": error_us, "bound": bound_us})
    medians = judged.groupby(_paths(timed, rows)).median()
    worst = int(medians["off"].abs().to_numpy().argmax())
    name, error, bound = medians.index[worst], *medians.iloc[worst][["error", "bound"]]
    true = bool((medians["off"].abs() <= 1).all())
    by_median = Check(
        "the study's times are the model's",
        true,
        f"{len(medians)} paths; the worst median, {name}, is off by {error:.0f} us, "
        f"the bound is {bound:.0f} us",
        noise=not true and bool((medians["off"] >= -1).all()),
    )
    if _scatters(plan):
        return (by_median,)
    tail = float(off.abs().quantile(0.99))
    early = -float(off.quantile(0.01))
    by_tail = Check(
        "the study's times keep together",
        tail <= TAIL,
        f"of {len(rows)} times one in a hundred is off by {tail:.2f} times its path's bound "
        f"or more; {TAIL:g} times are allowed",
        noise=early <= TAIL < tail,
    )
    return (by_median, by_tail)


def _complete(timed: Timed, samples: pd.DataFrame, plan: Plan) -> Check:
    """Every path is answered as often as the links' own loss allows, by the lossiest way."""
    rows = samples[timed.where(samples)].dropna(subset="model_rtt_ms")
    counted = (rows["outcome"] == "ok").groupby(_paths(timed, rows)).agg(["sum", "size"])
    survival = _least_survival(plan)
    chance = (counted["size"] * survival * (1 - survival)) ** 0.5
    lacking = counted["size"] * survival - SIGMAS * chance - counted["sum"]
    good = len(counted) > 0 and bool((lacking <= 0).all())
    first = "" if good or counted.empty else f"; most on {lacking.idxmax()}"
    sent = int(counted["size"].sum())
    lost = sent - int(counted["sum"].sum())
    return Check(
        "nothing is lost but what links lose by themselves",
        good,
        f"{lost} of {sent} packets on {len(counted)} paths{first}",
        noise=not good and 0 < lost <= FEW * sent,
    )


def _paths(timed: Timed, rows: pd.DataFrame) -> pd.Series[str]:
    """The path of each row, in words."""
    import pandas as pd

    parts = rows[list(timed.path)].astype(str).itertuples(index=False)
    return pd.Series(map(" ".join, parts), index=rows.index, dtype=str)


def _least_survival(plan: Plan) -> float:
    """The share of round trips that the links leave on the lossiest way from a client to a PoP."""
    from experiments.verdict.oracle import oracle
    from topologies.plan import HostRole

    if not any(link.line.loss for link in plan.links):
        return 1.0
    model = oracle(plan)
    return min(
        model.survival(client.name, plan.servers_of(pop)[0].name)
        for client in plan.hosts_of(HostRole.CLIENT)
        for pop in model.pops
    )


def _scatters(plan: Plan) -> bool:
    """Whether links scatter times by themselves: then a tail is no fault of the emulator."""
    return any(link.line.jitter_ns or link.line.rate_bit_s for link in plan.links)
