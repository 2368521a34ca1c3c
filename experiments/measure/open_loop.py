"""Open loop: a request starts when it is due, whatever has become of those before.

Times count from when a request was due, so what a late start costs is not left out.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from experiments.measure.http import HttpRow, Request, fetch

__all__ = ["Arrival", "offer"]


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request that was due at ``due_ns`` and started at ``started_ns`` (monotonic clock)."""

    due_ns: int
    started_ns: int
    row: HttpRow

    @property
    def latency_ns(self) -> int | None:
        """From when it was due to the end of its answer; None if none came."""
        took_ns = self.row.total_ns
        if self.row.outcome != "ok" or took_ns is None:
            return None
        return self.started_ns - self.due_ns + took_ns


def offer(
    requests: Sequence[Request],
    times: Iterable[float],
    over: threading.Event,
    *,
    timeout_s: float,
) -> list[Arrival]:
    """Make requests, one after the other and from the beginning again, each at its time.

    ``times`` are seconds from the start (``experiments.measure.arrivals``). It ends with them, or
    when it is ``over``; then what is under way is waited for. Each has ``timeout_s``, and a
    connection of its own. The rows are in the order of starting. Raises as ``http.get``.
    """
    return asyncio.run(_offer(requests, times, over, timeout_s))


async def _offer(
    requests: Sequence[Request], times: Iterable[float], over: threading.Event, timeout_s: float
) -> list[Arrival]:
    begin_ns = time.monotonic_ns()
    sent = []
    for turn, (at_s, request) in enumerate(zip(times, itertools.cycle(requests), strict=False)):
        due_ns = begin_ns + round(at_s * 1e9)
        await _until(due_ns)
        if over.is_set():
            break
        sent.append(asyncio.create_task(_one(turn, request, due_ns, timeout_s)))
    return await asyncio.gather(*sent)


async def _until(due_ns: int) -> None:
    """Sleep in a thread: an event loop itself sleeps for whole milliseconds."""
    left_ns = due_ns - time.monotonic_ns()
    await asyncio.to_thread(time.sleep, max(left_ns, 0) / 1e9)


async def _one(turn: int, request: Request, due_ns: int, timeout_s: float) -> Arrival:
    started_ns = time.monotonic_ns()
    return Arrival(due_ns, started_ns, await fetch(turn, request, timeout_s))
