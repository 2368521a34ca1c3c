"""A whole network with its book and its switches, ready for packets."""

from __future__ import annotations

from dataclasses import dataclass, replace

from controller.core.lending import Book, Lease
from controller.core.pipeline import programs
from controller.core.state import State
from controller.core.steering import nearest
from tests.fakes.network import FakeNetwork
from topologies.model import Network
from topologies.plan import HostPlan, HostRole, Plan, plan


@dataclass
class World:
    """``lent`` is the lease of every server, by name."""

    plan: Plan
    book: Book
    state: State
    network: FakeNetwork
    lent: dict[str, Lease]

    @property
    def clients(self) -> tuple[HostPlan, ...]:
        return self.plan.hosts_of(HostRole.CLIENT)

    @property
    def servers(self) -> tuple[HostPlan, ...]:
        return self.plan.hosts_of(HostRole.SERVER)

    @property
    def origins(self) -> tuple[HostPlan, ...]:
        return self.plan.hosts_of(HostRole.ORIGIN)

    def update(self, **fields: object) -> int:
        """Change the state and bring the switches there; the number of changes."""
        self.state = replace(self.state, **fields)
        return self.network.reconcile(programs(self.state))


def world(network: Network) -> World:
    """Every server has a lease from the network's first pool."""
    p = plan(network)
    book = Book(network.pools, network.port_set_bits)
    lent = {}
    for server in p.hosts_of(HostRole.SERVER):
        decided = book.acquire(server.name, server.city, 0, network.pools[0].tag)
        book.apply(decided)
        lent[server.name] = decided.after
    state = State.of(p, nearest(p), book)
    return World(p, book, state, FakeNetwork(p, programs(state)), lent)
