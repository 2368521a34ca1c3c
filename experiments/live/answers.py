"""What the servers of running labs and of finished runs answer alike."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

from experiments.live.markup import FILES, KINDS

__all__ = ["file", "page"]


def page(text: str) -> web.Response:
    """A page of ours."""
    return web.Response(text=text, content_type="text/html", charset="utf-8")


async def file(request: web.Request) -> web.Response:
    """A file of the pages."""
    name = request.match_info["name"]
    if name not in FILES:
        raise web.HTTPNotFound(text="There is no such file.\n")
    return web.Response(body=FILES[name], content_type=KINDS[Path(name).suffix])
