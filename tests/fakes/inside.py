"""The inside of a controller on ``triangle``: book, loop and lender, a store and switches."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address

import eventlet

from controller.clock import BookClock
from controller.core import pipeline
from controller.core.events import Event, LeaseChanged
from controller.core.lease import SECOND, Lease, LeaseState, Terms
from controller.core.lending import Book
from controller.core.rules import Program
from controller.core.world import World
from controller.lender import Lender
from controller.loop import ControlLoop
from controller.store import Leader, Lending, Record, StoreError
from tests.fakes.wire import Tables, Wire
from topologies.plan import HostRole, plan
from topologies.sources import load

PLAN = plan(load("triangle"))
SERVERS = PLAN.hosts_of(HostRole.SERVER)
TERMS = Terms(lifetime_ns=60 * SECOND, quarantine_ns=30 * SECOND)


class Memory:
    """A store that can be out of order."""

    def __init__(self) -> None:
        self.leader = Leader("controller", "127.0.0.1:8080", 1)
        self.entries: dict[tuple[IPv4Address, int], Lease] = {}
        self._numbers = [0]
        self.log: list[Record] = []
        self.broken = False
        self.commits = 0

    def load(self) -> tuple[Lease, ...]:
        return tuple(lease for _, lease in sorted(self.entries.items()))

    def lendings(self) -> int:
        return max(self._numbers)

    def who(self, address: IPv4Address, port: int, at_ns: int) -> Lending | None:
        held: Lease | None = None
        for record in self.log:
            lease = record.event.lease if isinstance(record.event, LeaseChanged) else None
            if lease is None or lease.address != address or record.at_ns > at_ns:
                continue
            if lease.first_port <= port <= lease.last_port:
                held = lease if lease.live else None
        if held is None:
            return None
        ports = (held.first_port, held.last_port)
        whose = (held.server, held.pop, held.tag, held.client_id)
        return Lending(held.number, address, *ports, *whose, held.since_ns, None)

    def records(self, after: int = 0) -> tuple[Record, ...]:
        return tuple(self.log[after:])

    def settings(self) -> tuple[Event, ...]:
        events = (record.event for record in self.log)
        return tuple(x for x in events if isinstance(x, Event) and not isinstance(x, LeaseChanged))

    def last(self) -> Record | None:
        return self.log[-1] if self.log else None

    def commit(self, records: Iterable[Record]) -> None:
        if self.broken:
            raise StoreError("no space left")
        self.commits += 1
        for record in records:
            assert record.number == len(self.log) + 1
            self.log.append(record)
            if isinstance(record.event, LeaseChanged):
                lease = record.event.lease
                self._numbers.append(lease.number)
                if lease.state is LeaseState.FREE:
                    del self.entries[lease.key]
                else:
                    self.entries[lease.key] = lease

    def close(self) -> None:
        pass


class HandClock(BookClock):
    """A clock that is set by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.at = 1000 * SECOND

    def now_ns(self) -> int:
        return self.at


class Inside:
    """A controller's inside, with switches that keep their tables over restarts."""

    def __init__(self, store: Memory, clock: HandClock, tables: dict[str, Tables]) -> None:
        network = PLAN.network
        self.store, self.clock, self.tables = store, clock, tables
        self.book = Book.restore(
            store.load(), network.pools, network.port_set_bits, TERMS, store.lendings()
        )
        self.loop = ControlLoop(PLAN, store, clock)
        self.switches = self.loop.switches
        self.told: list[tuple[str, Lease, bool]] = []
        """Who was let know of which lease, and whether all switches were as they should be."""
        self.lender = Lender(self.book, self.loop, self._tell)
        self.wires: dict[str, Wire] = {}
        for switch in PLAN.switches:
            self.connect(switch.name)
        self.settle()

    def _tell(self, server: str, lease: Lease) -> None:
        self.told.append((server, lease, self.installed() == self.desired()))

    def connect(self, name: str, *, hold: bool = False) -> None:
        self.wires[name] = Wire(self.switches[name], self.tables[name])
        self.wires[name].hold = hold
        self.wires[name].connect()

    def release(self, name: str) -> None:
        """A switch whose answers were held back answers from now on."""
        self.wires[name].hold = False
        self.wires[name].release()

    def settle(self) -> None:
        """Let everything that is under way come to its end."""
        for _ in range(50):
            eventlet.sleep(0)

    def desired(self) -> dict[str, Program]:
        """What the switches should hold, from the store alone."""
        world = World.lent(PLAN, self.store.load()).after(*self.store.settings())
        return pipeline.programs(world)

    def installed(self) -> dict[str, Program]:
        return {name: found.program() for name, found in self.tables.items()}


def fresh() -> tuple[Memory, HandClock, dict[str, Tables]]:
    return Memory(), HandClock(), {switch.name: Tables() for switch in PLAN.switches}


def inside() -> Inside:
    """One that has just been born."""
    return Inside(*fresh())
