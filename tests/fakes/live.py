"""The server of a live view, in a thread of this process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from experiments.live import server


@dataclass(frozen=True)
class Link:
    """Where a live view is."""

    port: int
    token: str

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.origin}/{self.token}/"


@contextmanager
def serving_live(lab: Path, link: Link | None = None) -> Iterator[Link]:
    """Within the block, the live view of the lab with this socket; at a link of before if given."""
    with server.listening(link.port if link else 0) as listening:
        link = link or Link(listening.getsockname()[1], server.new_token())
        app = server.application(lab, link.port, link.token)
        loop, ready = asyncio.new_event_loop(), threading.Event()

        async def serve(over: asyncio.Event) -> None:
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
            await runner.setup()
            await web.SockSite(runner, listening).start()
            ready.set()
            await over.wait()
            await runner.cleanup()

        over = asyncio.Event()
        thread = threading.Thread(target=lambda: loop.run_until_complete(serve(over)))
        thread.start()
        try:
            assert ready.wait(10)
            yield link
        finally:
            loop.call_soon_threadsafe(over.set)
            thread.join()
            loop.close()
