"""Open-loop load: new requests at a steady rate, whatever becomes of those before."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from experiments.measure.http import HttpRow, Request, fetch


class Steady:
    """Requests, one after the other and from the beginning again, while the block lasts.

    One starts every ``spacing_s`` seconds and has ``timeout_s``. ``rows`` holds what became of
    them when the block is over, in the order in which they started. Raises as ``http.get``.
    """

    def __init__(self, requests: Sequence[Request], *, spacing_s: float, timeout_s: float) -> None:
        """Nothing is sent yet."""
        self._requests = requests
        self._spacing_s = spacing_s
        self._timeout_s = timeout_s
        self._over = threading.Event()
        self._thread = ThreadPoolExecutor(1, "steady load")
        self._sent: Future[list[HttpRow]] | None = None
        self.rows: list[HttpRow] = []

    def __enter__(self) -> Self:
        """Begin."""
        self._sent = self._thread.submit(asyncio.run, self._send())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Start no more, and wait for what is under way."""
        self._over.set()
        assert self._sent is not None
        with self._thread:
            self.rows = self._sent.result()

    async def _send(self) -> list[HttpRow]:
        start = time.monotonic()
        sent = []
        for turn, request in enumerate(itertools.cycle(self._requests)):
            await asyncio.sleep(start + turn * self._spacing_s - time.monotonic())
            if self._over.is_set():
                break
            sent.append(asyncio.create_task(fetch(turn, request, self._timeout_s)))
        return await asyncio.gather(*sent)
