"""Who is let in: whoever has the link, from this machine, by a page of ours.

A browser sends any page's requests to any address, this machine's too. So a request must name a
host that is ours (else a name of somebody else's points here: DNS rebinding), must come from a page
of ours if it says where from, and its path must begin with the token. Pages may fetch from here
alone (Content Security Policy Level 3).
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

__all__ = ["FRAMED", "HEADERS", "behind"]

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
"""What every answer says, refusals too."""


HTTP_PORT = 80


def guard(port: int, token: str) -> Middleware:
    """What refuses requests (403) that do not come in by the link."""
    shown = "" if port == HTTP_PORT else f":{port}"  # as browsers say it (RFC 9110 section 4.2.3)
    hosts = {f"{name}{shown}" for name in ("127.0.0.1", "localhost")}

    @web.middleware
    async def let_in(request: web.Request, handler: Handler) -> web.StreamResponse:
        cause = _refusal(request, hosts, token)
        if cause is not None:
            raise web.HTTPForbidden(text=f"{cause}\n")
        return await handler(request)

    return let_in


def _refusal(request: web.Request, hosts: set[str], token: str) -> str | None:
    """Why a request is not let in."""
    hosts_said = request.headers.getall("Host", [])
    if len(hosts_said) != 1 or hosts_said[0] not in hosts:
        return "This is no host of ours: open the link as it was printed."
    origin = request.headers.get("Origin")
    if origin is None and request.method not in ("GET", "HEAD"):
        return "What changes a lab must say where it comes from (Origin)."
    if origin is not None and origin != f"http://{hosts_said[0]}":
        return "Pages from elsewhere are not let in."
    said = request.path.removeprefix("/").partition("/")[0]
    if not hmac.compare_digest(said.encode(errors="replace"), token.encode()):
        return "The link has another token: open it as `poplab live` printed it."
    return None


FRAMED = HEADERS | {
    "Content-Security-Policy": HEADERS["Content-Security-Policy"].replace(
        "frame-ancestors 'none'", "frame-ancestors 'self'; frame-src 'self'"
    )
}
"""The same where pages of ours may show each other."""


def behind(
    port: int,
    token: str,
    routes: Iterable[web.RouteDef],
    headers: Mapping[str, str] = HEADERS,
    **given: Any,
) -> web.Application:
    """A server that lets in by the link with this port and token alone.

    ``routes`` are below the token; ``given`` is as for aiohttp's Application.
    """

    async def secure(_request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(headers)

    app = web.Application(middlewares=[guard(port, token)], **given)
    for made in routes:
        below = f"/{token}/{made.path}"
        app.add_routes([web.RouteDef(made.method, below, made.handler, made.kwargs)])
    app.on_response_prepare.append(secure)
    return app
