"""The lease book under any schedule, with crashes between its steps, watched by a judge.

The judge sees only what a server sees and what time it is: answers, and rules taken away.
"""

from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from controller.core.lending import (
    Book,
    Lease,
    LeaseState,
    NotHeldError,
    PoolExhaustedError,
    Terms,
    Transition,
)
from topologies.model import Pool

TERMS = Terms(lifetime_ns=12, quarantine_ns=6)
POOLS = (Pool(IPv4Network("203.0.113.0/31")), Pool(IPv4Network("192.0.2.0/32"), "gb"))
BITS = 2
POP = {"L1": "LHR", "L2": "LHR", "L3": "LHR", "L4": "LHR", "C1": "CDG", "C2": "CDG", "M1": "MAN"}

Set = tuple[IPv4Address, int]
CRASH = st.sampled_from(["no", "no", "no", "before storing", "after storing"])
SERVERS = st.sampled_from(sorted(POP))
TAGS = st.sampled_from(["any", "any", "gb"])


class CrashError(Exception):
    pass


@dataclass
class Held:
    """What a server was told."""

    server: str
    epoch: int
    until_ns: int


class LeaseBookMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.disk: dict[Set, Lease] = {}
        self.book = Book(POOLS, BITS, TERMS)
        self.told: dict[Set, Held] = {}
        self.ended: dict[Set, int] = {}
        self.epochs: dict[Set, int] = {}

    # -- the shell, as it must be: decide, store, apply, answer

    def carry_out(self, decided: tuple[Transition, ...], crash: str) -> None:
        try:
            if crash == "before storing":
                raise CrashError
            for transition in decided:
                self.disk[transition.after.address, transition.after.psid] = transition.after
            self.judge_stored(decided)
            if crash == "after storing":
                raise CrashError
        except CrashError:
            self.book = Book.restore(self.disk.values(), POOLS, BITS, TERMS)
            raise
        self.book.apply(*decided)

    # -- the judge

    def judge_stored(self, decided: tuple[Transition, ...]) -> None:
        """From here on the switches may follow the disk, answered or not."""
        for transition in decided:
            lease = transition.after
            at = (lease.address, lease.psid)
            if lease.state is LeaseState.QUARANTINED:
                self.told.pop(at, None)
                self.ended[at] = self.now
            elif transition.before is None or transition.before.state is LeaseState.FREE:
                assert lease.epoch > self.epochs.get(at, 0)
                assert at not in self.told, "lent twice"
                assert self.now >= self.ended.get(at, -1000) + TERMS.quarantine_ns
                self.epochs[at] = lease.epoch

    def answer(self, lease: Lease) -> None:
        at = (lease.address, lease.psid)
        other = self.told.get(at)
        assert other is None or other.server == lease.server
        self.told[at] = Held(lease.server, lease.epoch, lease.until_ns)

    # -- what may happen

    @rule(server=SERVERS, tag=TAGS, crash=CRASH)
    def acquire(self, server: str, tag: str, crash: str) -> None:
        try:
            decided = self.book.acquire(server, POP[server], self.now, tag)
            self.carry_out((decided,), crash)
        except (PoolExhaustedError, CrashError):  # nothing_free_is_withheld judges the first
            pass
        else:
            lease = decided.after
            assert lease.psid != 0
            assert lease.server == server
            assert lease.tag == tag
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

    @rule()
    def restart(self) -> None:
        self.book = Book.restore(self.disk.values(), POOLS, BITS, TERMS)

    # -- what must always hold

    def free_sets(self, pop: str, tag: str) -> int:
        """Counted the slow way: sets that this PoP could be lent."""
        count = 0
        for pool in POOLS:
            for address in pool.prefix if pool.tag == tag else ():
                entries = [self.book.lease(address, psid) for psid in range(1, 1 << BITS)]
                taken = [e for e in entries if e is not None and e.state is not LeaseState.FREE]
                if all(e.pop == pop for e in taken):
                    count += len(entries) - len(taken)
        return count

    @invariant()
    def what_was_answered_is_in_the_book(self) -> None:
        for at, held in self.told.items():
            entry = self.book.lease(*at)
            assert entry is not None
            assert entry.live
            assert (entry.server, entry.epoch) == (held.server, held.epoch)

    @invariant()
    def book_and_disk_agree(self) -> None:
        assert {(e.address, e.psid): e for e in self.book.entries()} == self.disk

    @invariant()
    def an_address_has_one_home_that_its_holders_share(self) -> None:
        for lease in self.book.entries():
            if lease.state is not LeaseState.FREE:
                assert self.book.home(lease.address) == lease.pop
                assert POP[lease.server] == lease.pop

    @invariant()
    def a_server_is_lent_one_set_of_a_tag(self) -> None:
        lent = [(x.server, x.tag) for x in self.book.live() if x.state is LeaseState.LENT]
        assert len(lent) == len(set(lent))
        assert all(self.book.held(*who) is not None for who in lent)

    @invariant()
    def nothing_free_is_withheld(self) -> None:
        for pop, server in (("LHR", "new-l"), ("CDG", "new-c")):
            try:
                self.book.acquire(server, pop, self.now)
            except PoolExhaustedError:
                assert self.free_sets(pop, "any") == 0
            else:
                assert self.free_sets(pop, "any") > 0


LeaseBookMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=50)
TestLeaseBook = LeaseBookMachine.TestCase
