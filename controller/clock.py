"""The clock of the lease book: wall-clock time that does not jump while the controller runs.

Leases outlive the controller and the machine, so their times are wall-clock times. The wall clock
is read once, at the start; from then on time goes by the monotonic clock. A clock that somebody
sets while we run changes nothing. Between two runs the clock may have been set back: time then
begins after the last event of the log, so it never repeats. Set forward, leases end early (their
borrowers are told so at the next renewal) and so do quarantines.
"""

from __future__ import annotations

import time

__all__ = ["BookClock"]


class BookClock:
    """``now_ns()`` in nanoseconds since the epoch, always after ``known_ns``, never backwards."""

    def __init__(self, known_ns: int = 0) -> None:
        self._start_ns = max(time.time_ns(), known_ns + 1)
        self._anchor_ns = time.monotonic_ns()

    def now_ns(self) -> int:
        """The time now."""
        return self._start_ns + time.monotonic_ns() - self._anchor_ns
