"""Load that goes on beside what a study does: as long as a block, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

__all__ = ["Meanwhile"]

Row = TypeVar("Row")


class Meanwhile(Generic[Row]):
    """Runs ``work(over)`` while the block lasts; ``rows`` is what it gave, when the block is over.

    ``over`` is set at the end of the block: work that has no end of its own then begins nothing
    more. Leaving the block waits for what is under way, and raises what ``work`` raised.
    """

    def __init__(self, work: Callable[[threading.Event], list[Row]]) -> None:
        """Nothing is done yet."""
        self._work = work
        self._over = threading.Event()
        self._thread = ThreadPoolExecutor(1, "meanwhile")
        self._done: Future[list[Row]] | None = None
        self.rows: list[Row] = []

    def __enter__(self) -> Self:
        """Begin."""
        self._done = self._thread.submit(self._work, self._over)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Begin no more, and wait for what is under way."""
        self._over.set()
        assert self._done is not None
        with self._thread:
            self.rows = self._done.result()
