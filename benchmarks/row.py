"""One line of the benchmark table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """A goal and what was measured; ``ratio`` is ours / peer, or its inverse where ``goal`` says.

    ``peer`` is None where the goal is an absolute figure; then ``ratio`` is None too.
    """

    name: str
    ours: float
    peer: float | None
    ratio: float | None
    unit: str
    goal: str
    met: bool


def faster(name: str, ours: Sequence[float], peer: Sequence[float], times: float) -> Row:
    """A duration in seconds, to be at least ``times`` shorter than the peer's (medians)."""
    own, other = statistics.median(ours), statistics.median(peer)
    ratio = other / own
    return Row(name, own, other, ratio, "s", f"peer / ours >= {times:g}", ratio >= times)


def at_most(name: str, ours: float, unit: str, limit: float, peer: float | None = None) -> Row:
    """A figure to be no larger than ``limit``; a ``peer``'s figure may stand beside it."""
    ratio = None if peer is None else ours / peer
    return Row(name, ours, peer, ratio, unit, f"ours <= {limit:g} {unit}", ours <= limit)


def at_least(name: str, ours: float, unit: str, limit: float, peer: float | None = None) -> Row:
    """A figure to be no smaller than ``limit``; a ``peer``'s figure may stand beside it."""
    ratio = None if peer is None else ours / peer
    return Row(name, ours, peer, ratio, unit, f"ours >= {limit:g} {unit}", ours >= limit)
