"""The lease book under any schedule, with crashes between its steps, watched by a judge.

The judge sees only what a server sees and what time it is: answers, and rules taken away. It knows
ports, not sets.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from controller.core.lease import (
    Lease,
    LeaseState,
    LendingError,
    NotHeldError,
    PoolExhaustedError,
    PromisedError,
    QuotaError,
    Terms,
    Transition,
)
from controller.core.lending import Book
from topologies.model import Pool

TERMS = Terms(lifetime_ns=12, quarantine_ns=6, sets_per_server=6)
POOLS = (Pool(IPv4Network("203.0.113.0/31")), Pool(IPv4Network("192.0.2.0/32"), "gb"))
BITS = 2
"""The usual set: a quarter of an address."""
PROMISED = {"any": 4}
"""Of six sets; there are more servers."""
POP = {"L1": "LHR", "L2": "LHR", "L3": "LHR", "L4": "LHR", "C1": "CDG", "C2": "CDG", "M1": "MAN"}
UNIT = 1024

Port = tuple[IPv4Address, int]
CRASH = st.sampled_from(["no", "no", "no", "before storing", "after storing"])
SERVERS = st.sampled_from(sorted(POP))
TAGS = st.sampled_from(["any", "any", "gb"])
SIZES = st.sampled_from([None, None, None, 0, 1, 3, 6])
CLIENTS = st.sampled_from(["", "", "b"])
ABROAD = st.sampled_from([(), ("LHR", "CDG", "MAN")])


class CrashError(Exception):
    pass


@dataclass
class Held:
    """What a server was told."""

    server: str
    number: int
    until_ns: int


def ports_of(lease: Lease) -> Iterator[Port]:
    """One port of each thousand: no set here is smaller."""
    return ((lease.address, n) for n in range(lease.first_port, lease.last_port + 1, UNIT))


class LeaseBookMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.disk: dict[Port, Lease] = {}
        self.lendings = 0
        self.book = Book(POOLS, BITS, TERMS, PROMISED)
        self.told: dict[Port, Held] = {}  # by the set's first port
        self.using: dict[Port, int] = {}  # every port's lending
        self.ended: dict[Port, int] = {}

    # -- the shell, as it must be: decide, store, apply, answer

    def carry_out(self, decided: tuple[Transition, ...], crash: str) -> None:
        try:
            if crash == "before storing":
                raise CrashError
            for transition in decided:
                self.store(transition.after)
            self.judge_stored(decided)
            if crash == "after storing":
                raise CrashError
        except CrashError:
            self.restart()
            raise
        self.book.apply(*decided)

    def store(self, lease: Lease) -> None:
        self.lendings = max(self.lendings, lease.number)
        if lease.state is LeaseState.FREE:
            del self.disk[lease.key]
        else:
            self.disk[lease.key] = lease

    @rule()
    def restart(self) -> None:
        self.book = Book.restore(self.disk.values(), POOLS, BITS, TERMS, self.lendings, PROMISED)

    # -- the judge

    def judge_stored(self, decided: tuple[Transition, ...]) -> None:
        """From here on the switches may follow the disk, answered or not."""
        for before, after in ((x.before, x.after) for x in decided):
            if after.state is LeaseState.QUARANTINED:
                self.take_away(after)
            elif after.state is LeaseState.LENT and (before is None or before.server):
                if before is not None and before.number == after.number:
                    continue
                if before is not None:  # moved: the ports are the heir's from this moment
                    self.take_away(before)
                else:
                    for port in ports_of(after):
                        assert self.now >= self.ended.get(port, -1000) + TERMS.quarantine_ns
                for port in ports_of(after):
                    assert port not in self.using, "lent twice"
                    self.using[port] = after.number

    def take_away(self, lease: Lease) -> None:
        self.told.pop(lease.key, None)
        for port in ports_of(lease):
            self.using.pop(port)
            self.ended[port] = self.now

    def answer(self, lease: Lease) -> None:
        other = self.told.get(lease.key)
        assert other is None or other.server == lease.server
        assert all(self.using[port] == lease.number for port in ports_of(lease))
        self.told[lease.key] = Held(lease.server, lease.number, lease.until_ns)

    # -- what may happen

    @rule(server=SERVERS, tag=TAGS, size=SIZES, client_id=CLIENTS, abroad=ABROAD, crash=CRASH)
    def acquire(
        self,
        server: str,
        tag: str,
        size: int | None,
        client_id: str,
        abroad: tuple[str, ...],
        crash: str,
    ) -> None:
        held = self.book.held(server, tag, client_id)
        first = not self.has_any(server, tag)
        try:
            decided = self.book.acquire(
                server,
                POP[server],
                self.now,
                tag,
                psid_bits=size,
                client_id=client_id,
                abroad=abroad,
            )
            self.carry_out((decided,), crash)
        except PromisedError:
            assert not first or (size is not None and size < BITS)
            assert self.waiting(tag, server if first else "") > 0
            return
        except (PoolExhaustedError, QuotaError, CrashError):  # invariants judge the first two
            return
        lease = decided.after
        assert (lease.server, lease.tag, lease.client_id) == (server, tag, client_id)
        assert lease.first_port >= 1024 or lease.psid_bits == 0
        if held is None and not first:
            assert self.free_sets(tag) >= self.waiting(tag)
        if held is None:
            assert lease.psid_bits == (BITS if size is None else size)
            assert lease.pop == lease.home or lease.home in abroad
        self.answer(lease)

    @precondition(lambda self: self.told)
    @rule(data=st.data(), crash=CRASH, verb=st.sampled_from(["renew", "release", "revoke"]))
    def end_or_renew(self, data: st.DataObject, crash: str, verb: str) -> None:
        at = data.draw(st.sampled_from(sorted(self.told)))
        held = self.told[at]
        try:
            if verb == "renew":
                decided = self.book.renew(held.server, *at, self.now)
            elif verb == "release":
                decided = self.book.release(held.server, *at, self.now)
            else:
                decided = self.book.revoke(*at, self.now)
            self.carry_out((decided,), crash)
        except CrashError:
            return
        except NotHeldError:
            entry = self.book.lease(*at)
            assert entry is not None
            assert entry.state is LeaseState.DRAINING
            return
        if verb == "renew":
            self.answer(decided.after)

    @precondition(lambda self: self.told)
    @rule(data=st.data(), crash=CRASH, later=st.integers(0, 8))
    def drain(self, data: st.DataObject, crash: str, later: int) -> None:
        at = data.draw(st.sampled_from(sorted(self.told)))
        with suppress(CrashError, NotHeldError):
            self.carry_out((self.book.drain(*at, self.now + later),), crash)

    @precondition(lambda self: self.told)
    @rule(data=st.data(), heir=SERVERS, crash=CRASH, later=st.none() | st.integers(0, 8))
    def move(self, data: st.DataObject, heir: str, crash: str, later: int | None) -> None:
        at = data.draw(st.sampled_from(sorted(self.told)))
        until = None if later is None else self.now + later
        try:
            decided = self.book.move(*at, heir, POP[heir], self.now, until)
            self.carry_out((decided,), crash)
        except (CrashError, LendingError):
            return
        if later is None:
            self.answer(decided.after)

    @rule(step=st.integers(0, 8), crash=CRASH)
    def time_passes(self, step: int, crash: str) -> None:
        self.now += step
        try:
            self.carry_out(self.book.expire(self.now), crash)
        except CrashError:
            return
        due = self.book.next_event_ns()
        # Nothing but a quarantine that began in this very moment may still be due.
        assert due is None or due > self.now

    # -- what must always hold

    @invariant()
    def what_was_answered_is_in_the_book(self) -> None:
        for at, held in self.told.items():
            entry = self.book.lease(*at)
            assert entry is not None
            assert entry.live
            assert (entry.server, entry.number) == (held.server, held.number)

    @invariant()
    def every_port_has_at_most_one_lease(self) -> None:
        ports = [port for lease in self.book.entries() for port in ports_of(lease)]
        assert len(ports) == len(set(ports))
        live = {port for lease in self.book.live() for port in ports_of(lease)}
        assert live == self.using.keys()

    @invariant()
    def book_and_disk_agree(self) -> None:
        assert {e.key: e for e in self.book.entries()} == self.disk

    @invariant()
    def an_address_has_one_home(self) -> None:
        for lease in self.book.entries():
            assert self.book.home(lease.address) == lease.home
        assert self.book.homes().keys() == {lease.address for lease in self.book.entries()}

    @invariant()
    def a_server_is_lent_one_set_by_a_name(self) -> None:
        lent = [x for x in self.book.live() if x.state is LeaseState.LENT]
        names = [(x.server, x.tag, x.client_id) for x in lent]
        assert len(names) == len(set(names))
        assert all(self.book.held(*name) is not None for name in names)

    @invariant()
    def nobody_keeps_more_than_the_quota(self) -> None:
        for server in POP:
            for tag in ("any", "gb"):
                mine = [x for x in self.book.entries() if (x.server, x.tag) == (server, tag)]
                assert sum(x.ports for x in mine) <= TERMS.sets_per_server << (16 - BITS)

    @invariant()
    def nothing_free_is_withheld(self) -> None:
        for pop in ("LHR", "CDG"):
            for bits in (2, 4):
                try:
                    self.book.acquire("new", pop, self.now, psid_bits=bits)
                except PoolExhaustedError:
                    assert not self.free(pop, bits)
                else:
                    assert self.free(pop, bits)

    def has_any(self, server: str, tag: str) -> bool:
        return any((x.server, x.tag) == (server, tag) for x in self.book.live())

    def waiting(self, tag: str, but: str = "") -> int:
        """How many servers are promised a first set yet."""
        have = {x.server for x in self.book.live() if x.tag == tag} | ({but} - {""})
        return max(0, PROMISED.get(tag, 0) - len(have))

    def free_sets(self, tag: str) -> int:
        """Counted the slow way: sets of the usual size that nobody has any port of."""
        size = 1 << (16 - BITS)
        entries = self.book.entries()
        return sum(
            not any(
                x.address == address and x.first_port < first + size and first <= x.last_port
                for x in entries
            )
            for pool in POOLS
            if pool.tag == tag
            for address in pool.prefix
            for first in range(size, 1 << 16, size)
        )

    def free(self, pop: str, bits: int) -> bool:
        """Looked for the slow way: a set of this size that this PoP could be lent at home."""
        size = 1 << (16 - bits)
        for address in POOLS[0].prefix:
            entries = [x for x in self.book.entries() if x.address == address]
            if all(x.home == pop for x in entries):
                for first in range(max(size, 1024), 1 << 16, size):
                    if not any(
                        x.first_port < first + size and first <= x.last_port for x in entries
                    ):
                        return True
        return False


LeaseBookMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=50)
TestLeaseBook = LeaseBookMachine.TestCase
