"""Round trips as the page shows them: each client's last ones, the model's, and the best."""

from __future__ import annotations

import functools
from array import array
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isnan, nan
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from experiments.breaks import SERVICE
from experiments.verdict.oracle import oracle
from topologies.plan import HostRole, Plan

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RECENT", "Trip", "Trips"]

RECENT = 40
"""How many round trips of a client are shown."""

NEEDED = {"sent_ns", "rtt_ms", "outcome"}
"""The columns of samples that tell round trips and their times, beside who asked."""


@dataclass(frozen=True, slots=True)
class Trip:
    """One round trip: when it was sent (ns), how long it took (ms; None is lost), and by what.

    ``pop`` is the one that answered, ``model_ms`` how long the model says; "" and None if unknown.
    """

    sent_ns: int
    rtt_ms: float | None
    pop: str = ""
    model_ms: float | None = None


class _Series:
    """Round trips of one client in order, by column: a run may have millions of them."""

    __slots__ = ("model_ms", "pops", "rtt_ms", "sent_ns")

    def __init__(self) -> None:
        self.sent_ns, self.rtt_ms, self.model_ms = array("q"), array("d"), array("d")
        self.pops: list[str] = []

    def add(self, trip: Trip) -> None:
        """One more."""
        self.sent_ns.append(trip.sent_ns)
        self.rtt_ms.append(nan if trip.rtt_ms is None else trip.rtt_ms)
        self.model_ms.append(nan if trip.model_ms is None else trip.model_ms)
        self.pops.append(trip.pop)

    def keep(self, most: int) -> None:
        """Forget all but the last ones."""
        for column in (self.sent_ns, self.rtt_ms, self.model_ms, self.pops):
            del column[:-most]


class Trips:
    """Round trips by who asked (a client, and the arm of a study if it has some), in order."""

    def __init__(self, plan: Plan, keep: int | None = None) -> None:
        """Of nobody yet; only the last ``keep`` of each are kept, if it is given."""
        self._keep = keep
        self._plan, self._oracle = plan, oracle(plan)
        self._model_ms = functools.cache(self._worked_out_ms)
        self._of: defaultdict[tuple[str, str], _Series] = defaultdict(_Series)

    @classmethod
    def of_samples(cls, plan: Plan, samples: pd.DataFrame, ahead_ns: int) -> Trips:
        """Those of a run's samples; none if they do not tell when who asked.

        ``ahead_ns`` is what the log's clock is ahead of that of the samples.
        """
        made = cls(plan)
        asked = next((name for name in ("client", "host") if name in samples), None)
        if asked is None or not set(samples.columns) >= NEEDED:
            return made
        clients = {host.name for host in plan.hosts_of(HostRole.CLIENT)}
        counted = samples[samples[asked].isin(clients)]
        if "target" in counted:
            counted = counted[counted["target"] == SERVICE]
        usual: dict[str, str | float] = {"arm": "", "pop": "", "model_rtt_ms": nan}
        rows = counted.assign(**{k: v for k, v in usual.items() if k not in counted})
        rows = rows.sort_values("sent_ns", kind="stable")
        for (client, arm), mine in rows.groupby([asked, "arm"], observed=True, sort=False):
            series = made._of[str(client), str(arm)]
            series.sent_ns.extend((mine["sent_ns"] + ahead_ns).astype(int))
            series.rtt_ms.extend(mine["rtt_ms"].where(mine["outcome"] == "ok").astype(float))
            series.model_ms.extend(mine["model_rtt_ms"].astype(float))
            series.pops.extend(mine["pop"].astype(object).where(mine["pop"].notna(), ""))
        return made

    def add(self, client: str, trip: Trip, arm: str = "") -> None:
        """One more, later than those before."""
        mine = self._of[client, arm]
        mine.add(trip)
        if self._keep is not None:
            mine.keep(self._keep)

    def met(self, found: Iterable[Mapping[str, Any]], cities: Mapping[str, str | None]) -> None:
        """Add what a lab's ``probe`` says, while these PoPs served these cities."""
        for one in found:
            pop = cities.get(self._plan.host(one["client"]).city)
            model = self._model_ms(one["client"], pop) if pop else None
            self.add(one["client"], Trip(one["sent_ns"], one["rtt_ms"], pop or "", model))

    @property
    def start_ns(self) -> int:
        """When the first one was sent; 0 if there is none."""
        return min((series.sent_ns[0] for series in self._of.values()), default=0)

    @property
    def end_ns(self) -> int:
        """When the last one was sent."""
        return max((series.sent_ns[-1] for series in self._of.values()), default=0)

    def until(self, now_ns: int, announced: Iterable[str]) -> list[dict[str, Any]]:
        """The last ones of each that were sent by now, beside the nearest PoP that announces."""
        pops, found = tuple(announced), []
        for (client, arm), series in sorted(self._of.items(), key=itemgetter(0)):
            upto = bisect_right(series.sent_ns, now_ns)
            if upto:
                last = upto - 1
                found.append(
                    {
                        "client": client,
                        "arm": arm,
                        "pop": series.pops[last],
                        "rtt_ms": _known(series.rtt_ms[last]),
                        "model_ms": _known(series.model_ms[last]),
                        "best_ms": self._best_ms(client, pops),
                        "recent": [_known(x) for x in series.rtt_ms[max(0, upto - RECENT) : upto]],
                    }
                )
        return found

    def _best_ms(self, client: str, pops: tuple[str, ...]) -> float | None:
        """To a server of the nearest of some PoPs and back, by the model."""
        found = (self._model_ms(client, pop) for pop in pops)
        return min((ms for ms in found if ms is not None), default=None)

    def _worked_out_ms(self, client: str, pop: str) -> float | None:
        """To a server of a PoP and back, by the model; None if no way leads there."""
        try:
            return self._oracle.rtt_ms(client, self._plan.servers_of(pop)[0].name)
        except KeyError:
            return None


def _known(ms: float) -> float | None:
    return None if isnan(ms) else ms
