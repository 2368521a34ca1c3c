"""A real etcd on loopback, and a road to it on which requests and answers get lost."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import urlopen

import pytest

from topologies.emulation.processes import until

HOST = "127.0.0.1"


class Etcd:
    """A server with its data in a folder; it can be killed, and started again.

    ``peers`` are the ports on which the members of its cluster meet, ``member`` its place there.
    """

    def __init__(
        self, folder: Path, *options: str, peers: Sequence[int] = (), member: int = 0
    ) -> None:
        program = shutil.which("etcd")
        if program is None:
            pytest.skip("etcd is not installed: `setup/packages.sh etcd-server`")
        (self.port,) = free_ports(1)
        self._log = folder / f"etcd{member}.log"
        meeting = [f"http://{HOST}:{port}" for port in peers or free_ports(1)]
        clients, mine = f"http://{HOST}:{self.port}", meeting[member]
        cluster = ",".join(f"member{n}={url}" for n, url in enumerate(meeting))
        self._words = [program, "--name", f"member{member}", "--initial-cluster", cluster]
        self._words += ["--data-dir", str(folder / f"etcd{member}")]
        self._words += ["--listen-client-urls", clients, "--advertise-client-urls", clients]
        self._words += ["--listen-peer-urls", mine, "--initial-advertise-peer-urls", mine]
        # Leases of one second are granted when elections are shorter than that.
        self._words += ["--heartbeat-interval", "20", "--election-timeout", "200", *options]
        self.start()

    def start(self) -> None:
        """It does not answer yet."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._words, stdout=log, stderr=log)

    def wait(self) -> Etcd:
        """Return when it answers, which takes most of the members of a cluster."""
        until(self._healthy, f"etcd, see {self._log}")
        return self

    def _healthy(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        try:
            with urlopen(f"http://{HOST}:{self.port}/health", timeout=2) as answer:
                return b"true" in answer.read()
        except OSError:
            return False

    def kill(self) -> None:
        """End it as a crash does."""
        self._process.kill()
        self._process.wait()

    def at(self, prefix: str, port: int | None = None) -> str:
        """A store's address, by another port if one is given."""
        return f"etcd://{HOST}:{port or self.port}/{prefix}"


class Road(ThreadingHTTPServer):
    """A proxy in front of a server, on which a request can meet a mishap."""

    daemon_threads = True

    def __init__(self, to: int) -> None:
        super().__init__((HOST, 0), _Carrier)
        self.to = to
        self.closed = False
        self.mishaps: list[str] = []
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def lose(self, *what: str) -> None:
        """Of the transactions that come, lose these, one after the other: the ``request``, the
        ``answer``, or the answer and ``everything`` that follows, until the road is opened again.
        A ``refusal`` is none of the server's.
        """
        self.mishaps += what


class _Carrier(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Road

    def do_POST(self) -> None:
        road = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.close_connection = True
        if road.closed:
            return
        writes = self.path.endswith("txn") and b"request_put" in body
        mishap = road.mishaps.pop(0) if writes and road.mishaps else None
        if mishap == "request":
            return
        if mishap == "refusal":
            self._answer(429, b'{"error": "space exceeded", "code": 8}')
            return
        there = HTTPConnection(HOST, road.to)
        there.request("POST", self.path, body)
        answer = there.getresponse()
        said = answer.read()
        there.close()
        road.closed |= mishap == "everything"
        if mishap is None:
            self._answer(answer.status, said)

    def _answer(self, status: int, said: bytes) -> None:
        self.close_connection = False
        self.send_response(status)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: object) -> None:
        pass


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    with contextlib.ExitStack() as held:
        servers = [held.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in servers]


@contextlib.contextmanager
def running(folder: Path, *options: str, members: int = 1) -> Iterator[list[Etcd]]:
    """The members of a cluster, for a while."""
    peers = free_ports(members)
    with contextlib.ExitStack() as started:
        servers = []
        for member in range(members):
            servers.append(Etcd(folder, *options, peers=peers, member=member))
            started.callback(servers[-1].kill)
        yield [server.wait() for server in servers]
