"""The addresses of one tag: which have room for whom, and what is due when.

An address is its 32 bits here, as a number. Its *index* counts through all prefixes; sets of
addresses are masks of indices, where the lowest bit is found and changed in a microsecond for tens
of thousands of them.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address
from typing import NamedTuple

from controller.core import ports
from controller.core.lease import Lease, LeaseState
from controller.core.pieces import Pieces
from topologies.model import Pool

Key = int
"""An entry's address and first port as one number: a million of them are small, and sort."""

MayEnd = Callable[[Lease], bool]
"""Whether the present state of an entry may end, now that its time has come."""

_Note = tuple[int, int, Key]
"""A time, and the lending that may be due then: its number and its key."""


def key_of(lease: Lease) -> Key:
    """The key of a set."""
    return int(lease.address) << 16 | lease.first_port


class Opened(NamedTuple):
    """An address with a home; bit n of ``free`` says that its n-th unit of ports can be lent.

    ``address`` is the one object that all its leases share.
    """

    address: IPv4Address
    home: str
    free: int


class Shelf:
    """See the module. ``closed`` are the addresses without a home, any PoP may open them.

    ``sets`` counts the blocks of the usual ``order`` that are free.
    """

    def __init__(self, pools: Sequence[Pool], order: int) -> None:
        self._order = order
        self._pieces = Pieces(pools)
        # Of each prefix: its first address, the one behind its last, the index of the first.
        self._ranges: list[tuple[int, int, int]] = []
        count = 0
        for pool in pools:
            first, size = int(pool.prefix.network_address), pool.prefix.num_addresses
            self._ranges.append((first, first + size, count))
            count += size
        self.closed = (1 << count) - 1
        self.sets = count * ports.count(ports.UNTOUCHED, order)
        # By home and order: the addresses that have a free block of just that order.
        self._room: defaultdict[str, list[int]] = defaultdict(lambda: [0] * (ports.WHOLE_ORDER + 1))
        self._live: defaultdict[str, list[_Note]] = defaultdict(list)
        self._quarantined: defaultdict[str, list[_Note]] = defaultdict(list)

    def address(self, index: int) -> int:
        """The address with this index."""
        return next(first + index - at for first, _, at in reversed(self._ranges) if at <= index)

    def index(self, address: int) -> int | None:
        """The index of an address, None if it is not on this shelf."""
        for first, end, at in self._ranges:
            if first <= address < end:
                return at + address - first
        return None

    # -- room

    def with_room(self, home: str, order: int) -> int | None:
        """The address at home there whose smallest block for this order fits best; lowest first."""
        for addresses in self._room[home][order:] if home in self._room else ():
            if addresses:
                return self.address(ports.lowest(addresses))
        return None

    def unopened(self, pop: str) -> int | None:
        """The address without a home that a PoP should open: the lowest of its best pieces."""
        best = self._pieces.best(self.closed, pop)
        return self.address(ports.lowest(best)) if best else None

    def place(self, address: int, before: Opened | None, after: Opened | None) -> None:
        """An address stands otherwise than before; None: it has no home, all of it is free."""
        index = self.index(address)
        assert index is not None
        bit = 1 << index
        self.sets += self._count(after) - self._count(before)
        if before is None or after is None:
            self.closed ^= bit
        was, had = ("", 0) if before is None else (before.home, ports.profile(before.free))
        now, has = ("", 0) if after is None else (after.home, ports.profile(after.free))
        if was == now:
            self._toggle(now, bit, had ^ has)
        else:
            self._pieces.move(index, was or None, now or None)
            self._toggle(was, bit, had)
            self._toggle(now, bit, has)

    def _toggle(self, home: str, bit: int, orders: int) -> None:
        """An address has now what it had not, a free block of these orders, or the other way."""
        while orders:
            self._room[home][ports.lowest(orders)] ^= bit
            orders &= orders - 1

    def _count(self, opened: Opened | None) -> int:
        return ports.count(ports.UNTOUCHED if opened is None else opened.free, self._order)

    # -- time

    def watch(
        self, key: Key, lease: Lease, before: Lease | None, entries: Mapping[Key, Lease]
    ) -> None:
        """Note when an entry is due. More time for the same lending needs no second note."""
        if (
            before is not None
            and (before.state, before.number) == (lease.state, lease.number)
            and before.until_ns <= lease.until_ns
        ):
            return
        notes = (self._live if lease.live else self._quarantined)[lease.pop]
        if len(notes) > 2 * len(entries) + 64:  # mostly of leases that were returned early
            notes[:] = [note for note in notes if _true(note, entries, lease.live)]
            heapq.heapify(notes)
        heapq.heappush(notes, (lease.until_ns, lease.number, key))

    def due(
        self, entries: Mapping[Key, Lease], now_ns: int, most: int | None, may_end: MayEnd
    ) -> list[Lease]:
        """The entries whose time has come and that may end, of each PoP and state at most so many.

        Their notes stay until they have really changed.
        """
        found: dict[Key, Lease] = {}
        for notes, live in self._heaps():
            due: list[_Note] = []
            left = most
            while left != 0 and _settle(notes, entries, live) and notes[0][0] <= now_ns:
                due.append(heapq.heappop(notes))
                lease = entries[due[-1][2]]
                if may_end(lease):
                    found[due[-1][2]] = lease
                    left = None if left is None else left - 1
            for note in due:
                heapq.heappush(notes, note)
        return list(found.values())

    def next_due(self, entries: Mapping[Key, Lease]) -> int | None:
        """The first time in the notes."""
        times = (notes[0][0] for notes, live in self._heaps() if _settle(notes, entries, live))
        return min(times, default=None)

    def earliest_free(self, entries: Mapping[Key, Lease], quarantine_ns: int) -> int | None:
        """When the first set will be free, if nobody renews; what has an heir will not be."""
        times: list[int] = []
        for notes, live in self._heaps():
            heirs: list[_Note] = []
            while _settle(notes, entries, live) and entries[notes[0][2]].heir:
                heirs.append(heapq.heappop(notes))
            if notes:
                times.append(notes[0][0] + (quarantine_ns if live else 0))
            for note in heirs:
                heapq.heappush(notes, note)
        return min(times, default=None)

    def _heaps(self) -> Iterator[tuple[list[_Note], bool]]:
        for heaps, live in ((self._live, True), (self._quarantined, False)):
            for notes in heaps.values():
                yield notes, live


def _true(note: _Note, entries: Mapping[Key, Lease], live: bool) -> bool:
    """Whether the lending of a note still runs, though its end may have moved."""
    _, number, key = note
    lease = entries.get(key)
    if lease is None or lease.number != number:
        return False
    return lease.live if live else lease.state is LeaseState.QUARANTINED


def _settle(notes: list[_Note], entries: Mapping[Key, Lease], live: bool) -> bool:
    """Make the first note true, dropping or postponing those that are not; False when empty."""
    while notes:
        time, number, key = notes[0]
        if not _true(notes[0], entries, live):
            heapq.heappop(notes)
        elif entries[key].until_ns != time:
            heapq.heapreplace(notes, (entries[key].until_ns, number, key))
        else:
            return True
    return False
