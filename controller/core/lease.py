"""A lease: one IPv4 address plus one aligned port set, lent to one server until some time.

A port set is RFC 7597's with offset 0 (section 5.1): with k PSID bits, set ``psid`` is the
2^(16-k) ports from ``psid << (16 - k)``. Its life::

    free -> lent -> draining -> quarantined -> free
              |         |
              +---------+-> lent to another (moved)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address
from typing import NamedTuple

SECOND = 1_000_000_000
"""Nanoseconds in a second."""

PORT_BITS = 16


class LeaseState(StrEnum):
    """Where a port set stands."""

    FREE = "free"
    LENT = "lent"
    DRAINING = "draining"  # the holder may finish what it has, but gets no more time
    QUARANTINED = "quarantined"  # nobody's, until old connections are dead


LIVE = frozenset({LeaseState.LENT, LeaseState.DRAINING})
"""The states in which a server may use the port set."""


class Lease(NamedTuple):
    """One port set's entry in the book; a tuple, because a busy book makes thousands of them.

    ``number`` counts the lendings of the book from 1 and names this one for ever; a port set that
    is moved gets a new one. ``since_ns`` is when the server got it; ``until_ns`` is when the
    present state ends (0 when free). ``server`` is the holder, in quarantine the last holder,
    ``pop`` where it stands, ``client_id`` its own name for this lease. ``home`` is the PoP to
    which the address's replies are sent unless a lease says otherwise. ``heir``, which stands in
    ``heir_pop``, gets the set when it has drained.
    """

    address: IPv4Address
    psid: int
    psid_bits: int
    state: LeaseState
    server: str
    pop: str
    home: str
    tag: str
    client_id: str
    number: int
    since_ns: int
    until_ns: int
    heir: str = ""
    heir_pop: str = ""

    @property
    def ports(self) -> int:
        """How many ports the set has."""
        return 1 << (PORT_BITS - self.psid_bits)

    @property
    def first_port(self) -> int:
        """The lowest port of the set; also the PSID field of RFC 7618 (left-aligned)."""
        return self.psid << (PORT_BITS - self.psid_bits)

    @property
    def last_port(self) -> int:
        """The highest port of the set."""
        return self.first_port + self.ports - 1

    @property
    def port_mask(self) -> int:
        """The mask under which every port of the set equals ``first_port``."""
        return 0xFFFF << (PORT_BITS - self.psid_bits) & 0xFFFF

    @property
    def key(self) -> tuple[IPv4Address, int]:
        """Address and first port: no two entries of a book have the same."""
        return self.address, self.first_port

    @property
    def live(self) -> bool:
        """Whether the server may use it."""
        return self.state in LIVE

    @property
    def version(self) -> str:
        """Another one after every change of the entry."""
        return f"{self.number}-{self.state}-{self.until_ns}"

    @property
    def abroad(self) -> bool:
        """Whether the holder stands in another PoP than the one where the address is at home."""
        return self.pop != self.home


@dataclass(frozen=True, slots=True)
class Transition:
    """One decided change of one port set: store ``after``, then apply."""

    before: Lease | None
    after: Lease


@dataclass(frozen=True, slots=True)
class Terms:
    """How long things last, in nanoseconds, and how much one server may keep from the others.

    The quarantine default is Linux's TIME_WAIT: a later holder of the ports must not meet
    connections that the far end still remembers. ``sets_per_server`` counts ports, in sets of the
    usual size, of each tag: what a server holds and what it held that is still in quarantine.
    One set alone may be larger than that. Who borrows and returns in a loop empties no pool.
    """

    lifetime_ns: int = 120 * SECOND
    quarantine_ns: int = 60 * SECOND
    sets_per_server: int = 8


class LendingError(Exception):
    """A verb was refused; nothing has changed."""


class PoolExhaustedError(LendingError):
    """No port set can be lent to this PoP now.

    ``earliest_ns`` is the earliest time at which another try can succeed, if nobody renews or
    releases before; None when time alone will not free anything.
    """

    def __init__(self, pop: str, tag: str, ports: int, earliest_ns: int | None) -> None:
        self.pop = pop
        self.tag = tag
        self.earliest_ns = earliest_ns
        super().__init__(
            f"PoP {pop}: no set of {ports} ports tagged {tag!r} is free; "
            "wait for one to be returned, or give the network a larger pool"
        )


class QuotaError(LendingError):
    """The server keeps as many ports from others as it may."""

    def __init__(self, server: str, tag: str, kept: int, more: int, most: int) -> None:
        super().__init__(
            f"{server} may keep {most} ports tagged {tag!r}, keeps {kept}, those in quarantine "
            f"counted, and asks for {more} more; wait for a quarantine to end"
        )


class PromisedError(LendingError):
    """What is free is promised to servers that have nothing yet."""

    def __init__(self, server: str, tag: str, free: int, waiting: int) -> None:
        super().__init__(
            f"{server} has a set tagged {tag!r}, and the last {free} are kept for {waiting} servers"
            " that have none; wait for one to be returned, or give the network a larger pool"
        )


class UnknownTagError(LendingError):
    """No pool has this tag."""

    def __init__(self, tag: str, known: Iterable[str]) -> None:
        self.tag = tag
        names = ", ".join(sorted(known))
        super().__init__(f"no pool is tagged {tag!r}; ask for one of: {names}")


class SizeError(LendingError):
    """No set of this size is ever lent."""

    def __init__(self, psid_bits: int, least: int, most: int) -> None:
        super().__init__(
            f"a port set has {least} to {most} PSID bits, not {psid_bits}: "
            f"{1 << (PORT_BITS - most)} ports to {1 << (PORT_BITS - least)}"
        )


class NotHeldError(LendingError):
    """The caller does not hold this port set (any more)."""

    def __init__(self, address: IPv4Address, port: int, server: str | None, state: str) -> None:
        not_by = "" if server is None else f" by {server}"
        super().__init__(f"{address} port {port} is {state} and not held{not_by}; acquire anew")


class HoldsAlreadyError(LendingError):
    """The set is the heir's own."""

    def __init__(self, server: str, lease: Lease) -> None:
        super().__init__(
            f"{lease.address} port {lease.first_port} is {server}'s already; move it to another"
        )


class ChangedMeanwhileError(LendingError):
    """The entry is another than the caller saw."""

    def __init__(self, address: IPv4Address, port: int) -> None:
        super().__init__(f"{address} port {port} has changed since you looked; look again")


class StaleDecisionError(LendingError):
    """The book has changed since the decision; decide again."""

    def __init__(self, lease: Lease, cause: str) -> None:
        super().__init__(f"{lease.address} port {lease.first_port}: {cause}; decide again")


class BadEntryError(ValueError):
    """A stored entry that this book cannot hold."""

    def __init__(self, lease: Lease, cause: str) -> None:
        super().__init__(
            f"stored lease {lease.address} port {lease.first_port}: {cause}; "
            "start with the network that made the store, or with an empty store"
        )


def check_places(entries: Iterable[Lease], homes: Mapping[str, str]) -> None:
    """Every stored lease must be of the network that is there: ``homes``, a PoP for each server.

    Raises BadEntryError.
    """
    pops = set(homes.values())
    for lease in entries:
        for server, pop in ((lease.server, lease.pop), (lease.heir, lease.heir_pop)):
            if server and lease.live and homes.get(server) != pop:
                raise BadEntryError(lease, f"the network has no server {server} in {pop}")
        for pop in (lease.pop, lease.home):
            if pop not in pops:
                raise BadEntryError(lease, f"the network has no PoP {pop} with servers")
