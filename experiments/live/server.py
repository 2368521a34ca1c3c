"""The web server of a live view: the page, a stream of what is new, and acts.

``GET /TOKEN/`` is the page, ``GET /TOKEN/events`` a stream of server-sent events (``view`` with the
whole state, ``trips`` with round trips, ``traffic`` with bits a second by link, ``log`` with
lines, ``beat`` to show that the server lives), ``POST /TOKEN/act`` and ``POST /TOKEN/undo`` change
the lab, ``POST /TOKEN/probing`` has clients ping the service or not, ``POST /TOKEN/way`` asks for
the way of a packet, and ``GET /TOKEN/scenario.yaml`` is what was done so far.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from aiohttp import web

from experiments.control.client import Remote
from experiments.live import answers
from experiments.live.acts import BadActError, read
from experiments.live.doors import behind
from experiments.live.follower import Follower, Sight
from experiments.live.hands import Hands, RefusedActError
from experiments.live.hub import Hub, Seen
from experiments.live.markup import render
from experiments.live.questions import Questions
from experiments.live.state import announced
from experiments.live.traffic import Meter
from experiments.live.trips import RECENT, Trips

__all__ = ["application", "listening", "new_token"]

BEAT_S = 1.0
"""A page that hears nothing for a few of these says that the connection is lost."""

LONGEST = 4096
"""Bytes of an act."""


def new_token() -> str:
    """Nobody guesses it."""
    return secrets.token_urlsafe(24)


def listening(port: int = 0) -> socket.socket:
    """A socket that only this machine reaches; 0 takes any free port. Raises OSError."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("127.0.0.1", port))
        made.listen()  # from now on, who opens the link waits for the server
    except OSError:
        made.close()
        raise
    return made


def application(lab: Path, port: int, token: str) -> web.Application:
    """The server of the lab with this socket, for links with this port and token.

    Raises TrialError if the lab does not answer.
    """
    desk = Desk(lab)
    routes = [
        web.get("", desk.page),
        web.get("events", desk.events),
        web.post("act", desk.act),
        web.post("undo", desk.undo),
        web.post("probing", desk.probing),
        web.post("way", desk.way),
        web.get("scenario.yaml", desk.scenario),
        web.get("{name}", answers.file),
    ]
    app = behind(port, token, routes, client_max_size=LONGEST)
    app.on_shutdown.append(desk.close)
    app.cleanup_ctx.append(desk.following)
    return app


class Desk:
    """What answers."""

    def __init__(self, lab: Path) -> None:
        self._hub, self._pages = Hub(), 0
        self._follower = Follower(lab)
        self._hands, self._questions = Hands(Remote(lab), self._follower), Questions(Remote(lab))
        self._sight = self._follower.sight
        self._trips, self._meter = Trips(self._sight.plan, RECENT), Meter()
        self._page, self._edition = render(self._sight.plan), 0

    async def following(self, _app: web.Application) -> AsyncIterator[None]:
        """While the server runs, follow the lab."""
        loop = asyncio.get_running_loop()

        def see(sight: Sight) -> None:
            with suppress(RuntimeError):  # the server has ended meanwhile
                loop.call_soon_threadsafe(self._see, sight)

        def hear(lines: Sequence[str], anew: bool) -> None:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(lambda: self._hub.tell(lines, anew=anew))

        def meet(found: Sequence[Mapping[str, Any]]) -> None:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._meet, found)

        self._follower.start(see, hear, meet)
        yield
        self._follower.stop()

    async def close(self, _app: web.Application) -> None:
        """Let every page go, so that the server can end."""
        self._hub.close()

    def _see(self, sight: Sight) -> None:
        if sight.birth != self._sight.birth:
            self._hands.forget()
            self._trips, self._meter = Trips(sight.plan, RECENT), Meter()
        if sight.plan != self._sight.plan:
            self._page = render(sight.plan)
            self._edition += 1
        self._sight = sight
        self._show()
        if sight.told is not None:
            self._hub.show(self._meter.rates(sight.told.now_s, sight.told.links), "traffic")

    def _meet(self, found: Sequence[Mapping[str, Any]]) -> None:
        state = self._sight.state
        if state is not None and self._follower.sight.birth == self._sight.birth:
            self._trips.met(found, state["cities"])
            self._hub.show(self._trips.until(time.time_ns(), announced(state)), "trips")

    def _show(self) -> None:
        last, sight = self._hands.last, self._sight
        undo = {"number": last.number, "text": last.sentence} if last else None
        self._hub.show(
            {
                "edition": self._edition,
                "phase": sight.phase,
                "undo": undo,
                "probing": self._follower.probing,
                "lab": sight.state,
            }
        )

    async def page(self, _request: web.Request) -> web.Response:
        """The page of the lab's network."""
        return answers.page(self._page)

    async def events(self, request: web.Request) -> web.StreamResponse:
        """What is new, as it comes, until the page goes."""
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        seen = Seen()
        with suppress(ConnectionResetError), self._open():
            while not self._hub.closed:
                news = await self._hub.wait(seen, BEAT_S) or [("beat", "{}")]
                text = "".join(f"event: {kind}\ndata: {data}\n\n" for kind, data in news)
                await stream.write(text.encode())
        return stream

    @contextmanager
    def _open(self) -> Iterator[None]:
        """One page more is open within the block."""
        self._pages += 1
        self._follower.wanted(self._pages)
        try:
            yield
        finally:
            self._pages -= 1
            self._follower.wanted(self._pages)

    async def act(self, request: web.Request) -> web.Response:
        """Do something to the lab."""
        try:
            act = read(await _said(request))
            await self._hands.do(act)
        except BadActError as error:
            return _answer(400, error=str(error))
        except RefusedActError as error:
            return _answer(409, error=str(error))
        self._show()
        return _answer(200, said=act.sentence)

    async def undo(self, request: web.Request) -> web.Response:
        """Make the last act undone."""
        try:
            data = await _said(request)
            if not isinstance(data, dict) or type(data.get("number")) is not int:
                raise BadActError("Say the number of the act to undo.")
            undone = await self._hands.undo(data["number"])
        except BadActError as error:
            return _answer(400, error=str(error))
        except RefusedActError as error:
            self._show()
            return _answer(409, error=str(error))
        self._show()
        return _answer(200, said=undone.sentence)

    async def probing(self, request: web.Request) -> web.Response:
        """Have clients ping the service while a page is open, or not."""
        try:
            data = await _said(request)
            if not isinstance(data, dict) or type(data.get("on")) is not bool:
                raise BadActError("Say on: true or false.")
        except BadActError as error:
            return _answer(400, error=str(error))
        self._follower.probe(data["on"])
        self._show()
        return _answer(200, said=f"probing {'on' if data['on'] else 'off'}")

    async def way(self, request: web.Request) -> web.Response:
        """The way of a packet."""
        try:
            found = await self._questions.way(self._sight.plan, await _said(request))
        except BadActError as error:
            return _answer(400, error=str(error))
        except RefusedActError as error:
            return _answer(409, error=str(error))
        return web.json_response(found)

    async def scenario(self, _request: web.Request) -> web.Response:
        """What was done to the lab, to be saved."""
        try:
            text = await self._questions.scenario()
        except RefusedActError as error:
            raise web.HTTPConflict(text=f"{error}\n") from None
        saved = {"Content-Disposition": 'attachment; filename="scenario.yaml"'}
        return web.Response(text=text, content_type="application/yaml", headers=saved)


async def _said(request: web.Request) -> Any:
    """The JSON value that was sent. Raises BadActError."""
    if request.content_type != "application/json":
        raise BadActError("Send JSON.")
    try:
        return json.loads(await request.read())
    except (ValueError, RecursionError) as error:
        raise BadActError(f"This is no JSON: {error}.") from None


def _answer(status: int, **data: str) -> web.Response:
    return web.json_response(data, status=status)
