"""A running lab, from outside: the same words as inside, over its control socket."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from experiments.errors import TrialError

PATIENCE_S = 60.0


class GoneError(TrialError):
    """Nobody answers on a lab's socket any more."""


class Remote:
    """A lab by its socket.

    Raises TrialError, with the lab's own words, for what it refuses, GoneError when it is gone.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def call(self, method: str, **params: Any) -> Any:
        """Say a word, ``link.cut``, and get its answer."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        try:
            connection = _Connection(self._path)
            connection.request("POST", "/", body)
            answer = json.load(connection.getresponse())
        except (OSError, ValueError, HTTPException) as error:
            raise GoneError(f"The lab at {self._path} does not answer: {error}.") from None
        if "error" in answer:
            raise TrialError(answer["error"]["message"])
        return answer["result"]

    def events(self, after: int = 0) -> Iterator[dict[str, Any]]:
        """The log after a record, and what happens, as it happens, until the lab is gone."""
        try:
            connection = _Connection(self._path, patience_s=None)
            connection.request("GET", f"/events?after={after}")
            for line in connection.getresponse():
                yield json.loads(line)
        except (OSError, ValueError, HTTPException) as error:
            raise GoneError(f"The lab at {self._path} does not answer: {error}.") from None


class _Connection(HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, patience_s: float | None = PATIENCE_S) -> None:
        super().__init__("lab")
        self._path, self._patience_s = path, patience_s

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._patience_s)
        self.sock.connect(str(self._path))
