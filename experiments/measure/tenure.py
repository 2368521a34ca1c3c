"""Who was right to receive what, while port sets change hands: pure, and told by nobody's rules.

The judge knows two things only: what was said to whom who asked for a change, and when; and what
reached which server, and when. While a change is in progress, old and new holder are both right.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = ["NOBODY", "Act", "Arrival", "Judgement", "Tenures", "judge"]

NOBODY = ""
_UNIT = 16
"""Ports of the smallest set that is ever lent: no change parts them."""

Place = tuple[int, int]
"""An address, as a number, and a unit of its ports."""


@dataclass(frozen=True, slots=True)
class Act:
    """Ports of an address change hands: asked for at one time, confirmed at a later one.

    ``before`` and ``after`` are servers, or NOBODY. Times are of one clock, in nanoseconds.
    """

    address: int
    first_port: int
    last_port: int
    before: str
    after: str
    asked_ns: int
    confirmed_ns: int


@dataclass(frozen=True, slots=True)
class Arrival:
    """A packet at a server's interface, by the clock of the acts."""

    server: str
    at_ns: int
    address: int
    port: int


class Tenures:
    """Who held which port at which time, as far as acts tell."""

    def __init__(self, acts: Iterable[Act]) -> None:
        self._acts: defaultdict[Place, list[Act]] = defaultdict(list)
        for act in sorted(acts, key=_asked):
            for unit in range(act.first_port // _UNIT, act.last_port // _UNIT + 1):
                self._acts[act.address, unit].append(act)

    def holders(self, address: int, port: int, at_ns: int) -> set[str]:
        """Everybody who was right to receive for a port: one, two in a change, or nobody."""
        acts, found = self._acts.get((address, port // _UNIT), []), {NOBODY}
        for act in reversed(acts[: bisect_right(acts, at_ns, key=_asked)]):
            found.add(act.after)
            if act.confirmed_ns < at_ns:
                break
            found.add(act.before)
        return found - {NOBODY}

    def lost_ns(self, arrival: Arrival) -> int | None:
        """How long before an arrival its server lost the port, confirmed; None if it never did."""
        acts = self._acts.get((arrival.address, arrival.port // _UNIT), [])
        times = [
            act.confirmed_ns
            for act in acts
            if act.before == arrival.server and act.confirmed_ns < arrival.at_ns
        ]
        return arrival.at_ns - max(times) if times else None


def _asked(act: Act) -> int:
    return act.asked_ns


@dataclass(slots=True)
class Judgement:
    """Packets by what may be said of them; ``wrong`` keeps those that reached another server.

    ``late`` are those that still reached the last holder, ``latest_ns`` at most, when it was
    confirmed that it holds the port no more.
    """

    right: int = 0
    in_change: int = 0
    late: int = 0
    latest_ns: int = 0
    wrong: list[Arrival] = field(default_factory=list)

    @property
    def delivered(self) -> int:
        """All packets that reached somebody who was right to receive them."""
        return self.right + self.in_change


def judge(tenures: Tenures, arrivals: Iterable[Arrival], grace_ns: int = 0) -> Judgement:
    """Hold every arrival against who was right at its time.

    ``grace_ns`` is how long a switch may take to do as it has confirmed: no longer is one late.
    """
    found = Judgement()
    for arrival in arrivals:
        holders = tenures.holders(arrival.address, arrival.port, arrival.at_ns)
        if arrival.server in holders:
            found.right += len(holders) == 1
            found.in_change += len(holders) > 1
            continue
        lost_ns = tenures.lost_ns(arrival)
        if lost_ns is not None and lost_ns <= grace_ns:
            found.late += 1
            found.latest_ns = max(found.latest_ns, lost_ns)
        else:
            found.wrong.append(arrival)
    return found
