"""A whole network with its book and its switches, ready for packets and events."""

from __future__ import annotations

from dataclasses import dataclass

from controller.core.change import Configuration, follow
from controller.core.events import Event, LeaseChanged
from controller.core.lease import Lease, Transition
from controller.core.lending import Book
from controller.core.steering import Ranking
from controller.core.world import World
from tests.fakes.network import FakeNetwork
from topologies.model import Network
from topologies.plan import HostPlan, HostRole, Plan, plan


@dataclass
class FakeWorld:
    """``lent`` is the lease of every server, by name."""

    book: Book
    now: Configuration
    network: FakeNetwork
    lent: dict[str, Lease]

    @property
    def plan(self) -> Plan:
        return self.now.world.plan

    @property
    def world(self) -> World:
        return self.now.world

    @property
    def ranking(self) -> Ranking:
        return self.now.ranking

    @property
    def clients(self) -> tuple[HostPlan, ...]:
        return self.plan.hosts_of(HostRole.CLIENT)

    @property
    def servers(self) -> tuple[HostPlan, ...]:
        return self.plan.hosts_of(HostRole.SERVER)

    @property
    def origins(self) -> tuple[HostPlan, ...]:
        return self.plan.hosts_of(HostRole.ORIGIN)

    def happen(self, *events: Event) -> int:
        """Let events happen, one at a time, and the switches follow; the number of changes."""
        count = 0
        for event in events:
            self.now, phases, _ = follow(self.now, event)
            count += sum(self.network.apply(phase) for phase in phases)
        return count

    def decide(self, transition: Transition) -> int:
        """Make a decision of the book true."""
        self.book.apply(transition)
        return self.happen(LeaseChanged(transition.after))


def world(network: Network) -> FakeWorld:
    """Every server has a lease from the network's first pool."""
    p = plan(network)
    book = Book(network.pools, network.port_set_bits)
    lent = {}
    for server in p.hosts_of(HostRole.SERVER):
        decided = book.acquire(server.name, server.city, 0, network.pools[0].tag)
        book.apply(decided)
        lent[server.name] = decided.after
    now = Configuration.of(World.lent(p, book.entries()))
    return FakeWorld(book, now, FakeNetwork(p, now.programs()), lent)
