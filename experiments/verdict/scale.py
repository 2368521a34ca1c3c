"""How many rules leases take, in closed form, and how many the controller's own core makes.

A lease has four rules where its holder stands: a source guard and a return path, of TCP and of UDP.
An address has one in every PoP but its home. A lease abroad, whose holder is not at its address's
home, has two in every PoP but the holder's. Nothing depends on flows, and transit switches have
none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Network

from controller.core.events import LeaseChanged
from controller.core.lease import SECOND, Lease, Terms
from controller.core.lending import Book
from controller.core.pipeline import programs
from controller.core.rules import Duty, duty_of
from controller.core.world import World
from topologies import sources
from topologies.model import COMMON_TAG, Network, Pool, sets_per_address
from topologies.plan import HostRole, Plan, plan

GUARD, RETURN, HOME, ABROAD = (
    duty.name.lower() for duty in (Duty.ADMIT_LEASE, Duty.RETURN, Duty.HOME, Duty.ABROAD)
)
LEASED = (GUARD, RETURN, HOME, ABROAD)
"""The duties of rules that leases take."""

PROTOCOLS = 2
"""A port set is of TCP and of UDP; each has a rule."""

OF_A_LEASE = 2 * PROTOCOLS
"""Rules where the holder stands: a source guard and a return path."""

LARGEST = "world"
"""The network whose cities get PoPs, as many as are asked for."""

BITS = 5
"""Their port sets have 2,048 ports, so an address has 31 that can be lent."""

POOL = IPv4Network("198.18.0.0/16")
"""What all of them borrow from."""


@dataclass(frozen=True, slots=True)
class Held:
    """What the rules of a lease depend on: address, home of that, and the PoP of the holder."""

    address: str
    home: str
    pop: str

    @property
    def abroad(self) -> bool:
        """Whether the holder is not where the address is at home."""
        return self.home != self.pop


def rules(made: Plan, leases: Iterable[Held]) -> dict[str, Counter[str]]:
    """By switch and duty: the rules that leases take. Switches and duties without are left out."""
    found: dict[str, Counter[str]] = {edge.name: Counter() for edge in made.edges}
    held = list(leases)
    for lease in held:
        found[made.edge(lease.pop).name].update({GUARD: PROTOCOLS, RETURN: PROTOCOLS})
    for edge in made.edges:
        mine = found[edge.name]
        mine[HOME] = sum(home != edge.city for home in {x.address: x.home for x in held}.values())
        mine[ABROAD] = PROTOCOLS * sum(x.abroad and x.pop != edge.city for x in held)
    return {switch: +count for switch, count in found.items()}


def changed(pops: int, lease: Held, *, opened: bool) -> int:
    """How many rules come with a lease; ``opened`` if it is the first of its address."""
    return OF_A_LEASE + (pops - 1) * (opened + PROTOCOLS * lease.abroad)


@dataclass(frozen=True, slots=True)
class Size:
    """A network by numbers: PoPs, servers in each, and leases of each server."""

    pops: int
    servers: int
    leases: int


def total(size: Size) -> dict[str, int]:
    """The rules that leases take in the whole network, by duty, if nobody borrows abroad."""
    of_a_pop = size.servers * size.leases
    addresses = -(-of_a_pop // sets_per_address(BITS))
    each = PROTOCOLS * size.pops * of_a_pop
    found = {GUARD: each, RETURN: each, HOME: size.pops * (size.pops - 1) * addresses}
    return {duty: count for duty, count in found.items() if count}


def network(size: Size) -> Network:
    """A network of this size, on the cities of a large one. Raises NetworkError, SourceError."""
    base = sources.load(LARGEST, pops=str(size.pops))
    pops = tuple(replace(pop, servers=size.servers) for pop in base.pops)
    return replace(base, pops=pops, pools=(Pool(POOL),), port_set_bits=BITS)


def _borrowed(made: Plan, each: int) -> Iterator[Lease]:
    """What the book lends if every server borrows so many sets, one server after the other."""
    shape = made.network
    book = Book(shape.pools, shape.port_set_bits, Terms())
    for turn in range(each):
        for server in made.hosts_of(HostRole.SERVER):
            lent = book.acquire(
                server.name, server.city, turn * SECOND, COMMON_TAG, client_id=f"scale-{turn}"
            )
            book.apply(lent)
            yield lent.after


def programmed(size: Size) -> Mapping[str, Mapping[str, int]]:
    """By switch and duty: the rules that the controller's core makes for a network of this size."""
    made = plan(network(size))
    world = World(made).after(*map(LeaseChanged, _borrowed(made, size.leases)))
    return {
        switch: Counter(duty.name.lower() for x in program.rules if (duty := duty_of(x.cookie)))
        for switch, program in programs(world).items()
    }
