"""When a server asks for another set of a tag: before it runs out of ports; and when it returns it.

Pure: what is in use is passed in, and the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["Growth", "Step"]

HIGH = 0.8
"""The share of the ports towards one destination at which another set is asked for."""
LOW = 0.5
"""The share of what would be left at which a set is no longer needed."""
PATIENCE_S = 30.0
"""How long it must not have been needed before it is returned."""


class Step(Enum):
    """What to do now."""

    KEEP = "keep"
    BORROW = "borrow"
    RETURN = "return"


@dataclass(slots=True)
class Growth:
    """One server's sets of one tag: never fewer than one, never more than ``most``."""

    most: int
    _idle_since: float | None = None

    def step(self, now_s: float, sizes: list[int], used: int, idle: int) -> Step:
        """What to do with sets of these ``sizes``.

        ``used`` is how many ports are in use towards the busiest destination, ``idle`` how many
        ports the set has that would be returned, 0 while something uses it.
        """
        if used >= HIGH * sum(sizes):
            self._idle_since = None
            return Step.BORROW if len(sizes) < self.most else Step.KEEP
        if len(sizes) < 2 or not idle or used > LOW * (sum(sizes) - idle):
            self._idle_since = None
            return Step.KEEP
        if self._idle_since is None:
            self._idle_since = now_s
        if now_s - self._idle_since < PATIENCE_S:
            return Step.KEEP
        self._idle_since = None
        return Step.RETURN
