"""The lease book: which server holds which port set of which address, and until when.

A lease is one IPv4 address plus one aligned port set (RFC 7597 section 5.1 with offset 0): with
k PSID bits the set ``psid`` is the 2^(16-k) ports from ``psid << (16 - k)``. Sets that hold
system ports are never lent (``topologies.model.first_port_set``). The life of a port set:

    free -> lent (server, epoch, until) -> draining -> quarantined (until) -> free

Every verb works in two steps, so that a change is durable before it is answered and a crash
between any two steps loses and doubles nothing:

1. The verb *decides*: it returns transitions and changes nothing.
2. The caller stores ``transition.after`` of each, and then calls ``Book.apply``.

``Book.apply`` refuses a transition whose ``before`` is no longer true. After a crash
``Book.restore`` builds the book from the stored entries alone.

Time is passed in, as integer nanoseconds of any clock that goes on counting across restarts of
the controller. Nothing happens by itself: a lease ends when ``expire`` has said so and was
applied, so a clock that jumps forward can end leases early, but never lends a set twice.

An address has a home PoP while any of its sets is not free: the PoP of its first borrower. When
the last set is free again, any PoP may open the address.

The idea is RFC 6346's (A+P), the act RFC 7618's (dynamic allocation of shared IPv4 addresses).
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import IPv4Address
from types import MappingProxyType

from topologies.model import COMMON_TAG, Pool, first_port_set

SECOND = 1_000_000_000
"""Nanoseconds in a second."""


class LeaseState(StrEnum):
    """Where a port set stands."""

    FREE = "free"
    LENT = "lent"
    DRAINING = "draining"  # the holder may finish what it has, but gets no more time
    QUARANTINED = "quarantined"  # nobody's, until old connections are dead


LIVE = frozenset({LeaseState.LENT, LeaseState.DRAINING})
"""The states in which a server may use the port set."""


@dataclass(frozen=True, slots=True)
class Lease:
    """One port set's entry in the book.

    ``epoch`` counts the lendings of this port set from 1 and stays when it becomes free, so
    (address, psid, epoch) names one lending for ever. ``since_ns`` is when the server got it;
    ``until_ns`` is when the present state ends (0 when free). ``server`` is the holder, in
    quarantine the last holder. ``pop`` is the address's home.
    """

    address: IPv4Address
    psid: int
    psid_bits: int
    state: LeaseState
    server: str
    pop: str
    tag: str
    epoch: int
    since_ns: int
    until_ns: int

    @property
    def first_port(self) -> int:
        """The lowest port of the set; also the PSID field of RFC 7618 (left-aligned)."""
        return self.psid << (16 - self.psid_bits)

    @property
    def last_port(self) -> int:
        """The highest port of the set."""
        return self.first_port + (1 << (16 - self.psid_bits)) - 1

    @property
    def port_mask(self) -> int:
        """The mask under which every port of the set equals ``first_port``."""
        return 0xFFFF << (16 - self.psid_bits) & 0xFFFF

    @property
    def live(self) -> bool:
        """Whether the server may use it."""
        return self.state in LIVE


@dataclass(frozen=True, slots=True)
class Transition:
    """One decided change of one port set: store ``after``, then apply."""

    before: Lease | None
    after: Lease


@dataclass(frozen=True, slots=True)
class Terms:
    """How long things last, in nanoseconds, and how much one server may keep from the others.

    The quarantine default is Linux's TIME_WAIT: a later holder of the ports must not meet
    connections that the far end still remembers. ``sets_per_server`` counts, of each tag, what a
    server holds and what it held that is still in quarantine: who borrows and returns in a loop
    empties no pool.
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

    def __init__(self, pop: str, tag: str, earliest_ns: int | None) -> None:
        self.pop = pop
        self.tag = tag
        self.earliest_ns = earliest_ns
        super().__init__(
            f"PoP {pop}: every port set tagged {tag!r} is taken; "
            "wait for one to be returned, or give the network a larger pool"
        )


class QuotaError(LendingError):
    """The server keeps as many port sets from others as it may."""

    def __init__(self, server: str, tag: str, sets: int) -> None:
        super().__init__(
            f"{server} holds, or held until a moment ago, {sets} port sets tagged {tag!r}, "
            "as many as a server may; wait for a quarantine to end"
        )


class UnknownTagError(LendingError):
    """No pool has this tag."""

    def __init__(self, tag: str, known: Iterable[str]) -> None:
        self.tag = tag
        names = ", ".join(sorted(known))
        super().__init__(f"no pool is tagged {tag!r}; ask for one of: {names}")


class NotHeldError(LendingError):
    """The caller does not hold this port set (any more)."""

    def __init__(self, address: IPv4Address, psid: int, server: str | None, state: str) -> None:
        self.address = address
        self.psid = psid
        who = "nobody" if server is None else server
        super().__init__(
            f"{address} port set {psid} is {state} and not held by {who}; acquire anew"
        )


class StaleDecisionError(LendingError):
    """The book has changed since the decision; decide again."""

    def __init__(self, lease: Lease, cause: str) -> None:
        super().__init__(f"{lease.address} port set {lease.psid}: {cause}; decide again")


class BadEntryError(ValueError):
    """A stored entry that this book cannot hold."""

    def __init__(self, lease: Lease, cause: str) -> None:
        super().__init__(
            f"stored lease {lease.address} port set {lease.psid}: {cause}; "
            "start with the network that made the store, or with an empty store"
        )


class Book:
    """The lease book. Verbs decide in O(log n); ``apply`` makes decisions true.

    ``pools`` may repeat a tag; addresses are opened in the order given, lowest first, and an
    address is filled before the next one is opened, so few addresses serve many servers.
    """

    def __init__(
        self, pools: Sequence[Pool], port_set_bits: int, terms: Terms | None = None
    ) -> None:
        self.terms = terms or Terms()
        self.port_set_bits = port_set_bits
        self._every = (1 << (1 << port_set_bits)) - (1 << first_port_set(port_set_bits))
        grouped: defaultdict[str, list[Pool]] = defaultdict(list)
        for pool in pools:
            grouped[pool.tag].append(pool)
        self._shelves = {tag: _Shelf(pools) for tag, pools in grouped.items()}
        self._leases: dict[int, Lease] = {}
        self._held: dict[tuple[str, str], Lease] = {}
        self._kept: Counter[tuple[str, str]] = Counter()
        self._open: dict[IPv4Address, _Open] = {}

    @classmethod
    def restore(
        cls,
        entries: Iterable[Lease],
        pools: Sequence[Pool],
        port_set_bits: int,
        terms: Terms | None = None,
    ) -> Book:
        """The book that the stored entries describe, in any order; BadEntryError if none can."""
        book = cls(pools, port_set_bits, terms)
        for lease in entries:
            cause = book._misfit(lease)
            if cause:
                raise BadEntryError(lease, cause)
            book._put(lease)
        return book

    # -- questions

    def lease(self, address: IPv4Address, psid: int) -> Lease | None:
        """The entry of a port set; None if it was never lent, or if there is no such set."""
        if not 0 <= psid < 1 << self.port_set_bits:
            return None
        return self._leases.get(_key(address, psid))

    def holder(self, address: IPv4Address, port: int) -> Lease | None:
        """The live lease that covers a port of an address, None if nobody may use it."""
        lease = self.lease(address, port >> (16 - self.port_set_bits))
        return lease if lease is not None and lease.live else None

    def held(self, server: str, tag: str) -> Lease | None:
        """What a server has been lent under a tag (not what it is draining)."""
        return self._held.get((server, tag))

    def entries(self) -> tuple[Lease, ...]:
        """Every entry, free ones too, by address and PSID: enough to restore the book."""
        return tuple(lease for _, lease in sorted(self._leases.items()))

    def live(self) -> tuple[Lease, ...]:
        """The leases that servers may use, by address and PSID: what the switches must know."""
        return tuple(lease for lease in self.entries() if lease.live)

    def homes(self) -> Mapping[IPv4Address, str]:
        """The home PoP of every address that has one, by address."""
        return MappingProxyType({a: self._open[a].pop for a in sorted(self._open)})

    def home(self, address: IPv4Address) -> str | None:
        """An address's home PoP; None while all its port sets are free."""
        found = self._open.get(address)
        return found.pop if found else None

    def next_event_ns(self) -> int | None:
        """When ``expire`` will next have something to do; None if never."""
        times = (shelf.earliest(self._leases, extra_live_ns=0) for shelf in self._shelves.values())
        return min((time for time in times if time is not None), default=None)

    # -- verbs: decide, change nothing

    def acquire(
        self,
        server: str,
        pop: str,
        now_ns: int,
        tag: str = COMMON_TAG,
        lifetime_ns: int | None = None,
    ) -> Transition:
        """Lend ``server``, which stands in ``pop``, one port set; ``after`` is the lease.

        A server that already holds one of this tag keeps it, with at least the new lifetime: a
        repeated request is answered alike. Otherwise a set of an address at home in ``pop``
        first, then a new address. Raises UnknownTagError, PoolExhaustedError, QuotaError.
        """
        until_ns = now_ns + (self.terms.lifetime_ns if lifetime_ns is None else lifetime_ns)
        held = self.held(server, tag)
        if held is not None:
            return Transition(held, replace(held, until_ns=max(held.until_ns, until_ns)))
        if self._kept[server, tag] >= self.terms.sets_per_server:
            raise QuotaError(server, tag, self.terms.sets_per_server)
        address, psid = self._choose(pop, tag)
        before = self.lease(address, psid)
        after = Lease(
            address=address,
            psid=psid,
            psid_bits=self.port_set_bits,
            state=LeaseState.LENT,
            server=server,
            pop=pop,
            tag=tag,
            epoch=before.epoch + 1 if before else 1,
            since_ns=now_ns,
            until_ns=until_ns,
        )
        return Transition(before, after)

    def renew(
        self,
        server: str,
        address: IPv4Address,
        psid: int,
        now_ns: int,
        lifetime_ns: int | None = None,
    ) -> Transition:
        """Give the holder more time, never less than it has. Raises NotHeldError."""
        lease = self._must_hold(address, psid, server, frozenset({LeaseState.LENT}))
        until_ns = now_ns + (self.terms.lifetime_ns if lifetime_ns is None else lifetime_ns)
        return Transition(lease, replace(lease, until_ns=max(lease.until_ns, until_ns)))

    def release(self, server: str, address: IPv4Address, psid: int, now_ns: int) -> Transition:
        """The holder gives a port set back; it goes into quarantine. Raises NotHeldError."""
        return self._quarantine(self._must_hold(address, psid, server, LIVE), now_ns)

    def revoke(self, address: IPv4Address, psid: int, now_ns: int) -> Transition:
        """Take a port set away from whoever holds it. Raises NotHeldError if nobody does."""
        return self._quarantine(self._must_hold(address, psid, None, LIVE), now_ns)

    def drain(self, address: IPv4Address, psid: int, until_ns: int) -> Transition:
        """Let the holder finish by ``until_ns`` (or its expiry, if sooner). Raises NotHeldError."""
        lease = self._must_hold(address, psid, None, frozenset({LeaseState.LENT}))
        until_ns = min(lease.until_ns, until_ns)
        return Transition(lease, replace(lease, state=LeaseState.DRAINING, until_ns=until_ns))

    def expire(self, now_ns: int) -> tuple[Transition, ...]:
        """Everything that is due: leases go into quarantine, quarantined sets become free.

        The quarantine counts from now, not from the expiry, because the holder could send until
        its rules are gone. A set that is overdue for both takes two calls.
        """
        due = [
            lease for shelf in self._shelves.values() for lease in shelf.due(self._leases, now_ns)
        ]
        due.sort(key=lambda lease: (lease.address, lease.psid))
        return tuple(
            self._quarantine(lease, now_ns)
            if lease.live
            else Transition(
                lease, replace(lease, state=LeaseState.FREE, server="", since_ns=0, until_ns=0)
            )
            for lease in due
        )

    # -- the second step

    def apply(self, *transitions: Transition) -> None:
        """Make decisions true, all or none. Raises StaleDecisionError when one no longer holds."""
        seen: set[int] = set()
        for transition in transitions:
            lease = transition.after
            key = _key(lease.address, lease.psid)
            if key in seen or self._leases.get(key) != transition.before:
                raise StaleDecisionError(lease, "its entry has changed")
            seen.add(key)
            cause = self._misfit(lease)
            if cause:
                raise StaleDecisionError(lease, cause)
        for transition in transitions:
            self._put(transition.after)

    # -- inside

    def _choose(self, pop: str, tag: str) -> tuple[IPv4Address, int]:
        """The port set to lend next."""
        shelf = self._shelf(tag)
        index = _lowest(shelf.room[pop])
        if index is not None:
            address = shelf.address(index)
            return address, _lowest_sure(self._open[address].free)
        index = _lowest(shelf.closed)
        if index is None or not self._every:
            raise PoolExhaustedError(
                pop, tag, shelf.earliest(self._leases, self.terms.quarantine_ns, pop)
            )
        return shelf.address(index), _lowest_sure(self._every)

    def _shelf(self, tag: str) -> _Shelf:
        try:
            return self._shelves[tag]
        except KeyError:
            raise UnknownTagError(tag, self._shelves) from None

    def _must_hold(
        self, address: IPv4Address, psid: int, server: str | None, states: frozenset[LeaseState]
    ) -> Lease:
        lease = self.lease(address, psid)
        if lease is None:
            raise NotHeldError(address, psid, server, LeaseState.FREE)
        if lease.state not in states or server not in (None, lease.server):
            raise NotHeldError(address, psid, server, lease.state)
        return lease

    def _quarantine(self, lease: Lease, now_ns: int) -> Transition:
        until_ns = now_ns + self.terms.quarantine_ns
        return Transition(lease, replace(lease, state=LeaseState.QUARANTINED, until_ns=until_ns))

    def _misfit(self, lease: Lease) -> str | None:
        """Why the book cannot hold an entry; None if it can."""
        shelf = self._shelves.get(lease.tag)
        if shelf is None or shelf.index(lease.address) is None:
            return f"no pool tagged {lease.tag!r} has this address"
        if lease.psid_bits != self.port_set_bits:
            return f"it was cut with {lease.psid_bits} PSID bits, not {self.port_set_bits}"
        if lease.psid < 0 or not self._every >> lease.psid & 1:
            return "this set is never lent"
        if lease.state is LeaseState.FREE:
            return None
        home = self.home(lease.address)
        if home is not None and home != lease.pop:
            return f"the address is at home in {home}, not in {lease.pop}"
        held = self.held(lease.server, lease.tag)
        other = held and (held.address, held.psid) != (lease.address, lease.psid)
        if other and lease.state is LeaseState.LENT:
            return f"{lease.server} already holds another set tagged {lease.tag!r}"
        return None

    def _put(self, lease: Lease) -> None:
        """Replace one entry and everything that is derived from it."""
        key = _key(lease.address, lease.psid)
        before = self._leases.get(key)
        if before is not None and before.state is LeaseState.LENT:
            del self._held[before.server, before.tag]
        for entry, count in ((before, -1), (lease, 1)):
            if entry is not None and entry.state is not LeaseState.FREE:
                self._kept[entry.server, entry.tag] += count
        self._leases[key] = lease
        if lease.state is LeaseState.LENT:
            self._held[lease.server, lease.tag] = lease
        self._place(lease)
        if lease.state is not LeaseState.FREE:
            self._shelves[lease.tag].watch(lease, before, self._leases)

    def _place(self, lease: Lease) -> None:
        """Keep the free sets of the address, and with them its home."""
        shelf = self._shelves[lease.tag]
        index = shelf.index_sure(lease.address)
        found = self._open.get(lease.address)
        free = found.free if found else self._every
        if lease.state is LeaseState.FREE:
            free |= 1 << lease.psid
        else:
            free &= ~(1 << lease.psid)
        if free == self._every:
            if found:
                del self._open[lease.address]
                shelf.close(index, found.pop)
            return
        pop = found.pop if found else lease.pop
        self._open[lease.address] = _Open(pop, free)
        shelf.open(index, pop, has_room=free != 0)


@dataclass(frozen=True, slots=True)
class _Open:
    """An address with a home: bit n of ``free`` says that PSID n can be lent."""

    pop: str
    free: int


_Note = tuple[int, int, int]
"""A time, and the key and epoch of the lease that may be due then."""


class _Shelf:
    """The addresses of one tag, and what is due when.

    Addresses are numbered through all prefixes; sets of them are bit masks, where the lowest
    bit is found and changed in a microsecond for tens of thousands of addresses.
    """

    def __init__(self, pools: Sequence[Pool]) -> None:
        self._prefixes = [pool.prefix for pool in pools]
        self._starts = [0]
        for prefix in self._prefixes:
            self._starts.append(self._starts[-1] + prefix.num_addresses)
        self.closed = (1 << self._starts[-1]) - 1
        self.room: defaultdict[str, int] = defaultdict(int)
        self._live: defaultdict[str, list[_Note]] = defaultdict(list)
        self._quarantined: defaultdict[str, list[_Note]] = defaultdict(list)

    def address(self, index: int) -> IPv4Address:
        """The address with this number."""
        at = bisect_right(self._starts, index) - 1
        return self._prefixes[at][index - self._starts[at]]

    def index(self, address: IPv4Address) -> int | None:
        """The number of an address, None if it is not on this shelf."""
        for start, prefix in zip(self._starts, self._prefixes, strict=False):
            if address in prefix:
                return start + int(address) - int(prefix.network_address)
        return None

    def index_sure(self, address: IPv4Address) -> int:
        """The number of an address that is known to be here."""
        index = self.index(address)
        if index is None:
            raise KeyError(address)
        return index

    def open(self, index: int, pop: str, has_room: bool) -> None:
        """The address is at home in ``pop``, with or without a free set."""
        self.closed &= ~(1 << index)
        if has_room:
            self.room[pop] |= 1 << index
        else:
            self.room[pop] &= ~(1 << index)

    def close(self, index: int, pop: str) -> None:
        """Every set of the address is free: it has no home any more."""
        self.closed |= 1 << index
        self.room[pop] &= ~(1 << index)

    def watch(self, lease: Lease, before: Lease | None, leases: Mapping[int, Lease]) -> None:
        """Note when an entry is due. More time for the same lease needs no second note."""
        if before is not None and (before.state, before.epoch) == (lease.state, lease.epoch):
            return
        notes = (self._live if lease.live else self._quarantined)[lease.pop]
        if len(notes) > 2 * len(leases) + 64:  # mostly of leases that were returned early
            notes[:] = [note for note in notes if _true(note, leases, lease.live)]
            heapq.heapify(notes)
        key = _key(lease.address, lease.psid)
        heapq.heappush(notes, (lease.until_ns, key, lease.epoch))

    def due(self, leases: Mapping[int, Lease], now_ns: int) -> list[Lease]:
        """The entries whose time has come. Their notes stay until they have really changed."""
        found: dict[int, Lease] = {}
        for notes, live in self._heaps():
            due: list[_Note] = []
            while _settle(notes, leases, live) and notes[0][0] <= now_ns:
                due.append(heapq.heappop(notes))
                found[due[-1][1]] = leases[due[-1][1]]
            for note in due:
                heapq.heappush(notes, note)
        return list(found.values())

    def earliest(
        self, leases: Mapping[int, Lease], extra_live_ns: int, pop: str | None = None
    ) -> int | None:
        """The first time in the notes, live ones counted ``extra_live_ns`` later.

        With ``pop``, only that PoP's own sets, if it has any that are not free.
        """
        times = []
        for heaps, live in ((self._live, True), (self._quarantined, False)):
            for where, notes in heaps.items():
                if _settle(notes, leases, live):
                    times.append((where == pop, notes[0][0] + (extra_live_ns if live else 0)))
        own = [time for is_own, time in times if is_own]
        return min(own or [time for _, time in times], default=None)

    def _heaps(self) -> list[tuple[list[_Note], bool]]:
        live = [(notes, True) for notes in self._live.values()]
        return live + [(notes, False) for notes in self._quarantined.values()]


def _true(note: _Note, leases: Mapping[int, Lease], live: bool) -> bool:
    """Whether the lease of a note still runs, though its end may have moved."""
    _, key, epoch = note
    lease = leases[key]
    running = lease.live if live else lease.state is LeaseState.QUARANTINED
    return running and lease.epoch == epoch


def _settle(notes: list[_Note], leases: Mapping[int, Lease], live: bool) -> bool:
    """Make the first note true, dropping or postponing those that are not; False when empty."""
    while notes:
        time, key, epoch = notes[0]
        if not _true(notes[0], leases, live):
            heapq.heappop(notes)
        elif leases[key].until_ns != time:
            heapq.heapreplace(notes, (leases[key].until_ns, key, epoch))
        else:
            return True
    return False


def _key(address: IPv4Address, psid: int) -> int:
    """A port set as one number: sorts by address, then PSID."""
    return int(address) << 16 | psid


def _lowest(mask: int) -> int | None:
    """The number of the lowest bit that is set."""
    return (mask & -mask).bit_length() - 1 if mask else None


def _lowest_sure(mask: int) -> int:
    return (mask & -mask).bit_length() - 1
