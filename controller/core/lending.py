"""The lease book: which server holds which port set of which address, and until when.

Sets of any size are lent, from 16 ports to a whole address. Those that hold system ports go with
a whole address only. What a lease and its life are, ``controller.core.lease`` tells.

Every verb works in two steps, so that a change is durable before it is answered and a crash
between any two steps loses and doubles nothing:

1. The verb *decides*: it returns transitions and changes nothing.
2. The caller stores ``transition.after`` of each, and then calls ``Book.apply``.

``Book.apply`` refuses a transition whose ``before`` is no longer true. After a crash
``Book.restore`` builds the book from the stored entries, and the number of the last lending.

Time is passed in, as integer nanoseconds of any clock that goes on counting across restarts of
the controller. Nothing happens by itself: a lease ends when ``expire`` has said so and was
applied, so a clock that jumps forward can end leases early, but never lends a set twice.

An address has a home PoP while any of its ports are not free: the PoP of its first borrower, or
the PoP that its only set was moved to. When all are free again, any PoP may open the address. A
PoP that finds neither room at home nor an unopened address borrows abroad.

The idea is RFC 6346's (A+P), the act RFC 7618's (dynamic allocation of shared IPv4 addresses).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from ipaddress import IPv4Address
from itertools import chain, count
from types import MappingProxyType

from controller.core import ports
from controller.core.lease import (
    LIVE,
    BadEntryError,
    HoldsAlreadyError,
    Lease,
    LeaseState,
    NotHeldError,
    PoolExhaustedError,
    PromisedError,
    QuotaError,
    SizeError,
    StaleDecisionError,
    Terms,
    Transition,
    UnknownTagError,
)
from controller.core.shelf import Key, MayEnd, Opened, Shelf, key_of
from topologies.model import COMMON_TAG, Pool

PORTION = 200
"""How many leases of a PoP end at once, where other work must not wait for more."""

Holder = tuple[str, str, str]
"""Server, tag and client identifier: who asks again by the same is told the same."""


class _Inherited:
    """What heirs get at one moment: by which names, and how many ports."""

    def __init__(self) -> None:
        self.names: set[Holder] = set()
        self.ports: Counter[tuple[str, str]] = Counter()  # by server and tag

    def add(self, lease: Lease) -> None:
        """One more."""
        self.names.add((lease.server, lease.tag, lease.client_id))
        self.ports[lease.server, lease.tag] += lease.ports


class _Share:
    """What one server has of one tag: sets by its own names for them, how many drain by each, ports
    that it keeps from others, and how many sets it may use.
    """

    __slots__ = ("draining", "held", "kept", "live")

    def __init__(self) -> None:
        self.held: dict[str, Lease] = {}
        self.draining: Counter[str] | None = None  # made when needed: there may be many shares
        self.kept = 0
        self.live = 0

    def drain(self, client_id: str, one: int) -> None:
        """One set more that goes by this name drains, or one less."""
        self.draining = self.draining or Counter()
        self.draining[client_id] += one
        if not self.draining[client_id]:
            del self.draining[client_id]

    def knows(self, client_id: str) -> bool:
        """Whether a set goes by this name, lent or draining."""
        return client_id in self.held or client_id in (self.draining or ())


_NOTHING = _Share()


class Book:
    """The lease book. Verbs decide in O(log n); ``apply`` makes decisions true.

    A port set is named by its address and any of its ports. ``pools`` may repeat a tag; addresses
    are opened in the order given, lowest first, but in pieces of a PoP's own where pools are cut
    into pieces; an address is filled before the next one is opened, so few addresses serve many
    servers. ``port_set_bits`` is the usual size. To so many
    servers as ``promised`` says of a tag a first set is promised: whoever has one already gets
    no more of the last ones.
    """

    def __init__(
        self,
        pools: Sequence[Pool],
        port_set_bits: int,
        terms: Terms | None = None,
        promised: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self.terms = terms or Terms()
        self.port_set_bits = port_set_bits
        self.lendings = 0
        """The number of the last lending."""
        grouped: defaultdict[str, list[Pool]] = defaultdict(list)
        for pool in pools:
            grouped[pool.tag].append(pool)
        order = ports.order_of(port_set_bits)
        self._shelves = {tag: Shelf(pools, order) for tag, pools in grouped.items()}
        self._promised = promised
        self._entries: dict[Key, Lease] = {}
        self._shares: defaultdict[tuple[str, str], _Share] = defaultdict(_Share)
        self._holders: Counter[str] = Counter()  # servers that have one, by tag
        self._opened: dict[int, Opened] = {}  # by address, whose number is hashed much faster

    @classmethod
    def restore(
        cls,
        entries: Iterable[Lease],
        pools: Sequence[Pool],
        port_set_bits: int,
        terms: Terms | None = None,
        lendings: int = 0,
        promised: Mapping[str, int] = MappingProxyType({}),
    ) -> Book:
        """The book that the stored entries describe, in any order; BadEntryError if none can."""
        book = cls(pools, port_set_bits, terms, promised)
        for lease in entries:
            key = key_of(lease)
            cause = book._misfit(key, None, lease)
            if cause:
                raise BadEntryError(lease, cause)
            book._put(key, None, lease)
        book.lendings = max(book.lendings, lendings)
        return book

    # -- questions

    def lease(self, address: IPv4Address, port: int) -> Lease | None:
        """The entry that a port of an address belongs to; None if the port is free."""
        if not 0 <= port < 1 << 16:
            return None
        number = int(address) << 16
        for bits in range(ports.MOST_BITS, ports.LEAST_BITS - 1, -1):
            found = self._entries.get(number | port & 0xFFFF << (16 - bits) & 0xFFFF)
            if found is not None and found.first_port <= port <= found.last_port:
                return found
        return None

    def holder(self, address: IPv4Address, port: int) -> Lease | None:
        """The live lease that covers a port of an address, None if nobody may use it."""
        lease = self.lease(address, port)
        return lease if lease is not None and lease.live else None

    def held(self, server: str, tag: str, client_id: str = "") -> Lease | None:
        """What a server has been lent by these names (not what it is draining)."""
        return self._share(server, tag).held.get(client_id)

    def entries(self) -> tuple[Lease, ...]:
        """Every set that is not free, by address and port: enough to restore the book."""
        return tuple(lease for _, lease in sorted(self._entries.items()))

    def live(self) -> tuple[Lease, ...]:
        """The leases that servers may use, by address and port: what the switches must know."""
        return tuple(lease for lease in self.entries() if lease.live)

    def homes(self) -> Mapping[IPv4Address, str]:
        """The home PoP of every address that has one, by address."""
        opened = (self._opened[address] for address in sorted(self._opened))
        return MappingProxyType({one.address: one.home for one in opened})

    def home(self, address: IPv4Address) -> str | None:
        """An address's home PoP; None while all its ports are free."""
        found = self._opened.get(int(address))
        return found.home if found else None

    def next_event_ns(self) -> int | None:
        """When ``expire`` will next have something to do; None if never."""
        times = (shelf.next_due(self._entries) for shelf in self._shelves.values())
        return min((time for time in times if time is not None), default=None)

    # -- verbs: decide, change nothing

    def acquire(
        self,
        server: str,
        pop: str,
        now_ns: int,
        tag: str = COMMON_TAG,
        lifetime_ns: int | None = None,
        *,
        psid_bits: int | None = None,
        client_id: str = "",
        abroad: Iterable[str] = (),
    ) -> Transition:
        """Lend ``server``, which stands in ``pop``, one port set; ``after`` is the lease.

        Who already holds one by the same tag and client identifier keeps it, with at least the
        new lifetime: a repeated request is answered alike. Otherwise out of an address at home in
        ``pop``, then out of a new one, then out of one at home in the PoPs ``abroad``, in their
        order. Raises UnknownTagError, SizeError, QuotaError, PromisedError,
        PoolExhaustedError.
        """
        until_ns = now_ns + (self.terms.lifetime_ns if lifetime_ns is None else lifetime_ns)
        held = self.held(server, tag, client_id)
        if held is not None:
            return Transition(held, held._replace(until_ns=max(held.until_ns, until_ns)))
        bits = self.port_set_bits if psid_bits is None else psid_bits
        if not ports.LEAST_BITS <= bits <= ports.MOST_BITS:
            raise SizeError(bits, ports.LEAST_BITS, ports.MOST_BITS)
        self._check_quota(server, tag, 1 << (16 - bits))
        self._check_promise(server, tag, bits)
        address, first_port = self._choose(pop, tag, ports.order_of(bits), abroad)
        after = Lease(
            address=address,
            psid=first_port >> (16 - bits),
            psid_bits=bits,
            state=LeaseState.LENT,
            server=server,
            pop=pop,
            home=self.home(address) or pop,
            tag=tag,
            client_id=client_id,
            number=self.lendings + 1,
            since_ns=now_ns,
            until_ns=until_ns,
        )
        return Transition(None, after)

    def renew(
        self,
        server: str,
        address: IPv4Address,
        port: int,
        now_ns: int,
        lifetime_ns: int | None = None,
    ) -> Transition:
        """Give the holder more time, never less than it has; none while it drains.

        Raises NotHeldError.
        """
        lease = self._must_hold(address, port, server, LIVE)
        if lease.state is LeaseState.DRAINING:
            return Transition(lease, lease)
        until_ns = now_ns + (self.terms.lifetime_ns if lifetime_ns is None else lifetime_ns)
        return Transition(lease, lease._replace(until_ns=max(lease.until_ns, until_ns)))

    def release(self, server: str, address: IPv4Address, port: int, now_ns: int) -> Transition:
        """The holder gives a port set back; it goes into quarantine. Raises NotHeldError."""
        return self._quarantine(self._must_hold(address, port, server, LIVE), now_ns)

    def revoke(self, address: IPv4Address, port: int, now_ns: int) -> Transition:
        """Take a port set away from whoever holds it. Raises NotHeldError if nobody does."""
        return self._quarantine(self._must_hold(address, port, None, LIVE), now_ns)

    def drain(self, address: IPv4Address, port: int, until_ns: int) -> Transition:
        """Let the holder finish by ``until_ns`` (or its expiry, if sooner). Raises NotHeldError."""
        lease = self._must_hold(address, port, None, frozenset({LeaseState.LENT}))
        until_ns = min(lease.until_ns, until_ns)
        return Transition(lease, lease._replace(state=LeaseState.DRAINING, until_ns=until_ns))

    def move(
        self,
        address: IPv4Address,
        port: int,
        heir: str,
        pop: str,
        now_ns: int,
        drain_until_ns: int | None = None,
    ) -> Transition:
        """Hand a set over to ``heir``, which stands in ``pop``: at once, or when it has drained.

        There is no quarantine between: whoever moves a set says that the heir may meet the
        holder's connections. The heir has it by the holder's client identifier, or by
        ``moved-NUMBER`` of the lending, or the like, where it has or drains another set by that.
        Raises NotHeldError, HoldsAlreadyError, QuotaError.
        """
        lease = self._must_hold(address, port, None, frozenset({LeaseState.LENT}))
        if heir == lease.server:
            raise HoldsAlreadyError(heir, lease)
        self._check_quota(heir, lease.tag, lease.ports)
        if drain_until_ns is None:
            return self._hand_over(lease, heir, pop, now_ns, self.lendings + 1)
        drained = self.drain(address, port, drain_until_ns).after
        return Transition(lease, drained._replace(heir=heir, heir_pop=pop))

    def expire(
        self, now_ns: int, most: int | None = None, may_end: MayEnd = lambda _lease: True
    ) -> tuple[Transition, ...]:
        """What is due: leases go into quarantine or to their heirs, or become free.

        ``most`` limits how many, of each tag, PoP and state, so that a crowd can be taken in
        portions; what may not end yet, the caller says. The quarantine counts from now, not from
        the expiry, because the holder could send until its rules are gone. A set that is overdue
        for both takes two calls.
        """
        shelves = self._shelves.values()
        due = [
            lease for shelf in shelves for lease in shelf.due(self._entries, now_ns, most, may_end)
        ]
        due.sort(key=key_of)
        number, found, inherited = self.lendings, [], _Inherited()
        for lease in due:
            if not lease.live:
                found.append(Transition(lease, _freed(lease)))
            elif lease.heir and self._may_inherit(lease, inherited):
                number += 1
                handed = self._hand_over(
                    lease, lease.heir, lease.heir_pop, now_ns, number, inherited.names
                )
                inherited.add(handed.after)
                found.append(handed)
            else:
                found.append(self._quarantine(lease, now_ns))
        return tuple(found)

    # -- the second step

    def apply(self, *transitions: Transition) -> None:
        """Make decisions true, all or none. Raises StaleDecisionError when one no longer holds."""
        done: list[Transition] = []
        try:
            for transition in transitions:
                before, after = transition.before, transition.after
                key = key_of(after)
                cause = self._stale(key, before, after) or self._misfit(key, before, after)
                if cause:
                    raise StaleDecisionError(after, cause)
                self._put(key, before, after)
                done.append(transition)
        except StaleDecisionError:
            self.undo(*done)
            raise

    def undo(self, *transitions: Transition) -> None:
        """Take back what was applied last, because it could not be stored."""
        for transition in reversed(transitions):
            before, after = transition.before, transition.after
            self._put(key_of(after), after, _freed(after) if before is None else before)

    # -- inside

    def _choose(
        self, pop: str, tag: str, order: int, abroad: Iterable[str]
    ) -> tuple[IPv4Address, int]:
        """The port set to lend next: its address and first port."""
        shelf = self._shelf(tag)
        address = shelf.with_room(pop, order) or shelf.unopened(pop)
        if address is None:
            elsewhere = (shelf.with_room(other, order) for other in abroad)
            address = next((found for found in elsewhere if found is not None), None)
        if address is None:
            earliest = shelf.earliest_free(self._entries, self.terms.quarantine_ns)
            raise PoolExhaustedError(pop, tag, ports.UNIT << order, earliest)
        opened = self._opened.get(address) or Opened(IPv4Address(address), pop, ports.UNTOUCHED)
        first = ports.best_fit(opened.free, order)
        assert first is not None
        return opened.address, first

    def _shelf(self, tag: str) -> Shelf:
        try:
            return self._shelves[tag]
        except KeyError:
            raise UnknownTagError(tag, self._shelves) from None

    def _share(self, server: str, tag: str) -> _Share:
        return self._shares.get((server, tag), _NOTHING)

    def _must_hold(
        self, address: IPv4Address, port: int, server: str | None, states: frozenset[LeaseState]
    ) -> Lease:
        lease = self.lease(address, port)
        if lease is None:
            raise NotHeldError(address, port, server, LeaseState.FREE)
        if lease.state not in states or server not in (None, lease.server):
            raise NotHeldError(address, port, server, lease.state)
        return lease

    def _check_quota(self, server: str, tag: str, more: int, soon: int = 0) -> None:
        """``soon``: ports that it gets at this very moment."""
        most = self.terms.sets_per_server << (16 - self.port_set_bits)
        kept = self._share(server, tag).kept + soon
        if kept and kept + more > most:  # one set may be of any size
            raise QuotaError(server, tag, kept, more, most)

    def _check_promise(self, server: str, tag: str, psid_bits: int) -> None:
        """Leave a set to each server that was promised one and has none."""
        first = not self._share(server, tag).live
        if first and psid_bits >= self.port_set_bits:
            return
        waiting = self._promised.get(tag, 0) - self._holders[tag] - first
        free, order = self._shelf(tag).sets, ports.order_of(self.port_set_bits)
        whole = ports.count(ports.UNTOUCHED, order)
        if waiting > 0 and free - min(1 << max(0, self.port_set_bits - psid_bits), whole) < waiting:
            raise PromisedError(server, tag, free, waiting)

    def _may_inherit(self, lease: Lease, inherited: _Inherited) -> bool:
        soon = inherited.ports[lease.heir, lease.tag]
        try:
            self._check_quota(lease.heir, lease.tag, lease.ports, soon)
        except QuotaError:
            return False
        return True

    def _hand_over(
        self,
        lease: Lease,
        heir: str,
        pop: str,
        now_ns: int,
        number: int,
        names: Collection[Holder] = (),
    ) -> Transition:
        alone = _alone(lease, self._opened[int(lease.address)].free)
        after = lease._replace(
            state=LeaseState.LENT,
            server=heir,
            pop=pop,
            home=pop if alone else lease.home,
            client_id=self._name_at(heir, lease, number, names),
            number=number,
            since_ns=now_ns,
            until_ns=now_ns + self.terms.lifetime_ns,
            heir="",
            heir_pop="",
        )
        return Transition(lease, after)

    def _name_at(self, heir: str, lease: Lease, number: int, taken: Collection[Holder]) -> str:
        """By which name an heir has a set: one by which it has no other, and gets none now."""
        share = self._share(heir, lease.tag)
        more = (f"moved-{number}-{again}" for again in count(2))
        return next(
            name
            for name in chain((lease.client_id, f"moved-{number}"), more)
            if not share.knows(name) and (heir, lease.tag, name) not in taken
        )

    def _quarantine(self, lease: Lease, now_ns: int) -> Transition:
        until_ns = now_ns + self.terms.quarantine_ns
        after = lease._replace(
            state=LeaseState.QUARANTINED, until_ns=until_ns, heir="", heir_pop=""
        )
        return Transition(lease, after)

    def _stale(self, key: Key, before: Lease | None, after: Lease) -> str | None:
        """Why a decision is no longer true; None if it is."""
        if self._entries.get(key) != before:
            return "its entry has changed"
        new = before is None or before.number != after.number
        if new and after.number != self.lendings + 1:
            return "another lending came first"
        return None

    def _misfit(self, key: Key, before: Lease | None, lease: Lease) -> str | None:
        """Why the book cannot hold an entry in another's place; None if it can."""
        shelf, address = self._shelves.get(lease.tag), key >> 16
        if shelf is None or shelf.index(address) is None:
            return f"no pool tagged {lease.tag!r} has this address"
        opened = self._opened.get(address)
        free = ports.UNTOUCHED if opened is None else opened.free
        if before is None and not _fits(lease, free):
            return "its ports are taken, or never lent"
        if lease.state is LeaseState.FREE:
            return None
        home = lease.home if opened is None else opened.home
        if home != lease.home and not (before is not None and _alone(before, free)):
            return f"the address is at home in {home}, not in {lease.home}"
        if lease.state is not LeaseState.LENT:
            return None
        held = self.held(lease.server, lease.tag, lease.client_id)
        if held is not None and held.key != lease.key:
            return f"{lease.server} already holds another set tagged {lease.tag!r}"
        return None

    def _put(self, key: Key, before: Lease | None, lease: Lease) -> None:
        """Replace one entry and everything that is derived from it."""
        taken_before = before is not None and before.state is not LeaseState.FREE
        taken = lease.state is not LeaseState.FREE
        if before is not None and taken_before:
            self._count(before, -1)
        self.lendings = max(self.lendings, lease.number)
        if taken:
            self._entries[key] = lease
            self._count(lease, 1)
            self._shelves[lease.tag].watch(key, lease, before, self._entries)
        else:
            del self._entries[key]
        if before is None or taken != taken_before or lease.home != before.home:
            self._place(key, lease)

    def _count(self, lease: Lease, one: int) -> None:
        """Count a set among those of its server, or no longer."""
        share = self._shares[lease.server, lease.tag]
        share.kept += one * lease.ports
        if lease.live:
            share.live += one
            self._holders[lease.tag] += one if share.live == max(one, 0) else 0
        if lease.state is LeaseState.LENT and one > 0:
            share.held[lease.client_id] = lease
        elif lease.state is LeaseState.LENT:
            del share.held[lease.client_id]
        elif lease.live:
            share.drain(lease.client_id, one)

    def _place(self, key: Key, lease: Lease) -> None:
        """Keep the free ports of the address, and with them its home."""
        address, mine = key >> 16, _units(lease)
        before = self._opened.get(address)
        free = ports.UNTOUCHED if before is None else before.free
        free = free | mine if lease.state is LeaseState.FREE else free & ~mine
        after = Opened(lease.address, lease.home, free & ports.UNTOUCHED)
        if after.free == ports.UNTOUCHED:
            del self._opened[address]
            self._shelves[lease.tag].place(address, before, None)
        else:
            self._opened[address] = after
            self._shelves[lease.tag].place(address, before, after)


def _freed(lease: Lease) -> Lease:
    """The entry when its ports are free again."""
    return lease._replace(state=LeaseState.FREE, server="", since_ns=0, until_ns=0)


def _fits(lease: Lease, free: int) -> bool:
    """Whether a set of these ports can be taken out of what is free."""
    order = ports.order_of(lease.psid_bits)
    if not 0 <= order <= ports.WHOLE_ORDER or not 0 <= lease.psid < 1 << lease.psid_bits:
        return False
    if order == ports.WHOLE_ORDER:
        return free == ports.UNTOUCHED
    return free & _units(lease) == _units(lease)


def _alone(lease: Lease, free: int) -> bool:
    """Whether all of the address is free but this set."""
    return (free | _units(lease)) & ports.UNTOUCHED == ports.UNTOUCHED


def _units(lease: Lease) -> int:
    """The units of a set."""
    return ports.block(lease.first_port, ports.order_of(lease.psid_bits))
