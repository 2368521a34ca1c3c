"""What is asked for in a way that nobody answers: told as a problem, like every refusal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from ryu.app.wsgi import WSGIApplication
from webob import Response

from controller.rest.answers import refuse

__all__ = ["Known"]


class Known:
    """An application that hears of requests only by paths and methods that it has."""

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application
        application.mapper.create_regs()
        self.routes = application.mapper.matchlist

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer as WSGI wants it."""
        if environ["PATH_INFO"].startswith("http://"):  # RFC 9112 section 3.2.2
            environ["PATH_INFO"] = urlsplit(environ["PATH_INFO"]).path
        refused = self._refusal(environ["PATH_INFO"], environ["REQUEST_METHOD"])
        if "HTTP_TRANSFER_ENCODING" in environ:
            refused = refuse(411, "say how long the body is, by Content-Length")
        answering = self._application if refused is None else refused
        answered: Iterable[bytes] = answering(environ, start_response)
        return answered

    def _refusal(self, path: str, method: str) -> Response | None:
        """404 for a path that nobody has, 405 for a method that it has not (RFC 9110)."""
        methods = {
            method
            for route in self.routes
            if route.regmatch.match(path)
            for method in route.conditions["method"]
        }
        if not methods:
            return refuse(404, "there is nothing here; /v1/openapi.json tells what there is")
        if method in methods:
            return None
        allowed = ", ".join(sorted(methods))
        refused = refuse(405, f"here is answered to {allowed}")
        refused.headers["Allow"] = allowed
        return refused
