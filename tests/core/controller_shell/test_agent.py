"""The lending agent: whom it hears, how much of it, and what it finds after it was killed."""

from __future__ import annotations

import asyncio
import json
import socket
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from controller import agent
from controller.agent import LENDER, MESSAGES, Inbox, Status
from controller.dhcp import DhcpError, Kind, Message, Option, build
from topologies import sources
from topologies.plan import plan

ACK = build(
    Message(Kind.ACK, 7, b"\2\0\0\0\0\1", ((int(Option.LEASE_TIME), (120).to_bytes(4, "big")),))
)


def test_only_the_lender_is_heard() -> None:
    inbox = Inbox()
    inbox.datagram_received(ACK, ("172.16.0.9", 67))
    inbox.datagram_received(ACK, (LENDER[0], 6767))
    assert (inbox.messages.qsize(), inbox.dropped) == (0, 2)
    inbox.datagram_received(ACK, LENDER)
    assert inbox.messages.get_nowait().xid == 7


def test_a_flood_costs_no_memory_and_few_words(caplog: object) -> None:
    inbox = Inbox()
    for _ in range(MESSAGES + 1000):
        inbox.datagram_received(ACK, LENDER)
    assert (inbox.messages.qsize(), inbox.dropped) == (MESSAGES, 1000)
    assert len(caplog.records) == 10  # type: ignore[attr-defined]


def test_what_is_no_message_is_dropped() -> None:
    inbox = Inbox()
    for data in (b"", b"x" * 10_000, ACK[:100], ACK[:240]):
        inbox.datagram_received(data, LENDER)
    assert (inbox.messages.qsize(), inbox.dropped) == (0, 4)


def test_an_agent_knows_what_one_before_it_left(tmp_path: Path) -> None:
    path = tmp_path / "leases.json"
    assert Status(path).left("LHR-s1") is None
    Status(path).put("LHR-s1", {"address": "203.0.113.1", "first_port": 2048})
    again = Status(path)
    assert again.left("LHR-s1") == IPv4Address("203.0.113.1")
    assert again.left("LHR-s2") is None
    again.write()
    assert json.loads(path.read_text()) == {}


@pytest.mark.parametrize("error", [DhcpError("no option"), ValueError("no range"), OSError("down")])
def test_a_clients_failure_is_not_its_end(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "AGAIN_S", 0.0)
    server = plan(sources.load("triangle")).host("LHR-s1")
    client, tries, over = agent.Client(server, Status(None)), [], asyncio.Event()

    def open_here() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        made.bind(("127.0.0.1", 0))
        return made

    async def acquire() -> agent.Held:
        tries.append(1)
        if len(tries) == 3:
            over.set()
            await asyncio.sleep(60)
        raise error

    async def watch() -> None:
        running = asyncio.create_task(client.run())
        await asyncio.wait(
            [running, asyncio.create_task(over.wait())], return_when="FIRST_COMPLETED"
        )
        assert over.is_set(), running
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    monkeypatch.setattr(client, "_open", open_here)
    monkeypatch.setattr(client, "_acquire", acquire)
    asyncio.run(watch())
