import pickle
from ipaddress import IPv4Network

import pytest

from controller.core.lending import (
    BadEntryError,
    Book,
    Lease,
    LeaseState,
    NotHeldError,
    PoolExhaustedError,
    StaleDecisionError,
    Terms,
    UnknownTagError,
)
from topologies.model import Pool

TERMS = Terms(lifetime_ns=100, quarantine_ns=50)
NET = IPv4Network("203.0.113.0/31")
FIRST, SECOND_ADDRESS = NET


def _book(bits: int = 2, prefix: IPv4Network = NET) -> Book:
    return Book([Pool(prefix)], bits, TERMS)


def _acquire(book: Book, server: str, pop: str = "LHR", now: int = 0) -> Lease:
    decided = book.acquire(server, pop, now)
    book.apply(decided)
    return decided.after


def test_a_lease_of_five_bits_is_2048_ports_and_never_the_first_set() -> None:
    lease = _acquire(_book(bits=5), "s1")
    assert (lease.address, lease.psid, lease.epoch) == (FIRST, 1, 1)
    assert (lease.first_port, lease.last_port) == (2048, 4095)
    assert lease.port_mask == 0xF800


def test_a_decision_alone_changes_nothing() -> None:
    book = _book()
    book.acquire("s1", "LHR", 0)
    assert book.entries() == ()
    assert book.held("s1", "any") is None


def test_an_address_is_filled_before_the_next_is_opened() -> None:
    book = _book()
    leases = [_acquire(book, f"s{n}") for n in range(6)]
    assert [(x.address, x.psid) for x in leases] == [(a, n) for a in NET for n in (1, 2, 3)]


def test_thirty_one_holders_an_address() -> None:
    book = _book(bits=5)
    leases = [_acquire(book, f"s{n}") for n in range(32)]
    assert [x.address for x in leases] == [FIRST] * 31 + [SECOND_ADDRESS]


def test_each_pop_opens_its_own_address() -> None:
    book = _book()
    assert _acquire(book, "s1", "LHR").address == FIRST
    assert _acquire(book, "s2", "CDG").address == SECOND_ADDRESS
    assert dict(book.homes()) == {FIRST: "LHR", SECOND_ADDRESS: "CDG"}
    assert book.home(FIRST) == "LHR"


def test_a_repeated_request_gets_the_same_lease_and_never_less_time() -> None:
    book = _book()
    first = _acquire(book, "s1", now=0)
    again = _acquire(book, "s1", now=30)
    assert (again.address, again.psid, again.epoch) == (first.address, first.psid, first.epoch)
    assert again.until_ns == 130
    book.apply(book.acquire("s1", "LHR", 40, lifetime_ns=1))
    assert book.held("s1", "any") == again
    assert len(book.entries()) == 1


def test_life_of_a_port_set() -> None:
    book = _book()
    lease = _acquire(book, "s1")
    assert book.holder(lease.address, lease.first_port) == lease
    assert book.holder(lease.address, lease.last_port + 1) is None
    assert book.expire(99) == ()
    book.apply(*book.expire(100))
    gone = book.lease(lease.address, lease.psid)
    assert gone is not None
    assert (gone.state, gone.until_ns, gone.server) == (LeaseState.QUARANTINED, 150, "s1")
    assert book.holder(lease.address, lease.first_port) is None
    assert book.live() == ()
    assert _acquire(book, "s2", now=149).psid == 2
    book.apply(*book.expire(150))
    again = _acquire(book, "s3", now=150)
    assert (again.psid, again.epoch) == (1, 2)


def test_quarantine_counts_from_when_the_lease_was_really_ended() -> None:
    book = _book()
    lease = _acquire(book, "s1")
    book.apply(*book.expire(1000))
    entry = book.lease(lease.address, lease.psid)
    assert entry is not None
    assert entry.until_ns == 1050


def test_renewal_postpones_expiry() -> None:
    book = _book()
    lease = _acquire(book, "s1")
    assert book.next_event_ns() == 100
    book.apply(book.renew("s1", lease.address, lease.psid, 60))
    assert book.expire(100) == ()
    assert book.next_event_ns() == 160
    assert [t.after.state for t in book.expire(160)] == [LeaseState.QUARANTINED]


def test_what_is_due_stays_due_until_it_is_applied() -> None:
    book = _book()
    _acquire(book, "s1")
    assert book.expire(100) == book.expire(100) != ()
    book.apply(*book.expire(100))
    assert book.expire(100) == ()


def test_a_draining_lease_works_until_its_end_but_is_not_renewed() -> None:
    book = _book()
    lease = _acquire(book, "s1")
    book.apply(book.drain(lease.address, lease.psid, 40))
    assert [x.state for x in book.live()] == [LeaseState.DRAINING]
    with pytest.raises(NotHeldError, match="draining"):
        book.renew("s1", lease.address, lease.psid, 10)
    assert _acquire(book, "s1", now=10).psid != lease.psid
    assert book.next_event_ns() == 40
    book.apply(*book.expire(40))
    assert [x.psid for x in book.live()] == [2]


def test_release_and_revoke_end_in_quarantine() -> None:
    book = _book()
    a, b = _acquire(book, "s1"), _acquire(book, "s2")
    book.apply(book.release("s1", a.address, a.psid, 10), book.revoke(b.address, b.psid, 20))
    states = [(x.state, x.until_ns) for x in book.entries()]
    assert states == [(LeaseState.QUARANTINED, 60), (LeaseState.QUARANTINED, 70)]
    assert book.held("s1", "any") is None


@pytest.mark.parametrize("psid", [-1, 1 << 2, 65536 + 1])
def test_a_port_set_that_no_address_has_is_nobodys(psid: int) -> None:
    book = _book()
    lease = _acquire(book, "s1")
    before = lease.address - 1  # whose set 65537 once was the next address's set 1
    for address in (lease.address, before):
        assert book.lease(address, psid) is None
        with pytest.raises(NotHeldError):
            book.revoke(address, psid, 0)
    assert book.held("s1", "any") == lease


def test_only_the_holder_may_renew_or_release() -> None:
    book = _book()
    lease = _acquire(book, "s1")
    with pytest.raises(NotHeldError, match="not held by s2; acquire anew"):
        book.renew("s2", lease.address, lease.psid, 0)
    with pytest.raises(NotHeldError):
        book.release("s2", lease.address, lease.psid, 0)
    with pytest.raises(NotHeldError, match="is free"):
        book.revoke(lease.address, 3, 0)


def test_an_address_that_nobody_uses_may_open_elsewhere() -> None:
    book = _book(prefix=IPv4Network("203.0.113.0/32"))
    lease = _acquire(book, "s1", "LHR")
    with pytest.raises(PoolExhaustedError):
        book.acquire("s2", "CDG", 0)
    book.apply(book.release("s1", lease.address, lease.psid, 0))
    with pytest.raises(PoolExhaustedError):
        book.acquire("s2", "CDG", 49)
    book.apply(*book.expire(50))
    assert book.home(FIRST) is None
    assert _acquire(book, "s2", "CDG", 50).epoch == 2
    assert dict(book.homes()) == {FIRST: "CDG"}


def test_exhaustion_says_when_to_try_again() -> None:
    book = _book(bits=1)
    a = _acquire(book, "s1", "LHR", now=0)
    _acquire(book, "s2", "CDG", now=5)
    with pytest.raises(PoolExhaustedError, match="larger pool") as caught:
        book.acquire("s3", "CDG", 10)
    assert caught.value.earliest_ns == 5 + 100 + 50
    book.apply(book.release("s1", a.address, a.psid, 20))
    with pytest.raises(PoolExhaustedError) as caught:
        book.acquire("s3", "LHR", 30)
    assert caught.value.earliest_ns == 70
    with pytest.raises(PoolExhaustedError) as caught:
        book.acquire("s3", "MAN", 30)
    assert caught.value.earliest_ns == 70
    book.apply(*book.expire(70))
    assert _acquire(book, "s3", "LHR", 70).address == a.address


def test_pools_of_one_tag_are_one_shelf_and_tags_are_apart() -> None:
    pools = [
        Pool(IPv4Network("192.0.2.8/32"), "gb"),
        Pool(IPv4Network("192.0.2.1/32"), "gb"),
        Pool(IPv4Network("203.0.113.4/32"), "fr"),
    ]
    book = Book(pools, 1, TERMS)
    found = []
    for server, tag in (("s1", "gb"), ("s2", "gb"), ("s1", "fr")):
        decided = book.acquire(server, "LHR", 0, tag)
        book.apply(decided)
        found.append(str(decided.after.address))
    assert found == ["192.0.2.8", "192.0.2.1", "203.0.113.4"]
    with pytest.raises(UnknownTagError, match=r"'us'.*fr, gb"):
        book.acquire("s1", "LHR", 0, "us")


def test_two_decisions_about_one_set_cannot_both_come_true() -> None:
    book = _book()
    one, other = book.acquire("s1", "LHR", 0), book.acquire("s2", "CDG", 0)
    book.apply(one)
    with pytest.raises(StaleDecisionError, match="decide again"):
        book.apply(other)
    assert book.live() == (one.after,)


def test_apply_is_all_or_nothing() -> None:
    book = _book()
    lease = _acquire(book, "s1")
    stale = book.renew("s1", lease.address, lease.psid, 10)
    book.apply(book.renew("s1", lease.address, lease.psid, 20))
    before = book.entries()
    with pytest.raises(StaleDecisionError):
        book.apply(book.acquire("s2", "LHR", 30), stale)
    assert book.entries() == before


def test_a_server_cannot_be_given_two_by_two_old_decisions() -> None:
    book = _book()
    lease = _acquire(book, "x")
    one = book.acquire("s1", "LHR", 0)
    book.apply(one)
    book.apply(book.release("x", lease.address, lease.psid, 0))
    book.apply(*book.expire(50))
    other = Book.restore([e for e in book.entries() if e.server != "s1"], [Pool(NET)], 2, TERMS)
    with pytest.raises(StaleDecisionError, match="already holds"):
        book.apply(other.acquire("s1", "LHR", 60))


def test_restored_from_entries_it_is_the_same_book() -> None:
    book = _book()
    for n in range(5):
        _acquire(book, f"s{n}", "LHR" if n < 3 else "CDG", now=n)
    book.apply(book.release("s1", FIRST, 2, 20), book.drain(FIRST, 3, 30))
    entries = pickle.loads(pickle.dumps(book.entries()))
    again = Book.restore(reversed(entries), [Pool(NET)], 2, TERMS)
    assert again.entries() == book.entries()
    assert again.homes() == book.homes()
    assert again.next_event_ns() == book.next_event_ns() == 30
    for server in ("s0", "s1", "new"):
        assert _outcome(again, server) == _outcome(book, server)


def _outcome(book: Book, server: str) -> object:
    try:
        return book.acquire(server, "LHR", 40)
    except PoolExhaustedError as error:
        return error.earliest_ns


def test_entries_of_another_network_are_refused() -> None:
    book = _book()
    _acquire(book, "s1")
    entries = book.entries()
    with pytest.raises(BadEntryError, match="no pool tagged 'any' has this address; start with"):
        Book.restore(entries, [Pool(IPv4Network("192.0.2.0/24"))], 2, TERMS)
    with pytest.raises(BadEntryError, match="2 PSID bits, not 5"):
        Book.restore(entries, [Pool(NET)], 5, TERMS)
