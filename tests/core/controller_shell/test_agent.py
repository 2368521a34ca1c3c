"""The lending agents: whom they hear, how much of it, what they configure, what they find left."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller import exchange
from controller.agent import __main__ as agent
from controller.agent import address, client, orders, ports, server
from controller.agent.client import Client, Handed, Held, Want
from controller.agent.growth import Growth, Step
from controller.agent.inbox import LENDER, MESSAGES, Inbox
from controller.agent.orders import obey
from controller.agent.server import Server
from controller.agent.status import Status
from controller.agent.usage import Place, Towards, Usage
from controller.core.lease import Lease, LeaseState
from controller.core.tokens import TokenBucket
from controller.dhcp import DhcpError, Kind, Message, Option, PortParameters, build
from controller.exchange import MESSAGES_AT_ONCE, MESSAGES_PER_S
from controller.frames import octets
from topologies import sources
from topologies.emulation.sockdiag import UDP, Flow
from topologies.plan import plan

MAC = b"\2\0\0\0\0\1"
ACK = build(Message(Kind.ACK, 7, MAC, ((int(Option.LEASE_TIME), (120).to_bytes(4, "big")),)))
HOST = plan(sources.load("triangle")).host("LHR-s1")
ONE, TWO = Want(), Want("gb", "web", 8)
LENT = Lease(
    address=IPv4Address("203.0.113.4"),
    psid=9,
    psid_bits=8,
    state=LeaseState.LENT,
    server=HOST.name,
    pop=HOST.city,
    home=HOST.city,
    tag="gb",
    client_id="web",
    number=7,
    since_ns=0,
    until_ns=1,
)


def held(at: str, psid: int, bits: int = 5) -> Held:
    return Held(IPv4Address(at), PortParameters(bits, psid), 1e9, 1e9, 1e9)


# -- what is heard


def test_only_the_lender_is_heard_and_only_what_is_awaited() -> None:
    inbox = Inbox(lambda _: None)
    inbox.datagram_received(ACK, LENDER)
    with inbox.expecting(8) as other, inbox.expecting(7) as answers:
        inbox.datagram_received(ACK, ("172.16.0.9", 67))
        inbox.datagram_received(ACK, (LENDER[0], 6767))
        assert (answers.qsize(), inbox.dropped) == (0, 3)
        inbox.datagram_received(ACK, LENDER)
        assert answers.get_nowait().xid == 7
        assert other.empty()


def test_a_flood_costs_no_memory_and_few_words(caplog: pytest.LogCaptureFixture) -> None:
    inbox = Inbox(lambda _: None)
    with inbox.expecting(7) as answers:
        for _ in range(MESSAGES + 1000):
            inbox.datagram_received(ACK, LENDER)
        assert (answers.qsize(), inbox.dropped) == (MESSAGES, 1000)
    assert len(caplog.records) == 10


def test_what_is_no_message_is_dropped() -> None:
    inbox = Inbox(lambda _: None)
    with inbox.expecting(7) as answers:
        for data in (b"", b"x" * 10_000, ACK[:100], ACK[:240]):
            inbox.datagram_received(data, LENDER)
        assert (answers.qsize(), inbox.dropped) == (0, 4)


def test_a_force_renew_is_heard_though_nobody_waits_for_it() -> None:
    heard: list[Message] = []
    inbox = Inbox(heard.append)
    told = build(exchange.force_renew(LENT, MAC))
    inbox.datagram_received(told, ("172.16.0.9", 67))
    assert (heard, inbox.dropped) == ([], 1)
    inbox.datagram_received(told, LENDER)
    assert [x.kind for x in heard] == [Kind.FORCERENEW]


# -- what is left and told


def test_an_agent_knows_what_one_before_it_left(tmp_path: Path) -> None:
    path = tmp_path / "leases.json"
    assert Status(path).left("LHR-s1") == set()
    Status(path).put("LHR-s1", [held("203.0.113.1", 2).describe(ONE)])
    again = Status(path)
    assert again.left("LHR-s1") == {IPv4Address("203.0.113.1")}
    assert again.left("LHR-s2") == set()
    again.write()
    assert json.loads(path.read_text()) == {}


@pytest.mark.parametrize(
    ("leases", "range_"),
    [
        ([], (32768, 60999)),
        ([(2048, 4095)], (2048, 4095)),
        ([(0, 65535)], (1024, 65535)),
        ([(2048, 4095), (4096, 6143)], (1024, 65535)),
    ],
)
def test_a_namespace_has_the_ports_of_its_only_lease(
    leases: list[tuple[int, int]], range_: tuple[int, int]
) -> None:
    assert address.choose(leases, (32768, 60999)) == range_


class Kernel:
    """What an agent configures, written down."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.addresses: set[IPv4Address] = set()
        self.ports: Any = None
        monkeypatch.setattr(server.anyip, "accept", lambda _, at: self.addresses.add(at))
        monkeypatch.setattr(server.anyip, "refuse", lambda _, at: self.addresses.discard(at))
        monkeypatch.setattr(server.address, "set_ports", self.set_ports)

    def set_ports(self, _: str, ports: Any) -> None:
        self.ports = ports


def test_a_server_has_the_addresses_of_its_leases_and_no_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kernel = Kernel(monkeypatch)
    before = Status(tmp_path / "leases.json")
    before.put(HOST.name, [held("203.0.113.9", 1).describe(ONE)])
    kernel.addresses.add(IPv4Address("203.0.113.9"))
    status = Status(tmp_path / "leases.json")

    async def use() -> None:
        mine = Server(HOST, status)
        mine._usual = (32768, 60999)
        mine._tasks = {ONE: None, TWO: None}  # type: ignore[dict-item]
        mine._use(ONE, held("203.0.113.1", 2))
        assert kernel.addresses == {IPv4Address("203.0.113.1")}
        assert kernel.ports == (4096, 6143)
        mine._use(TWO, held("203.0.113.1", 200, 8))
        assert kernel.addresses == {IPv4Address("203.0.113.1")}
        assert kernel.ports == (1024, 65535)
        mine._use(ONE, None)
        assert kernel.addresses == {IPv4Address("203.0.113.1")}
        assert kernel.ports == (51200, 51455)
        told = json.loads((tmp_path / "leases.json").read_text())
        assert [(x["tag"], x["client_id"]) for x in told[HOST.name]] == [("gb", "web")]
        mine._use(TWO, None)
        assert kernel.addresses == set()
        assert kernel.ports == (32768, 60999)
        assert json.loads((tmp_path / "leases.json").read_text()) == {}

    asyncio.run(use())


def test_who_ends_returns_no_faster_than_it_is_heard(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What the lender's own bucket for a port would drop is lost: nobody repeats a RELEASE."""
    Kernel(monkeypatch)
    now_s, dropped, returned = 1000.0, 0, []
    lender = TokenBucket(MESSAGES_PER_S, MESSAGES_AT_ONCE)

    async def sleep(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds

    async def use() -> None:
        mine = Server(HOST, Status(tmp_path / "leases.json"))
        wants = [Want(client_id=str(number)) for number in range(50)]
        mine._tasks = dict.fromkeys(wants)  # type: ignore[assignment]

        async def give_back(want: Want) -> bool:
            nonlocal dropped
            dropped += not lender.take(now_s)
            returned.append(want)
            return True

        async def ended() -> None:
            pass

        monkeypatch.setattr(mine, "give_back", give_back)
        monkeypatch.setattr(mine.proxy, "close", ended)
        monkeypatch.setattr(server.asyncio, "sleep", sleep)
        monkeypatch.setattr(server.time, "monotonic", lambda: now_s)
        await mine.close()
        monkeypatch.undo()
        assert returned == wants

    asyncio.run(use())
    assert dropped == 0
    assert now_s < 1000 + (50 - MESSAGES_AT_ONCE + 2) / MESSAGES_PER_S


# -- a client


class Lender:
    """Answers a client as a lender would, or not."""

    def __init__(self, answer: Callable[[Message], Message | None]) -> None:
        self.inbox = Inbox(lambda _: None)
        self.asked: list[Message] = []
        self._answer = answer

    def send(self, message: Message, _target: object) -> None:
        self.asked.append(message)
        reply = self._answer(message)
        if reply is not None:
            self.inbox.datagram_received(build(reply), LENDER)


def agreeable(asked: Message) -> Message | None:
    kind = {Kind.DISCOVER: Kind.OFFER, Kind.REQUEST: Kind.ACK}.get(asked.kind)
    if kind is None:
        return None
    options = (
        (int(Option.SERVER_ID), IPv4Address(LENDER[0]).packed),
        (int(Option.LEASE_TIME), (120).to_bytes(4, "big")),
        (int(Option.PORT_PARAMETERS), PortParameters(8, 9).encode()),
    )
    return Message(kind, asked.xid, MAC, options, yiaddr=IPv4Address("203.0.113.4"))


def test_a_client_asks_by_its_names_uses_what_it_gets_and_gives_it_back() -> None:
    used: list[Held | None] = []

    async def live() -> Lender:
        lender = Lender(agreeable)
        running = asyncio.create_task(
            Client(TWO, MAC, lender.inbox, lender.send, used.append).run()
        )
        while len(used) < 2:
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return lender

    lender = asyncio.run(live())
    assert [x.kind for x in lender.asked] == [Kind.DISCOVER, Kind.REQUEST, Kind.RELEASE]
    for message in lender.asked:
        assert (message.client_id, message.user_class) == ("web", "gb")
    assert lender.asked[0].port_parameters == PortParameters(8, 0)
    first, timed, last = used
    assert first is not None
    assert timed is not None
    assert timed.range == first.range == (2304, 2559)
    assert timed.acquire_ms > first.acquire_ms
    assert last is None


@pytest.mark.parametrize("error", [DhcpError("no option"), ValueError("no range"), OSError("down")])
def test_a_clients_failure_is_not_its_end(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "AGAIN_S", 0.0)
    tries: list[int] = []

    async def live() -> None:
        over = asyncio.Event()
        lender = Lender(agreeable)
        mine = Client(ONE, MAC, lender.inbox, lender.send, lambda _: None)

        async def acquire() -> Held:
            tries.append(1)
            if len(tries) == 3:
                over.set()
                await asyncio.sleep(60)
            raise error

        monkeypatch.setattr(mine, "_acquire", acquire)
        running = asyncio.create_task(mine.run())
        await asyncio.wait(
            [running, asyncio.create_task(over.wait())], return_when="FIRST_COMPLETED"
        )
        assert over.is_set(), running
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(live())


@pytest.mark.parametrize("when", ["while it borrows", "when it ends"])
def test_a_disk_that_is_full_for_a_moment_ends_no_client(
    when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "AGAIN_S", 0.0)
    full = when == "while it borrows"
    used: list[Held | None] = []

    def use(held: Held | None) -> None:
        used.append(held)
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")

    async def live() -> list[Kind]:
        nonlocal full
        lender = Lender(agreeable)
        running = asyncio.create_task(Client(ONE, MAC, lender.inbox, lender.send, use).run())
        async with asyncio.timeout(5):
            while len(used) < 4 if full else not used:
                await asyncio.sleep(0)
            full = not full
            while used[-1] is None:
                await asyncio.sleep(0)
        assert not running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return [message.kind for message in lender.asked]

    assert asyncio.run(live())[-1] is Kind.RELEASE


def handed(answer: Callable[[Message], Message | None]) -> tuple[list[Message], list[Held | None]]:
    """What a client asks and uses to which a lease was handed, until it is lost."""
    used: list[Held | None] = []

    async def live() -> list[Message]:
        lender = Lender(answer)
        mine = Client(
            TWO, MAC, lender.inbox, lender.send, used.append, (LENT.address, PortParameters(8, 9))
        )
        running = asyncio.create_task(mine.run())
        while used and used[-1] is not None and not running.done():
            await asyncio.sleep(0)
        mine.renew_now()
        async with asyncio.timeout(10):
            await running
        return lender.asked

    return asyncio.run(live()), used


def test_a_lease_that_was_handed_over_is_asked_for_kept_and_never_replaced() -> None:
    answers = iter([Kind.ACK, Kind.ACK, Kind.NAK])

    def answer(asked: Message) -> Message:
        good = agreeable(asked)
        assert good is not None
        return good if next(answers) is Kind.ACK else replace(good, kind=Kind.NAK)

    def quickly(asked: Message) -> Message:
        said = answer(asked)
        short = tuple(
            (code, bytes(4) if code == Option.RENEWAL_TIME else value)
            for code, value in (*said.options, (int(Option.RENEWAL_TIME), bytes(4)))
        )
        return replace(said, options=short)

    asked, used = handed(quickly)
    assert [x.kind for x in asked] == [Kind.REQUEST] * 3
    assert asked[0].address(Option.REQUESTED_ADDRESS) == LENT.address
    assert (asked[0].client_id, asked[0].user_class) == ("web", "gb")
    assert asked[0].port_parameters == PortParameters(8, 9)
    assert used[-1] is None
    assert len(used) == 3


def test_what_is_not_for_us_is_not_taken() -> None:
    asked, used = handed(lambda asked: replace(agreeable(asked) or asked, kind=Kind.NAK))
    assert [x.kind for x in asked] == [Kind.REQUEST]
    assert used == []


def test_a_server_hears_of_its_leases_and_of_no_others() -> None:
    mac = octets(HOST.mac)

    class Heard(Server):
        def borrow(self, want: Want, handed: Handed | None = None) -> asyncio.Task[None]:
            asked.append((want, handed))
            return super().borrow(want, handed)

    asked: list[tuple[Want, Handed | None]] = []

    async def live() -> None:
        mine = Heard(HOST, Status(None))
        mine._send = lambda *_: None  # type: ignore[method-assign, assignment]
        told = exchange.force_renew(LENT, mac)
        mine._hear(told)
        mine._hear(told)  # it is on its way
        assert asked == [(TWO, (LENT.address, PortParameters(8, 9)))]
        for bad in (replace(told, mac=MAC), replace(told, options=())):
            with pytest.raises(DhcpError, match="for another, or names no lease"):
                mine._hear(bad)
        assert await mine.give_back(TWO)

    asyncio.run(live())


# -- ports in use

PLACE = Place("LHR", IPv4Address("203.0.113.1"))
TOWARDS = Towards(PLACE, "172.16.0.1:80", "tcp")


def test_usage_is_an_average_and_a_maximum_of_five_minutes_by_destination() -> None:
    usage, other = Usage(), TOWARDS._replace(origin="172.16.0.2:80")
    usage.look(599, {TOWARDS: 16}, {PLACE: 16})
    usage.look(600, {TOWARDS: 4, other: 8}, {PLACE: 16})
    usage.look(899, {TOWARDS: 12}, {PLACE: 32})
    usage.look(899.5, {}, {PLACE: 32})
    old, new, beside = usage.rows()
    assert (old["begin_s"], old["used_max"], old["share_max"], old["share_avg"]) == (300, 16, 1, 1)
    assert (new["begin_s"], new["pop"], new["address"]) == (600, "LHR", "203.0.113.1")
    assert (new["origin"], new["protocol"]) == ("172.16.0.1:80", "tcp")
    assert (new["used_avg"], new["used_max"]) == (round(16 / 3, 3), 12)
    assert (new["share_avg"], new["share_max"]) == (0.2, 0.375)
    assert (beside["used_avg"], beside["ports"]) == (round(8 / 3, 3), 27)
    for hour in range(20):
        usage.look(1200 + 300 * hour, {}, {})
    assert usage.rows() == []


@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 16)), min_size=1, max_size=50))
def test_no_average_is_above_its_maximum(looks: list[tuple[int, int]]) -> None:
    usage = Usage()
    for at, used in sorted(looks):
        usage.look(at, {TOWARDS: used}, {PLACE: 16})
    for row in usage.rows():
        assert 0 <= row["share_avg"] <= row["share_max"] <= 1
        assert row["used_avg"] <= row["used_max"]


def test_another_set_is_asked_for_before_ports_run_out_and_returned_when_it_is_idle() -> None:
    growth = Growth(most=2)
    assert growth.step(0, [16], 12, 0) is Step.KEEP
    assert growth.step(1, [16], 13, 0) is Step.BORROW
    assert growth.step(2, [16, 16], 26, 0) is Step.KEEP  # no more than two
    assert growth.step(3, [16, 16], 8, 16) is Step.KEEP
    assert growth.step(20, [16, 16], 8, 0) is Step.KEEP  # it is in use again
    assert growth.step(21, [16, 16], 8, 16) is Step.KEEP
    assert growth.step(40, [16, 16], 9, 16) is Step.KEEP  # too many for one
    assert growth.step(41, [16, 16], 8, 16) is Step.KEEP
    assert growth.step(70, [16, 16], 8, 16) is Step.KEEP
    assert growth.step(71, [16, 16], 8, 16) is Step.RETURN
    for second in (200, 300):  # the only one, for ever
        assert growth.step(second, [16], 0, 16) is Step.KEEP


@pytest.mark.parametrize(
    ("sizes", "used", "step"),
    [([2048, 2048, 16], 2000, Step.KEEP), ([2048, 2048, 32768], 10_000, Step.RETURN)],
)
def test_what_would_be_left_counts_wherever_the_idle_set_stands(
    sizes: list[int], used: int, step: Step
) -> None:
    growth = Growth(most=3)
    assert growth.step(0, sizes, used, 2048) is Step.KEEP
    assert growth.step(40, sizes, used, 2048) is step


class Busy(Server):
    """A server whose sockets are made up."""

    def __init__(self, most: int) -> None:
        super().__init__(HOST, Status(None), most)
        self.asked: list[Want] = []
        self._in_use = self  # type: ignore[assignment]

    def borrow(self, want: Want, handed: Handed | None = None) -> asyncio.Task[None]:
        assert handed is None
        self.asked.append(want)
        self._tasks[want] = asyncio.create_task(asyncio.sleep(60))
        return self._tasks[want]

    def hold(self, want: Want, psid: int) -> None:
        self._held[want] = held("203.0.113.1", psid, 12)

    def is_idle(self, lease: Held) -> bool:
        assert lease.range == (3200, 3215)
        return True


class NoUdp:
    """A kernel that shows no sockets of UDP."""

    def count(self, protocol: int) -> Counter[Flow]:
        if protocol == UDP:
            raise FileNotFoundError("the kernel shows no sockets")
        return Counter({(PLACE.address, IPv4Address("172.16.0.1"), 80): 3})


def test_what_the_kernel_does_not_show_is_said_once_and_the_rest_is_counted(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports.netns, "inside", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(ports, "SocketDiag", NoUdp)
    in_use = ports.PortsInUse(HOST)
    for _ in range(3):
        assert in_use.look([held("203.0.113.1", 128, 12)]) == ({TOWARDS: 3}, {PLACE: 16})
    assert [x.message for x in caplog.records] == [
        "LHR-s1: udp not counted: the kernel shows no sockets"
    ]


def test_a_server_borrows_more_by_itself_and_only_then() -> None:
    async def live() -> None:
        mine, alone = Busy(most=3), Busy(most=1)
        for one in (mine, alone):
            one.borrow(ONE)
            one.grow(0, {TOWARDS: 99})  # nothing is held yet
            one.hold(ONE, 128)
            one.grow(1, {TOWARDS: 13})
        assert alone.asked == [ONE]
        more = Want("any", "more-1")
        assert mine.asked == [ONE, more]
        mine.grow(2, {TOWARDS: 16})  # it is on its way
        assert mine.asked == [ONE, more]
        mine.hold(more, 200)
        assert mine.ports_by_tag() == {"any": 32}
        other = Towards(PLACE, "172.16.0.2:80", "tcp")
        for second in (3, 34):
            mine.grow(second, {TOWARDS: 8, other: 8})  # the same ports twice
        assert more not in mine._tasks
        assert mine.asked == [ONE, more]

    asyncio.run(live())


def test_another_set_is_asked_for_by_a_name_that_is_not_taken() -> None:
    async def live() -> None:
        mine, second = Busy(most=3), Want("any", "more-2")
        for number, want in enumerate((ONE, second)):
            mine.borrow(want)
            mine.hold(want, 199 + number)
        mine.grow(1, {TOWARDS: 32})
        assert mine.asked == [ONE, second, Want("any", "more-1")]

    asyncio.run(live())


# -- orders


class Straw(Server):
    """A server whose wishes come true at once."""

    def borrow(self, want: Want, handed: Handed | None = None) -> asyncio.Task[None]:
        assert handed is None
        self._tasks[want] = asyncio.create_task(asyncio.sleep(60))
        self._held[want] = replace(held("203.0.113.4", 9, 8), acquire_ms=1.5)
        return self._tasks[want]


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ('{"do": "borrow", "server": "LHR-s1", "tag": "gb"}', "203.0.113.4"),
        ('{"do": "return", "server": "LHR-s1"}', "LHR-s1 has not borrowed that"),
        ('{"do": "borrow", "server": "X"}', "there is no server X"),
        ('{"do": "usage"}', "'share_max': 0.5"),
        ('{"do": "metrics"}', 'poplab_egress_ports_used{address="203.0.113.1"'),
        ("[]", "no order"),
        ("{", "no order"),
        ("[" * 5000, "no order"),
        ('{"do": "borrow"}', "no order"),
        ('{"do": "borrow", "server": "LHR-s1", "psid_bits": 1e400}', "no order"),
        ('{"do": "borrow", "server": "LHR-s1", "psid_bits": 99}', "no order: port parameters"),
        ('{"do": "borrow", "server": "LHR-s1", "psid_bits": -3}', "no order: port parameters"),
        (f'{{"do": "borrow", "server": "LHR-s1", "tag": "{"x" * 65}"}}', "is no tag"),
        (f'{{"do": "borrow", "server": "LHR-s1", "client_id": "{"x" * 65}"}}', "no client ident"),
    ],
)
def test_orders_are_carried_out_or_refused_in_words(line: str, answer: str, tmp_path: Path) -> None:
    async def ask() -> str:
        servers = {HOST.name: Straw(HOST, Status(None))}
        usage = Usage()
        usage.look(600.0, {TOWARDS: 8}, {PLACE: 16})
        door = await asyncio.start_unix_server(
            lambda r, w: obey(servers, usage, r, w), tmp_path / "orders"
        )
        reader, writer = await asyncio.open_unix_connection(tmp_path / "orders")
        writer.write(line.encode() + b"\n")
        found = (await reader.read()).decode()
        writer.close()
        door.close()
        return found

    found = json.loads(asyncio.run(ask()))
    assert answer in str(found)


class Dry(Server):
    """A server that is lent nothing."""

    def borrow(self, want: Want, handed: Handed | None = None) -> asyncio.Task[None]:
        self._tasks.setdefault(want, asyncio.create_task(asyncio.sleep(60)))
        return self._tasks[want]


def test_an_order_that_is_not_met_ends_its_own_wish_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(orders, "PATIENCE_S", 0.01)

    async def live() -> None:
        server = Dry(HOST, Status(None))
        server.borrow(ONE)
        for client_id in (ONE.client_id, "web"):
            order = {"do": "borrow", "server": HOST.name, "client_id": client_id}
            with pytest.raises(TimeoutError):
                await orders._carry_out({HOST.name: server}, Usage(), order)
        assert server.wants(ONE)
        assert not server.wants(Want("any", "web"))

    asyncio.run(live())


# -- all of them


class Quiet(Straw):
    """A server without a namespace."""

    async def open(self) -> None:
        pass

    def look(self) -> tuple[Counter[Towards], Counter[Place]]:
        return Counter(), Counter()


def test_a_server_that_returns_what_it_was_told_to_borrow_is_not_the_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(agent, "Server", Quiet)
    orders = tmp_path / "orders"

    async def say(word: str) -> Any:
        reader, writer = await asyncio.open_unix_connection(orders)
        writer.write(json.dumps({"do": word, "server": HOST.name}).encode() + b"\n")
        answer = json.loads(await reader.read())
        writer.close()
        return answer

    async def live() -> None:
        serving = asyncio.create_task(agent.serve([HOST], [ONE], Status(None), orders))
        while not orders.exists():
            await asyncio.sleep(0)
        assert await say("return") == {}
        assert await say("usage") == {"usage": []}
        assert not serving.done()
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(5):
            await serving

    asyncio.run(live())
