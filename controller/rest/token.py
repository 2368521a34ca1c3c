"""Who may ask: those who know a token (RFC 6750), if there is one."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from controller.rest.answers import refuse

__all__ = ["Application", "Guarded", "read_token"]

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]
"""WSGI (PEP 3333)."""

SHORTEST = 16
"""Characters of a token."""


def read_token(path: Path) -> str:
    """The token in a file, on a line of its own. Raises OSError; ValueError if it is none."""
    token = path.read_text().strip()
    if len(token) < SHORTEST or not (token.isascii() and token.isprintable()) or " " in token:
        raise ValueError(
            f"{path}: a token is {SHORTEST} or more ASCII characters without spaces on one line"
        )
    return token


class Guarded:
    """An application that answers only requests with ``Authorization: Bearer TOKEN``."""

    def __init__(self, application: Application, token: str) -> None:
        self._application = application
        self._token = token.encode()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer as WSGI wants it."""
        scheme, _, given = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        right = hmac.compare_digest(given.strip().encode("latin-1", "replace"), self._token)
        if scheme.lower() == "bearer" and right:
            return self._application(environ, start_response)
        refused = refuse(401, "ask with the header 'Authorization: Bearer TOKEN'")
        refused.headers["WWW-Authenticate"] = 'Bearer realm="poplab"'
        answered: Iterable[bytes] = refused(environ, start_response)
        return answered
