"""The services of the hosts without sockets: bytes in, bytes out."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address

import pytest

from topologies.emulation.endpoints.http import (
    MAX_HEAD,
    HttpEndpoint,
    Peers,
    trace,
)
from topologies.plan import HostPlan, HostRole


def host(role: HostRole = HostRole.SERVER, name: str = "LHR-s1") -> HostPlan:
    return HostPlan(name, role, "LHR", IPv4Address("172.16.0.1"), "02:00:00:00:01:01", "eLHR", 3)


class FakeTransport(asyncio.Transport):
    """Keeps what is written; tells the protocol to pause when more than ``room`` is unread."""

    def __init__(self, room: int = 1 << 20) -> None:
        super().__init__()
        self.protocol = HttpEndpoint(host(), now_s=lambda: 1.5)
        self.room = room
        self.written = bytearray()
        self.closed = False
        self.reading = True
        self.protocol.connection_made(self)

    def get_extra_info(self, name, default=None):
        ends = {"peername": ("10.0.0.1", 40_000), "sockname": ("198.51.100.1", 80)}
        return ends.get(name, default)

    def write(self, data):
        self.written += data
        if len(self.written) > self.room:
            self.protocol.pause_writing()

    async def drain(self) -> bytes:
        """Take what was written, as a client that reads again."""
        data = bytes(self.written)
        self.written.clear()
        self.protocol.resume_writing()
        await asyncio.sleep(0)
        return data

    def close(self):
        self.closed = True

    def is_closing(self):
        return self.closed

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True


def ask(*pieces: bytes) -> FakeTransport:
    transport = FakeTransport()
    for piece in pieces:
        transport.protocol.data_received(piece)
    return transport


def status(transport: FakeTransport) -> int:
    return int(transport.written.split(b" ", 2)[1])


GET_TRACE = b"GET /trace HTTP/1.1\r\nHost: a\r\n\r\n"


def test_trace_names_the_server_and_whom_it_saw():
    transport = ask(GET_TRACE)
    head, body = bytes(transport.written).split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert body == (
        b"pop=LHR\nserver=LHR-s1\nclient=10.0.0.1\nclient_port=40000\nhost=198.51.100.1\nts=1.500\n"
    )
    assert not transport.closed


def test_trace_of_an_origin_names_no_pop():
    body = trace(host(HostRole.ORIGIN, "LHR-o1"), Peers("203.0.113.1", 2048, "10.0.0.2"), 0)
    assert body.startswith(b"city=LHR\norigin=LHR-o1\nclient=203.0.113.1\nclient_port=2048\n")


def test_a_request_in_pieces_and_two_in_one_piece():
    whole = ask(GET_TRACE + GET_TRACE).written
    assert whole.count(b"HTTP/1.1 200 OK") == 2
    assert ask(*(bytes([byte]) for byte in GET_TRACE + GET_TRACE)).written == whole


def test_head_has_the_length_and_no_body():
    get = bytes(ask(b"GET /bytes/70000 HTTP/1.1\r\nHost: a\r\n\r\n").written)
    head = bytes(ask(b"HEAD /bytes/70000 HTTP/1.1\r\nHost: a\r\n\r\n").written)
    assert head.endswith(b"\r\n\r\n")
    assert get == head + bytes(70_000)


@pytest.mark.parametrize(
    ("line", "stays"),
    [
        (b"GET /trace HTTP/1.1\r\nHost: a\r\nConnection: close", False),
        (b"GET /trace HTTP/1.1\r\nHost: a\r\nConnection: x, CLOSE", False),
        (b"GET /trace HTTP/1.0", False),
        (b"GET /trace HTTP/1.0\r\nConnection: keep-alive", True),
        (b"GET /bytes/5 HTTP/1.1\r\nHost: a\r\nConnection: close", False),
        (b"GET /nothing HTTP/1.1\r\nHost: a", True),
    ],
)
def test_connection_stays_open_as_asked(line, stays):
    assert ask(line + b"\r\n\r\n").closed is not stays


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        (b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"GET /bytes/-1 HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"GET /bytes/9999999999999 HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"POST /trace HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"GET /trace HTTP/1.1\r\n\r\n", 400),
        (b"GET /trace HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /trace HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"GET  /trace HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /trace HTTP/1.1\r\nHost a\r\n\r\n", 400),
        (b"GET /trace HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET /trace HTTP/1.1\nHost: a\r\n\r\n", 400),
        (b"GET /tr\xc3\xa4ce HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /trace HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 413),
        (b"GET /trace HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 413),
        (b"GET /trace HTTP/1.1\r\nHost: a\r\nX: " + b"x" * MAX_HEAD + b"\r\n\r\n", 431),
        (b"x" * (MAX_HEAD + 1), 431),
    ],
)
def test_errors_have_their_status(request_bytes, expected):
    transport = ask(request_bytes)
    assert status(transport) == expected
    assert transport.written.count(b"Content-Length:") == 1
    assert transport.closed is (expected != 404)


def test_nothing_is_answered_behind_an_error():
    assert (
        ask(b"POST /trace HTTP/1.1\r\nHost: a\r\n\r\n" + GET_TRACE).written.count(b"HTTP/1.1 ") == 1
    )


def test_a_slow_reader_holds_the_stream_and_the_requests_behind_it():
    async def read_slowly() -> tuple[FakeTransport, bytes]:
        transport = FakeTransport(room=100_000)
        stream = b"GET /bytes/1000000 HTTP/1.1\r\nHost: a\r\n\r\n"
        transport.protocol.data_received(stream + GET_TRACE)
        assert len(transport.written) < 300_000
        assert not transport.reading
        got = b""
        while piece := await transport.drain():
            got += piece
        return transport, got

    transport, got = asyncio.run(read_slowly())
    head, _, rest = got.partition(b"\r\n\r\n")
    assert b"Content-Length: 1000000" in head
    assert rest[:1_000_000] == bytes(1_000_000)
    assert rest[1_000_000:].startswith(b"HTTP/1.1 200 OK")
    assert transport.reading
