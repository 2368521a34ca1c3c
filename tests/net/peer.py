"""The controller's end of a bare OpenFlow connection to a real Open vSwitch."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from controller import openflow
from controller.core.rules import Program
from topologies.emulation import wiring
from topologies.emulation.vswitch import Bridge, VSwitch

HELLO, ERROR, ECHO, ECHO_REPLY, MULTIPART, BARRIER_REPLY = 0, 1, 2, 3, 19, 21


class Peer:
    """The controller's end of one OpenFlow connection, bare."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._stream = connection.makefile("rb")
        self.send(struct.pack("!BBHI", 4, HELLO, 8, 0))

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def _next(self) -> tuple[int, int, bytes]:
        _, kind, length, xid = struct.unpack("!BBHI", self._stream.read(8))
        body = self._stream.read(length - 8)
        if kind == ECHO:
            self.send(struct.pack("!BBHI", 4, ECHO_REPLY, length, xid) + body)
        return kind, xid, body

    def settle(self, xid: int) -> None:
        """Read until the barrier with this xid is answered; a refusal fails the test."""
        while True:
            kind, got, body = self._next()
            assert kind != ERROR, f"xid {got}: error {struct.unpack_from('!HH', body)}"
            if (kind, got) == (BARRIER_REPLY, xid):
                return

    def collect(self, xid: int) -> bytes:
        """The body of a whole multipart reply."""
        found = b""
        while True:
            kind, got, body = self._next()
            if (kind, got) == (MULTIPART, xid):
                found += body[8:]
                if not struct.unpack_from("!HH", body)[1] & 1:
                    return found

    def program(self) -> Program:
        self.send(openflow.flows_request(1001) + openflow.groups_request(1002))
        rules = frozenset(openflow.read_flows(self.collect(1001)))
        return Program(rules, frozenset(openflow.read_groups(self.collect(1002))))


@contextmanager
def connected(tmp_path: Path) -> Iterator[Peer]:
    """A switch of its own; not a fixture, because fixtures also run outside the sandbox."""
    wiring.raise_loopback()
    with socket.create_server(("127.0.0.1", 6653)) as server:
        server.settimeout(10)
        switch = VSwitch(tmp_path)
        try:
            switch.start_database()
            switch.start([Bridge("eLHR", 7, ())])
            switch.verify()
            switch.connect("tcp:127.0.0.1:6653")
            connection, _ = server.accept()
            connection.settimeout(10)
            with connection:
                yield Peer(connection)
        finally:
            switch.stop()
