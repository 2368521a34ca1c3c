"""Open loop: a request starts when it is due, whatever has become of those before.

Times count from when a request was due, so what a late start costs is not left out.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Arrival", "offer"]

Attempt = TypeVar("Attempt")
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Arrival(Generic[Row]):
    """An attempt that was due at ``due_ns`` and started at ``started_ns`` (monotonic clock)."""

    due_ns: int
    started_ns: int
    row: Row

    @property
    def late_ns(self) -> int:
        """By how much it started late."""
        return self.started_ns - self.due_ns


def offer(
    attempts: Sequence[Attempt],
    act: Callable[[int, Attempt], Awaitable[Row]],
    times: Iterable[float],
    over: threading.Event | None = None,
) -> list[Arrival[Row]]:
    """Run ``act(turn, attempt)`` for one after the other, and from the beginning again.

    Each starts at its time: ``times`` are seconds from the start, as ``arrivals`` gives them. It
    ends with them, or when it is ``over``; then what is under way is waited for. The rows are in
    the order of starting. The first exception ends all.
    """
    return asyncio.run(_offer(attempts, act, times, over or threading.Event()))


async def _offer(
    attempts: Sequence[Attempt],
    act: Callable[[int, Attempt], Awaitable[Row]],
    times: Iterable[float],
    over: threading.Event,
) -> list[Arrival[Row]]:
    async def one(turn: int, attempt: Attempt, due_ns: int) -> Arrival[Row]:
        started_ns = time.monotonic_ns()
        return Arrival(due_ns, started_ns, await act(turn, attempt))

    begin_ns = time.monotonic_ns()
    sent = []
    for turn, (at_s, attempt) in enumerate(zip(times, itertools.cycle(attempts), strict=False)):
        due_ns = begin_ns + round(at_s * 1e9)
        await _until(due_ns)
        if over.is_set():
            break
        sent.append(asyncio.create_task(one(turn, attempt, due_ns)))
    return await asyncio.gather(*sent)


async def _until(due_ns: int) -> None:
    """Sleep in a thread: an event loop itself sleeps for whole milliseconds."""
    left_ns = due_ns - time.monotonic_ns()
    await asyncio.to_thread(time.sleep, max(left_ns, 0) / 1e9)
