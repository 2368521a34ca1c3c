"""The web server of finished runs: of one the page of a live view, of two both side by side.

``GET /TOKEN/N/`` is the page of run N, ``GET /TOKEN/N/moment?ms=T`` what it shows T milliseconds
after its start; ``GET /TOKEN/`` has two runs on one slider. Nothing can be changed.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

from aiohttp import web

from experiments.live import answers
from experiments.live.doors import FRAMED, behind
from experiments.live.markup import render, render_pair
from experiments.live.playback import Playback

__all__ = ["MOST", "application"]

MOST = 2
"""Runs that fit on a page."""


def application(runs: Sequence[Playback], port: int, token: str) -> web.Application:
    """The server of these runs, for links with this port and token."""
    shelf = _Shelf(runs)
    routes = [
        web.get("", shelf.front),
        web.get("{run:[0-9]}/", shelf.page),
        web.get("{run:[0-9]}/moment", shelf.moment),
        web.get("{run:[0-9]}/{name}", answers.file),
        web.get("{name}", answers.file),
    ]
    return behind(port, token, routes, FRAMED)


class _Shelf:
    """What answers."""

    def __init__(self, runs: Sequence[Playback]) -> None:
        self._runs = runs
        self._pages = [
            render(run.plan, {"length_ms": run.length_ms, "news_ms": run.news_ms}) for run in runs
        ]

    async def front(self, _request: web.Request) -> web.Response:
        """Two runs on one slider; of one run its own page."""
        if len(self._runs) == 1:
            raise web.HTTPFound("0/")
        titles = [f"{run.plan.network.name}: {run.purpose}" for run in self._runs]
        return answers.page(render_pair(titles, max(run.length_ms for run in self._runs)))

    async def page(self, request: web.Request) -> web.Response:
        """The page of a run."""
        return answers.page(self._pages[self._number(request)])

    async def moment(self, request: web.Request) -> web.Response:
        """What a run shows at a time; before its start and after its end, what it shows there."""
        run = self._runs[self._number(request)]
        try:
            ms = float(request.query.get("ms", ""))
        except ValueError:
            ms = math.nan
        if not math.isfinite(ms):
            raise web.HTTPBadRequest(text="Say which moment: ?ms=1500.\n")
        view = await asyncio.to_thread(run.view, min(max(ms, 0.0), run.length_ms))
        return web.json_response(view)

    def _number(self, request: web.Request) -> int:
        number = int(request.match_info["run"])
        if number >= len(self._runs):
            raise web.HTTPNotFound(text="There is no such run.\n")
        return number
