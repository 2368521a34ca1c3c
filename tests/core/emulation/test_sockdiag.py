"""What the kernel says of sockets, against the sockets that are there, and against /proc."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from topologies.emulation.processes import until
from topologies.emulation.sockdiag import TCP, UDP, SocketDiag

HERE = IPv4Address("127.0.0.1")
TIME_WAIT = "06"


@pytest.fixture
def opened():
    with ExitStack() as stack:
        yield stack


def proc(name: str) -> list[tuple[str, str, str]]:
    """Own end, far end and state of every socket, as /proc writes them."""
    lines = Path(f"/proc/thread-self/net/{name}").read_text().splitlines()[1:]
    return [(x[1], x[2], x[3]) for x in (line.split() for line in lines)]


def test_connections_are_counted_by_destination_those_in_time_wait_too(opened):
    server = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=50))
    port = server.getsockname()[1]
    clients = [
        opened.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(20)
    ]
    accepted = [opened.enter_context(server.accept()[0]) for _ in range(20)]
    for pair in zip(clients[:5], accepted[:5], strict=True):
        for end in pair:
            end.close()
    far = f"0100007F:{port:04X}"

    def waiting() -> bool:
        return sum(x[1:] == (far, TIME_WAIT) for x in proc("tcp")) == 5

    until(waiting, "five connections to wait")
    diag = SocketDiag()
    opened.callback(diag.close)
    assert diag.count(TCP)[HERE, HERE, port] == 20
    assert diag.count(TCP)[HERE, IPv4Address(0), 0] == 0  # the listening one is not there
    open_ports = {client.getsockname()[1] for client in clients[5:]}
    assert {(HERE, p) for p in open_ports} <= diag.sources(TCP)
    assert (HERE, port) in diag.sources(TCP)  # the far ends of the same connections


def test_datagram_sockets_are_there_with_and_without_a_destination(opened):
    alone, connected = (
        opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(2)
    )
    alone.bind(("127.0.0.1", 0))
    connected.connect(("127.0.0.1", 9))
    diag = SocketDiag()
    opened.callback(diag.close)
    counted = diag.count(UDP)
    assert counted[HERE, IPv4Address(0), 0] >= 1
    assert counted[HERE, HERE, 9] >= 1
    assert {(HERE, x.getsockname()[1]) for x in (alone, connected)} <= diag.sources(UDP)


def test_a_protocol_that_the_kernel_does_not_show_is_said():
    diag = SocketDiag()
    try:
        with pytest.raises(OSError, match="the kernel shows no sockets"):
            diag.count(200)
    finally:
        diag.close()
