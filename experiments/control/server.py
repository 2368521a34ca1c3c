"""The lab's side of the control socket: JSON-RPC 2.0 over HTTP on a Unix socket.

``POST /`` takes one call, ``{"jsonrpc": "2.0", "id": 1, "method": "link.cut", "params": {"link":
"LHR-CDG"}}``. ``GET /`` tells every method with the JSON schema of its parameters. ``GET
/events?after=N`` streams the log, one JSON object a line, until the caller hangs up. ``GET
/metrics`` is for Prometheus.
"""

from __future__ import annotations

import json
import os
import select
import socket
import socketserver
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from experiments.control.places import HANDED_IN
from experiments.control.words import Control, words
from experiments.errors import TrialError, UsageError
from topologies.emulation.links import LinkError
from topologies.emulation.processes import LabError

LONGEST = 65_536
"""Bytes of a call."""

LOOK_S = 10
"""How long the stream of events waits for news before it looks whether anybody still listens."""

PARSE, NO_METHOD, BAD_PARAMS, DEFECT, REFUSED = -32700, -32601, -32602, -32603, -32000
"""Error codes: all but the last are JSON-RPC's own (section 5.1)."""


class CallError(Exception):
    """A call that is refused; becomes the error of its answer."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Words:
    """The methods that a control offers, with their parameters checked."""

    def __init__(self, control: Control) -> None:
        from pydantic import validate_call

        config: Any = {"strict": True}
        self._methods = {
            name: validate_call(config=config)(method.__get__(control))
            for name, method in words().items()
        }

    def call(self, method: str, params: dict[str, Any]) -> Any:
        """What a method answers. Raises CallError."""
        from pydantic import ValidationError

        if method not in self._methods:
            raise CallError(NO_METHOD, f"there is no method {method!r}: {', '.join(self._methods)}")
        try:
            return self._methods[method](**params)
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise CallError(BAD_PARAMS, f"{method}: {wrong}") from None
        except (UsageError, TrialError, LabError, LinkError) as error:
            raise CallError(REFUSED, str(error)) from None
        except OSError:
            raise CallError(REFUSED, "The lab's controller does not answer.") from None
        except Exception as error:
            traceback.print_exc()  # into the lab's log: who called sees no more than this
            told = f"{method}: a defect of poplab's own ({type(error).__name__}: {error})."
            raise CallError(DEFECT, told) from error

    def describe(self) -> list[dict[str, Any]]:
        """Every method: its name, what it does, the schema of its parameters."""
        from pydantic import TypeAdapter

        return [
            {
                "method": name,
                "does": (words()[name].__doc__ or "").split("\n")[0],
                "params": TypeAdapter(method).json_schema(),
            }
            for name, method in self._methods.items()
        ]


class Caller(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_POST(self) -> None:
        """Answer a call."""
        number: Any = None
        try:
            length = int(self.headers.get("Content-Length") or 0)
            if not 0 < length <= LONGEST:
                raise CallError(PARSE, f"a call has a Content-Length of at most {LONGEST} bytes")
            number, method, params = _understand(self.rfile.read(length))
            answer: dict[str, Any] = {"result": self.server.words.call(method, params)}
        except CallError as error:
            answer = {"error": {"code": error.code, "message": str(error)}}
        self._put({"jsonrpc": "2.0", "id": number, **answer})

    def do_GET(self) -> None:
        """The methods, or the stream of events."""
        where = urlsplit(self.path)
        if where.path == "/":
            self._put(self.server.words.describe())
        elif where.path == "/metrics":
            self._put_metrics()
        elif where.path == "/events":
            after = parse_qs(where.query).get("after", ["0"])[0]
            self._stream(int(after) if after.isdecimal() else 0)
        else:
            self.send_error(404)

    def _put_metrics(self) -> None:
        try:
            text = self.server.words.call("metrics", {})
        except CallError as error:
            self.send_error(503, str(error))
            return
        self._send(text.encode(), "text/plain; version=0.0.4; charset=utf-8")

    def _put(self, data: Any) -> None:
        self._send(json.dumps(data).encode() + b"\n", "application/json")

    def _send(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, after: int) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            while True:
                for event in self.server.words.call("events", {"after": after, "wait_s": LOOK_S}):
                    self.wfile.write(json.dumps(event).encode() + b"\n")
                    after = event["number"]
                self.wfile.flush()
                if _hung_up(self.connection):
                    return
        except (CallError, OSError):
            return  # the controller or the listener is gone

    def address_string(self) -> str:
        """Callers on a Unix socket have no address."""
        return "local"

    def log_message(self, format: str, *args: Any) -> None:
        """Calls are in the lab's own log."""


def _understand(body: bytes) -> tuple[Any, str, dict[str, Any]]:
    """Id, method and parameters of a call. Raises CallError."""
    try:
        call = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise CallError(PARSE, f"this is no JSON: {error}") from None
    if not isinstance(call, dict) or not isinstance(call.get("method"), str):
        raise CallError(PARSE, "a call is one object with a method")
    params = call.get("params", {})
    if not isinstance(params, dict):
        raise CallError(BAD_PARAMS, "params are named: one object")
    return call.get("id"), call["method"], params


def _hung_up(connection: socket.socket) -> bool:
    """Whether the caller has gone: then there is something to read, and it is nothing."""
    look = select.poll()
    look.register(connection, select.POLLIN)
    try:
        return bool(look.poll(0)) and connection.recv(1, socket.MSG_PEEK) == b""
    except OSError:
        return True


class Server(socketserver.ThreadingMixIn, socketserver.BaseServer):
    """Serves on a socket that is listening already; a thread for each caller."""

    daemon_threads = True
    allow_reuse_address = False

    def __init__(self, listening: socket.socket, control: Control) -> None:
        super().__init__(listening.getsockname(), Caller)
        self._listening = listening
        self._control = control
        self._words: Words | None = None
        self._first = threading.Lock()

    @property
    def words(self) -> Words:
        """The methods; made for the first caller, as it takes a moment."""
        with self._first:  # several callers at once would import the same libraries at once
            if self._words is None:
                self._words = Words(self._control)
            return self._words

    def fileno(self) -> int:
        """Of the socket."""
        return self._listening.fileno()

    def get_request(self) -> tuple[socket.socket, Any]:
        """The next caller."""
        connection, _ = self._listening.accept()
        connection.settimeout(Caller.timeout)
        return connection, "local"

    def shutdown_request(self, request: Any) -> None:
        """Say goodbye."""
        request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever hung up in the middle is nobody's trouble."""


@contextmanager
def serving(control: Control) -> Iterator[None]:
    """Within the block, serve on the socket that was handed into the sandbox, if one was."""
    number = os.environ.pop(HANDED_IN, None)
    if number is None:
        yield
        return
    with socket.socket(fileno=int(number)) as listening:
        os.set_inheritable(listening.fileno(), False)
        server = Server(listening, control)
        serve = partial(server.serve_forever, poll_interval=0.05)
        threading.Thread(target=serve, name="control", daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()
