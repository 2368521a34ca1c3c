"""The lending agent: whom it hears, how much of it, and what it finds after it was killed."""

from __future__ import annotations

import json
from ipaddress import IPv4Address
from pathlib import Path

from controller.agent import LENDER, MESSAGES, Inbox, Status
from controller.dhcp import Kind, Message, Option, build

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
