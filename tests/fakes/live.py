"""The server of a live view, in a thread of this process, and what a browser would ask of it."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from experiments.live import player, server
from experiments.live.playback import Playback


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
    with serving(lambda port, token: server.application(lab, port, token), link) as made:
        yield made


@contextmanager
def viewing(runs: Sequence[Playback]) -> Iterator[Link]:
    """Within the block, finished runs are played back."""
    with serving(lambda port, token: player.application(runs, port, token)) as made:
        yield made


@contextmanager
def serving(
    application: Callable[[int, str], web.Application], link: Link | None = None
) -> Iterator[Link]:
    """Within the block, a server; at a link of before if given."""
    with server.listening(link.port if link else 0) as listening:
        link = link or Link(listening.getsockname()[1], server.new_token())
        app = application(link.port, link.token)
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


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    text: str

    @property
    def data(self) -> Any:
        return json.loads(self.text)


def ask(
    link: Link, path: str, body: Any = None, token: str | None = None, **headers: str
) -> Answer:
    """What is answered; like a page of ours, but for the headers that are given."""
    method = "GET" if body is None else "POST"
    given = {} if body is None else {"Content-Type": "application/json", "Origin": link.origin}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection("127.0.0.1", link.port, timeout=10)
    sent = body if body is None or isinstance(body, str) else json.dumps(body)
    where = f"/{link.token if token is None else token}/{path}"
    connection.request(method, where, sent, {k: v for k, v in given.items() if v})
    answer = connection.getresponse()
    found = Answer(answer.status, answer.headers, answer.read().decode())
    connection.close()
    return found


@contextmanager
def events(link: Link) -> Iterator[Iterator[tuple[str, Any]]]:
    """The stream of events, but for the beats."""
    connection = http.client.HTTPConnection("127.0.0.1", link.port, timeout=10)
    connection.request("GET", f"/{link.token}/events")
    answer = connection.getresponse()
    assert answer.headers["Content-Type"] == "text/event-stream"

    def each() -> Iterator[tuple[str, Any]]:
        while line := answer.readline():
            kind = line.decode().removeprefix("event: ").strip()
            data = answer.readline().decode().removeprefix("data: ")
            assert answer.readline() == b"\n"
            if kind != "beat":
                yield kind, json.loads(data)

    yield each()
    connection.close()


def until(told: Iterator[tuple[str, Any]], kind: str, holds: Any) -> Any:
    """The first event of a kind that holds."""
    return next(data for what, data in told if what == kind and holds(data))
