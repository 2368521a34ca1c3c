"""How much goes over each link now, by the difference of its counters."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["Meter"]

WINDOW_S = 1.0
"""Rates are means over at least so long."""


class Meter:
    """Reads the counters of links now and then."""

    def __init__(self) -> None:
        """Nothing has been read."""
        self._read: deque[tuple[float, dict[str, int]]] = deque()

    def rates(self, at_s: float, links: Iterable[Mapping[str, Any]]) -> dict[str, float]:
        """Bits a second by link, both ways together, without those that carry nothing.

        ``links`` is what a lab says of them at the time ``at_s``. Two digits count, so that little
        changes while little changes.
        """
        now = {link["link"]: sum(way["bytes"] for way in link["ways"]) for link in links}
        self._read.append((at_s, now))
        while len(self._read) > 2 and self._read[1][0] <= at_s - WINDOW_S:
            self._read.popleft()
        since_s, before = self._read[0]
        if at_s <= since_s:
            return {}
        grown = {link: count - before.get(link, count) for link, count in now.items()}
        return {
            link: float(f"{8 * more / (at_s - since_s):.2g}")
            for link, more in grown.items()
            if more > 0  # counters begin anew when a link does
        }
