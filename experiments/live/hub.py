"""What is new, for every page that is open: the latest views, and the last lines of the log.

There is a view of the lab, and one of round trips. A page that reads slowly skips views, so that
nothing heaps up. All of it runs in the server's event loop.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["LINES", "Hub", "Seen"]

LINES = 200
"""How many lines of the log are kept for a page that opens."""


@dataclass(slots=True)
class Seen:
    """How much one page has been told; of nothing yet, at first."""

    views: dict[str, int] = field(default_factory=dict)
    log: int = 0
    line: int = 0


class Hub:
    """The one place that pages hear from."""

    def __init__(self) -> None:
        self._views: dict[str, tuple[int, str]] = {}
        self._lines: deque[str] = deque(maxlen=LINES)
        self._logs, self._count = 1, 0
        self._bell = asyncio.Event()
        self.closed = False

    def show(self, view: Any, kind: str = "view") -> None:
        """Let pages show this from now on, in place of what they show of this kind."""
        text = json.dumps(view, separators=(",", ":"))
        number, before = self._views.get(kind, (0, ""))
        if text != before:
            self._views[kind] = number + 1, text
            self._ring()

    def tell(self, lines: Sequence[str], *, anew: bool = False) -> None:
        """These lines have come to the log; ``anew`` begins another log."""
        if anew:
            self._lines.clear()
            self._logs, self._count = self._logs + 1, 0
        self._lines.extend(lines)
        self._count += len(lines)
        self._ring()

    def close(self) -> None:
        """Let every page go."""
        self.closed = True
        self._ring()

    def news(self, seen: Seen) -> list[tuple[str, str]]:
        """What a page has not been told, as events and their JSON; it is ``seen`` from now on."""
        found = []
        for kind, (number, text) in self._views.items():
            if number > seen.views.get(kind, 0):
                found.append((kind, text))
                seen.views[kind] = number
        whole = seen.log != self._logs
        missing = self._count - (0 if whole else seen.line)
        if whole or missing:
            lines = list(self._lines)[-missing:] if missing else []
            found.append(("log", json.dumps({"whole": whole, "lines": lines})))
            seen.log, seen.line = self._logs, self._count
        return found

    async def wait(self, seen: Seen, seconds: float) -> list[tuple[str, str]]:
        """News, as soon as there are any; none when the time is over or the hub is closed."""
        bell = self._bell
        found = self.news(seen)
        if found or self.closed:
            return found
        try:
            await asyncio.wait_for(bell.wait(), seconds)
        except TimeoutError:
            return []
        return self.news(seen)

    def _ring(self) -> None:
        self._bell.set()
        self._bell = asyncio.Event()
