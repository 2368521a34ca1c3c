"""How many PoPs are enough?

All PoPs stand in one lab. They are announced one after the other, in several orders, and at every
number of them all clients ping the service. A set of PoPs that comes up in several orders is
measured once.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.errors import UsageError
from experiments.parameters import SOME, Parameter, Value
from experiments.study import Evidence, Findings, Study, Trial
from experiments.verdict import sites, truth
from experiments.verdict.oracle import Oracle
from experiments.verdict.result import Check, Metric
from experiments.verdict.truth import SHARE, Timed
from topologies.model import Network
from topologies.placement import spread
from topologies.plan import HostRole

if TYPE_CHECKING:
    import pandas as pd

GREEDY, SPREAD, REVERSE, RANDOM, BEST = "greedy", "spread", "reverse", "random", "best"
ORDERS = (GREEDY, SPREAD, REVERSE, RANDOM)
"""Each set holds the one before. ``best`` is no order: it is the best set of each size."""

ENOUGH = 1.1
"""PoPs are enough if the median is at most so many times that of all PoPs."""

FLOOR_MS = 0.4
"""By so much a statistic may be off the closed form, or by ``SHARE`` of it if that is more."""

TIMED = Timed(
    ("announced", "client"),
    where=lambda samples: samples["sequence"] > 0,
    arm="announced",
    complete=True,
)

Points = Mapping[tuple[str, int], tuple[str, ...]]
"""By order and number: the PoPs that are announced."""


def prepare(network: Network, _params: Mapping[str, Value]) -> Network:
    """The network as it is. Raises UsageError if it has one PoP alone."""
    if len(network.pops) < 2:
        raise UsageError(
            f"{network.name} has one PoP, and the study adds more: give it some with --pops."
        )
    return network


def orders(oracle: Oracle, seed: int) -> dict[str, tuple[str, ...]]:
    """All PoPs by each of ``ORDERS``, the first to be announced first."""
    ranked = sites.greedy(sites.rtts(oracle))
    shuffled = list(oracle.pops)
    random.Random(seed).shuffle(shuffled)
    far = spread(oracle.plan.network, len(oracle.pops), oracle.pops)
    return {GREEDY: ranked, SPREAD: tuple(far), REVERSE: ranked[::-1], RANDOM: tuple(shuffled)}


def points(oracle: Oracle, seed: int) -> Points:
    """What is measured, in this order; the best sets are left out where they are not known."""
    found = {
        (name, count): order[:count]
        for name, order in orders(oracle, seed).items()
        for count in range(1, len(order) + 1)
    }
    ways = sites.rtts(oracle)
    for count in range(1, len(oracle.pops) + 1):
        chosen = sites.best(ways, count)
        if chosen is not None:
            found[BEST, count] = chosen
    return found


def without(oracle: Oracle) -> tuple[str, tuple[str, ...]]:
    """For the control: the PoP that is missed most, and all others."""
    gone = sites.dearest(sites.rtts(oracle))
    return gone, tuple(pop for pop in oracle.pops if pop != gone)


def named(oracle: Oracle, pops: tuple[str, ...]) -> str:
    """A set of PoPs as it stands in the samples: in the network's order, whatever theirs."""
    return " ".join(pop for pop in oracle.pops if pop in pops)


# -- what is done in the lab


def trial(t: Trial) -> None:
    """Each set of PoPs once, all of them at last."""
    everything = t.oracle.pops
    wanted = [*points(t.oracle, t.spec.seed).values(), without(t.oracle)[1]]
    announced = set(everything)
    for pops in dict.fromkeys(named(t.oracle, pops) for pops in wanted):
        announced = t.announce(announced, set(pops.split()))
        _look(t, pops)
    t.announce(announced, set(everything))


def _look(t: Trial, announced: str) -> None:
    """Ask every client where it lands, then how long that takes."""
    from experiments.measure.http import Request, get
    from experiments.measure.ping import EchoProbe, ping

    clients = t.plan.hosts_of(HostRole.CLIENT)
    with t.step(f"where clients land with {announced}"):
        requests = [Request(client.name, t.service) for client in clients]
        answers = get(requests, timeout_s=t.param("timeout_s"), spacing_s=0.01)
    landed = {row.host: row.fields.get("pop") for row in answers if row.outcome == "ok"}
    model = sites.nearest(sites.rtts(t.oracle), announced.split())
    with t.timed_step(f"{len(clients)} clients ping"):
        rows = ping(
            [EchoProbe(client.name, t.service) for client in clients],
            count=t.count("pings"),
            interval_s=len(clients) / t.param("rate_per_s"),
            timeout_s=t.param("timeout_s"),
            seed=t.spec.seed,
        )
    for row in rows:
        t.reporter.emit(
            {
                "announced": announced,
                "client": row.host,
                "city": t.plan.host(row.host).city,
                "pop": landed.get(row.host),
                "sequence": row.sequence,
                "sent_ns": row.sent_ns,
                "outcome": row.outcome,
                "rtt_ms": None if row.rtt_ns is None else row.rtt_ns / 1e6,
                "model_rtt_ms": model[row.host],
            }
        )


# -- what the evidence says


def evaluate(e: Evidence) -> Findings:
    """Medians by client first, so that every client counts once."""
    medians = medians_table(e)
    table = sites_table(e, medians)
    metrics = {
        "clients": Metric(len(e.plan.hosts_of(HostRole.CLIENT)), "1"),
        "pops": Metric(len(e.oracle.pops), "1"),
    }
    for name in table["order"].drop_duplicates():
        metrics |= _metrics_of(str(name), table)
    for row in table[table["order"] == GREEDY].to_dict("records"):
        metrics[f"{GREEDY}_rtt_p50_{row['pops']}"] = Metric(_known(row["rtt_p50_ms"]), "ms")
        metrics[f"{GREEDY}_rtt_p90_{row['pops']}"] = Metric(_known(row["rtt_p90_ms"]), "ms")
    tables = {"sites": table, "clients": medians}
    return Findings(_answer(e, metrics), metrics, _checks(e, medians, table), tables)


def medians_table(e: Evidence) -> pd.DataFrame:
    """A row per set of PoPs and client: where it lands, and its median round trip, ms."""
    import pandas as pd

    good = e.samples[(e.samples["sequence"] > 0) & (e.samples["outcome"] == "ok")]
    by = ["announced", "client"]
    medians = good.groupby(by)["rtt_ms"].median()
    rows = []
    for announced, client, pop in _landed(e.samples):
        pops = announced.split()
        allowed = e.oracle.nearest_of(client, pops)
        row: dict[str, Any] = {"announced": announced, "pops": len(pops), "client": client}
        row |= {"pop": pop, "nearest": " ".join(allowed), "at_nearest": pop in allowed}
        rows.append(row | {"rtt_ms": medians.get((announced, client))})
    return pd.DataFrame(rows).astype({"rtt_ms": float})


def _landed(samples: pd.DataFrame) -> Iterator[tuple[str, str, str]]:
    """Set of PoPs, client, and where it landed; empty if nobody answered."""
    firsts = samples.drop_duplicates(["announced", "client"])
    pops = firsts["pop"].fillna("")
    yield from zip(firsts["announced"], firsts["client"], pops, strict=True)


def sites_table(e: Evidence, medians: pd.DataFrame) -> pd.DataFrame:
    """A row per order and number of PoPs: round trips over clients, as measured and modelled, ms.

    ``added`` is the PoP that came last; the best sets do not grow out of each other.
    """
    import pandas as pd

    ways = sites.rtts(e.oracle)
    rows = []
    for (order, count), pops in points(e.oracle, e.spec.seed).items():
        announced = named(e.oracle, pops)
        mine = medians[medians["announced"] == announced]
        row: dict[str, Any] = {"order": order, "pops": count, "announced": announced}
        row |= {"added": "" if order == BEST else pops[-1]}
        row |= {"clients": int(mine["rtt_ms"].notna().sum())}
        row |= _statistics("", mine["rtt_ms"])
        rows.append(row | _statistics("model_", pd.Series(sites.nearest(ways, pops))))
    table = pd.DataFrame(rows)
    numbers = [column for column in table if str(column).endswith("_ms")]
    return table.astype(dict.fromkeys(numbers, float))


def _statistics(prefix: str, rtt_ms: pd.Series[float]) -> dict[str, float | None]:
    from experiments import stats

    known = rtt_ms.dropna()
    return {
        f"{prefix}rtt_p50_ms": stats.median(known),
        f"{prefix}rtt_p90_ms": stats.quantile(known, 0.9),
        f"{prefix}rtt_mean_ms": float(known.mean()) if len(known) else None,
    }


def enough(rtt_p50_ms: pd.Series[float]) -> int | None:
    """The least number of PoPs whose median is near that of all; None if that is not known.

    The medians are by number, from one PoP to all of them.
    """
    medians = [float(value) for value in rtt_p50_ms]
    if medians[-1] != medians[-1]:
        return None
    near = (n for n, value in enumerate(medians, 1) if value <= ENOUGH * medians[-1])
    return next(near)


def _metrics_of(order: str, table: pd.DataFrame) -> Iterator[tuple[str, Metric]]:
    mine = table[table["order"] == order]
    yield f"{order}_enough", Metric(enough(mine["rtt_p50_ms"]), "1")
    yield f"{order}_one_rtt_p50", Metric(_known(mine["rtt_p50_ms"].iloc[0]), "ms")
    for name in ("p50", "p90", "mean"):
        last = mine[f"rtt_{name}_ms"].iloc[-2:]
        yield f"{order}_last_gain_{name}", Metric(_known(last.iloc[0] - last.iloc[1]), "ms")


def _known(value: float) -> float | None:
    """A number; None if it is none."""
    return float(value) if value == value else None


def _checks(e: Evidence, medians: pd.DataFrame, table: pd.DataFrame) -> tuple[Check, ...]:
    answered, near = int(medians["rtt_ms"].notna().sum()), int(medians["at_nearest"].sum())
    return (
        Check(
            "every client is answered, however many PoPs there are",
            0 < len(medians) == answered,
            f"{answered} of {len(medians)} times",
        ),
        Check(
            "every client lands in the nearest PoP that is announced",
            0 < len(medians) == near,
            f"{near} of {len(medians)} times",
        ),
        _as_modelled(table),
        *_withdrawn(e),
    )


def _as_modelled(table: pd.DataFrame) -> Check:
    """The statistics that are the study's answer, beside the closed form."""
    columns = [f"rtt_{name}_ms" for name in ("p50", "p90", "mean")]
    models = table[[f"model_{column}" for column in columns]].to_numpy(float)
    off = (table[columns].to_numpy(float) - models) / (SHARE * models).clip(min=FLOOR_MS)
    true = bool((abs(off) <= 1).all())  # not if one is not known
    return Check(
        "by every order and number median, p90 and mean are the closed form's",
        true,
        f"{off.size} numbers; off by {abs(off).max():.2g} times the bound at most",
        noise=not true and bool((off >= -1).all()),
    )


def _withdrawn(e: Evidence) -> tuple[Check, Check]:
    """One PoP is withdrawn: a model that has it must be wrong, one that has not must be right."""
    import pandas as pd

    gone, others = without(e.oracle)
    mine = e.samples[e.samples["announced"] == named(e.oracle, others)]
    ways = sites.rtts(e.oracle)

    def judged(pops: tuple[str, ...]) -> Check:
        model = mine["client"].map(pd.Series(sites.nearest(ways, pops), dtype=float))
        return truth.times(TIMED, mine.assign(model_rtt_ms=model), e.plan)[0]

    wrong, right = judged(e.oracle.pops), judged(others)
    timed = bool((mine["outcome"] == "ok").any())
    return (
        Check(
            "control: while a PoP is withdrawn, times are not those of a model that has it",
            timed and not wrong.passed,
            f"{gone}: {wrong.detail}",
        ),
        Check(
            "twin: they are those of a model that has it not",
            right.passed,
            f"{gone}: {right.detail}",
            noise=right.noise,
        ),
    )


def _answer(e: Evidence, metrics: Mapping[str, Metric]) -> str:
    count, every = (
        metrics[f"{GREEDY}_{x}"].value for x in ("enough", f"rtt_p50_{len(e.oracle.pops)}")
    )
    if count is None or every is None:
        return "With all PoPs not enough was answered, so there is nothing to compare with."
    others = (name for name in (*ORDERS[1:], BEST) if f"{name}_enough" in metrics)
    told = ", ".join(f"{name} {metrics[f'{name}_enough'].value}" for name in others)
    return (
        f"Of {len(e.oracle.pops)} PoPs {count} bring the median round trip within"
        f" {ENOUGH - 1:.0%} of that of all ({every:.1f} ms), if each next one is the most useful;"
        f" otherwise: {told}."
    )


def draw(e: Evidence, findings: Findings, folder: Path) -> list[Path]:
    """Median and 90th percentile of clients' round trips against the number of PoPs."""
    from experiments.show.figures import sites as figure

    return [figure.draw(findings.tables["sites"], ENOUGH, folder / "sites.png")]


STUDY = Study(
    name="sites",
    question="How many PoPs are enough?",
    baselines=(
        "greedy in reverse, in a random order, and far from each other",
        "the best set of each size, by exhaustive search",
    ),
    controls=("with a PoP withdrawn that the model still has, times must not be the model's",),
    parameters={
        "pings": Parameter(
            20, 5, "requests per client and set of PoPs; the first is not counted", least=2
        ),
        "rate_per_s": Parameter(150, 150, "requests per second in the whole network", least=SOME),
        "timeout_s": Parameter(2, 1, "how long to wait for a reply, seconds", least=SOME),
    },
    trial=trial,
    evaluate=evaluate,
    draw=draw,
    prepare=prepare,
    timed=TIMED,
)
