"""The egress proxy: what is read of a request, strictly, and what a client is told."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import socket
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.agent import borrowed
from controller.agent.proxy import http, socks
from controller.agent.proxy.tunnel import Streams, Target, carry
from topologies.emulation.endpoints.http import HttpError, parse_request

ORIGIN = IPv4Address("10.1.0.1")
NONE_LEFT = borrowed.PortsExhaustedError(errno.EADDRNOTAVAIL, "all in use")
NOT_HELD = borrowed.NoLeaseError(errno.EADDRNOTAVAIL, "no lease")
REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "refused")


# -- what it carries


async def streams(sock: socket.socket) -> Streams:
    return await asyncio.open_connection(sock=sock)


@pytest.mark.parametrize("gone", ["client", "origin"])
def test_when_one_end_is_gone_the_other_is_told_and_nothing_is_left(gone: str) -> None:
    async def live() -> None:
        (client, near), (far, origin) = socket.socketpair(), socket.socketpair()
        ours = await streams(near), await streams(far)
        carried = asyncio.create_task(carry(*ours))
        goes, stays = (client, origin) if gone == "client" else (origin, client)
        goes.setblocking(False)
        left = await streams(stays)
        left[1].write(b"more and more " * 1000)
        await asyncio.get_running_loop().sock_recv(goes, 9)  # a little of it
        goes.close()
        await asyncio.wait_for(carried, 5)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(left[0].read(), 5) == b""
        assert ours[1][1].is_closing()
        left[1].close()

    asyncio.run(live())


def test_who_has_said_all_still_hears() -> None:
    async def live() -> None:
        (client, near), (far, origin) = socket.socketpair(), socket.socketpair()
        ours = await streams(near), await streams(far)
        carried = asyncio.create_task(carry(*ours))
        (reader, asks), (asked, answers) = await streams(client), await streams(origin)
        asks.write(b"question")
        asks.write_eof()
        assert await asked.read() == b"question"
        answers.write(b"answer")
        answers.close()
        assert await reader.read() == b"answer"
        await asyncio.wait_for(carried, 5)
        assert ours[1][1].is_closing()
        asks.close()

    asyncio.run(live())


# -- HTTP


def connect(target: str, *fields: str) -> Target:
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}", *fields]
    return http.parse_connect(parse_request("\r\n".join(lines).encode()))


def login(words: str) -> str:
    return f"Proxy-Authorization: Basic {base64.b64encode(words.encode()).decode()}"


def test_connect_names_a_destination_and_perhaps_a_tag() -> None:
    assert connect("10.1.0.1:80") == Target(ORIGIN, 80, None)
    assert connect("10.1.0.1:443", login("gb:")) == Target(ORIGIN, 443, "gb")
    assert connect("10.1.0.1:443", login("gb:x:y")).tag == "gb"
    assert connect("10.1.0.1:443", login(":x")).tag is None


@pytest.mark.parametrize(
    "target", ["10.1.0.1", "10.1.0.1:0", "10.1.0.1:65536", "a:80", ":80", "10.1.0.1:" + "1" * 5000]
)
def test_connect_to_what_is_no_address_is_refused(target: str) -> None:
    with pytest.raises(HttpError) as caught:
        connect(target)
    assert caught.value.status == 400


@pytest.mark.parametrize("words", ["Basic", "Basic !!", "Bearer Z2I6", "Basic Z2I=", "Basic /zo="])
def test_a_login_that_is_none_is_refused(words: str) -> None:
    with pytest.raises(HttpError, match="'Basic TAG:' in base64"):
        connect("10.1.0.1:80", f"Proxy-Authorization: {words}")


def test_another_method_is_refused() -> None:
    with pytest.raises(HttpError, match="only CONNECT") as refused:
        http.parse_connect(parse_request(b"GET / HTTP/1.1\r\nHost: a"))
    assert b"\r\nAllow: CONNECT\r\n" in http.refusal(refused.value)  # RFC 9110 section 15.5.6


@pytest.mark.parametrize(
    ("error", "status"),
    [(NOT_HELD, 403), (NONE_LEFT, 503), (TimeoutError(), 504), (REFUSED, 502), (OSError(1), 502)],
)
def test_an_http_client_is_told_why_there_is_no_tunnel(error: OSError, status: int) -> None:
    head, _, body = http.refusal(error).partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert f"Content-Length: {len(body)}".encode() in head


# -- what leaves by a lease


def test_a_datagram_does_not_leave_from_a_port_that_is_not_lent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lease = {"tag": "any", "address": "127.0.0.1", "first_port": 2048, "last_port": 4095}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as elsewhere:
        # As of a lease that has just gone: the namespace's range is another's.
        monkeypatch.setattr(borrowed, "IP_LOCAL_PORT_RANGE", socket.IP_TTL)
        monkeypatch.setattr(borrowed, "pack", lambda *_: (64).to_bytes(4, "little"))
        with pytest.raises(OSError, match="not one of 2048-4095"):
            borrowed.bind(elsewhere, [lease])


# -- SOCKS5


class Writer:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data


def read(data: bytes) -> tuple[socks.Request, bytes]:
    """What is understood of a client's bytes behind the version, and what it was told."""

    async def reading() -> tuple[socks.Request, bytes]:
        reader, writer = asyncio.StreamReader(), Writer()
        reader.feed_data(data)
        reader.feed_eof()
        return await socks.read_request(reader, writer), writer.written  # type: ignore[arg-type]

    return asyncio.run(reading())


LOGIN = b"\x02\x00\x02" + b"\x01\x02gb\x01x"
TO_ORIGIN = b"\x01\x0a\x01\x00\x01\x00\x50"


def test_a_socks_request_is_a_command_an_address_and_a_tag() -> None:
    request, told = read(LOGIN + b"\x05\x01\x00" + TO_ORIGIN)
    assert request == socks.Request(socks.Command.CONNECT, Target(ORIGIN, 80, "gb"))
    assert told == b"\x05\x02\x01\x00"
    request, told = read(b"\x01\x00" + b"\x05\x03\x00" + b"\x03\x010\x00\x50")
    nowhere = Target(IPv4Address(0), 80, None)
    assert request == socks.Request(socks.Command.UDP_ASSOCIATE, nowhere)
    assert told == b"\x05\x00"
    assert (
        read(b"\x01\x00" + b"\x05\x01\x00" + b"\x03\x0810.1.0.1\x00\x50")[0].target.address
        == ORIGIN
    )


@pytest.mark.parametrize(
    ("data", "reply"),
    [
        (b"\x01\x01", None),  # GSSAPI alone
        (b"\x01\x02" + b"\x02\x02gb\x01x" + b"\x05\x01\x00" + TO_ORIGIN, None),
        (b"\x01\x00" + b"\x04\x01\x00" + TO_ORIGIN, None),
        (b"\x01\x00" + b"\x05\x02\x00" + TO_ORIGIN, socks.Reply.NO_COMMAND),
        (b"\x01\x00" + b"\x05\x01\x00\x04" + bytes(18), socks.Reply.NO_ADDRESS_TYPE),
        (b"\x01\x00" + b"\x05\x01\x00\x02" + bytes(18), socks.Reply.NO_ADDRESS_TYPE),
        (b"\x01\x00" + b"\x05\x01\x00\x03\x01a\x00\x50", socks.Reply.HOST_UNREACHABLE),
    ],
)
def test_what_socks_cannot_have_is_refused(data: bytes, reply: socks.Reply | None) -> None:
    with pytest.raises(socks.SocksError) as caught:
        read(data)
    assert caught.value.reply == reply
    told = socks.refusal(caught.value)
    assert told == (b"" if reply is None else bytes((5, reply, 0, 1)) + bytes(6))


@given(st.binary(max_size=40))
def test_whatever_comes_is_a_request_a_refusal_or_too_short(data: bytes) -> None:
    try:
        request, _ = read(data)
    except (socks.SocksError, asyncio.IncompleteReadError):
        return
    assert 0 <= request.target.port < 65_536


@pytest.mark.parametrize(
    ("error", "reply"),
    [(NOT_HELD, 2), (NONE_LEFT, 1), (TimeoutError(), 6), (REFUSED, 5), (OSError(1), 4)],
)
def test_a_socks_client_is_told_why_there_is_no_tunnel(error: OSError, reply: int) -> None:
    assert socks.refusal(error)[:2] == bytes((5, reply))


def test_a_datagram_is_unwrapped_as_it_was_wrapped() -> None:
    wrapped = socks.wrap((str(ORIGIN), 7), b"hello")
    assert wrapped == b"\0\0\0" + TO_ORIGIN[:-2] + b"\x00\x07hello"
    assert socks.unwrap(wrapped) == ((str(ORIGIN), 7), b"hello")
    for bad in (wrapped[:9], b"\0\0\1" + wrapped[3:], b"\0\0\0\3" + wrapped[4:]):
        assert socks.unwrap(bad) is None
