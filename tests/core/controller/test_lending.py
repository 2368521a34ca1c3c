import pickle
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Network

import pytest

from controller.core.lease import (
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
    UnknownTagError,
)
from controller.core.lending import Book
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
    assert (lease.address, lease.psid, lease.number) == (FIRST, 1, 1)
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
    assert (again.key, again.number) == (first.key, first.number)
    assert again.until_ns == 130
    book.apply(book.acquire("s1", "LHR", 40, lifetime_ns=1))
    assert book.held("s1", "any") == again
    assert len(book.entries()) == 1


def test_life_of_a_port_set() -> None:
    book = _book()
    lease = _acquire(book, "s1")
    assert book.holder(*lease.key) == lease
    assert book.holder(lease.address, lease.last_port + 1) is None
    assert book.expire(99) == ()
    book.apply(*book.expire(100))
    gone = book.lease(*lease.key)
    assert gone is not None
    assert (gone.state, gone.until_ns, gone.server) == (LeaseState.QUARANTINED, 150, "s1")
    assert book.holder(*lease.key) is None
    assert book.live() == ()
    assert _acquire(book, "s2", now=149).psid == 2
    book.apply(*book.expire(150))
    again = _acquire(book, "s3", now=150)
    assert (again.psid, again.number) == (1, 3)


def test_quarantine_counts_from_when_the_lease_was_really_ended() -> None:
    book = _book()
    lease = _acquire(book, "s1")
    book.apply(*book.expire(1000))
    entry = book.lease(*lease.key)
    assert entry is not None
    assert entry.until_ns == 1050


def test_renewal_postpones_expiry() -> None:
    book = _book()
    lease = _acquire(book, "s1")
    assert book.next_event_ns() == 100
    book.apply(book.renew("s1", *lease.key, 60))
    assert book.expire(100) == ()
    assert book.next_event_ns() == 160
    assert [t.after.state for t in book.expire(160)] == [LeaseState.QUARANTINED]


def test_what_is_due_stays_due_until_it_is_applied() -> None:
    book = _book()
    _acquire(book, "s1")
    assert book.expire(100) == book.expire(100) != ()
    book.apply(*book.expire(100))
    assert book.expire(100) == ()


def test_a_draining_lease_works_until_its_end_and_gets_no_more_time() -> None:
    book = _book()
    lease = _acquire(book, "s1")
    book.apply(book.drain(*lease.key, 40))
    assert [x.state for x in book.live()] == [LeaseState.DRAINING]
    assert book.renew("s1", *lease.key, 10).after.until_ns == 40
    with pytest.raises(NotHeldError, match="draining"):
        book.renew("s2", *lease.key, 10)
    assert _acquire(book, "s1", now=10).psid != lease.psid
    assert book.next_event_ns() == 40
    book.apply(*book.expire(40))
    assert [x.psid for x in book.live()] == [2]


def test_release_and_revoke_end_in_quarantine() -> None:
    book = _book()
    a, b = _acquire(book, "s1"), _acquire(book, "s2")
    book.apply(book.release("s1", *a.key, 10), book.revoke(*b.key, 20))
    states = [(x.state, x.until_ns) for x in book.entries()]
    assert states == [(LeaseState.QUARANTINED, 60), (LeaseState.QUARANTINED, 70)]
    assert book.held("s1", "any") is None


@pytest.mark.parametrize("port", [-1, 0, 0x3FFF, 0x8000, 0x1_4000, 1 << 40])
def test_a_port_that_nobody_borrowed_is_nobodys(port: int) -> None:
    book = _book()
    lease = _acquire(book, "s1")
    for address in (lease.address, lease.address - 1):
        assert book.lease(address, port) is None
        with pytest.raises(NotHeldError):
            book.revoke(address, port, 0)
    assert book.held("s1", "any") == lease


def test_only_the_holder_may_renew_or_release() -> None:
    book = _book()
    lease = _acquire(book, "s1")
    with pytest.raises(NotHeldError, match="not held by s2; acquire anew"):
        book.renew("s2", *lease.key, 0)
    with pytest.raises(NotHeldError):
        book.release("s2", *lease.key, 0)
    with pytest.raises(NotHeldError, match="is free"):
        book.revoke(lease.address, 0xC000, 0)


def test_an_address_that_nobody_uses_may_open_elsewhere() -> None:
    book = _book(prefix=IPv4Network("203.0.113.0/32"))
    lease = _acquire(book, "s1", "LHR")
    with pytest.raises(PoolExhaustedError):
        book.acquire("s2", "CDG", 0)
    book.apply(book.release("s1", *lease.key, 0))
    with pytest.raises(PoolExhaustedError):
        book.acquire("s2", "CDG", 49)
    book.apply(*book.expire(50))
    assert book.home(FIRST) is None
    assert _acquire(book, "s2", "CDG", 50).number == 2
    assert dict(book.homes()) == {FIRST: "CDG"}


def test_exhaustion_says_when_to_try_again() -> None:
    book = _book(bits=1)
    a = _acquire(book, "s1", "LHR", now=0)
    _acquire(book, "s2", "CDG", now=5)
    with pytest.raises(PoolExhaustedError, match="larger pool") as caught:
        book.acquire("s3", "CDG", 10)
    assert caught.value.earliest_ns == 100 + 50  # its address is anybody's then
    book.apply(book.release("s1", *a.key, 20))
    with pytest.raises(PoolExhaustedError) as caught:
        book.acquire("s3", "LHR", 30)
    assert caught.value.earliest_ns == 70
    with pytest.raises(PoolExhaustedError) as caught:
        book.acquire("s3", "MAN", 30)
    assert caught.value.earliest_ns == 70
    book.apply(*book.expire(70))
    assert _acquire(book, "s3", "LHR", 70).address == a.address


def test_what_drains_for_an_heir_is_not_said_to_be_free_then() -> None:
    book = _book(bits=1)
    first, second = _acquire(book, "s1"), _acquire(book, "s2", now=40)
    book.apply(book.move(*first.key, "s2", "LHR", 50, 60))
    with pytest.raises(PoolExhaustedError, match="no set of 32768 ports tagged 'any'") as caught:
        book.acquire("s3", "LHR", 50)
    assert caught.value.earliest_ns == second.until_ns + 50
    assert book.next_event_ns() == 60
    book.apply(book.move(*second.key, "s3", "LHR", 50, 60))
    with pytest.raises(PoolExhaustedError) as caught:
        book.acquire("s3", "LHR", 50)
    assert caught.value.earliest_ns is None


def test_a_renewal_that_could_not_be_stored_lets_the_lease_end_in_time() -> None:
    book = _book()
    lease = _acquire(book, "s1")
    _acquire(book, "s2", now=90)
    renewed = book.renew("s1", *lease.key, 50, 1000)
    book.apply(renewed)
    assert book.next_event_ns() == 190  # as who is refused in the same breath is told
    book.undo(renewed)
    assert book.next_event_ns() == lease.until_ns
    assert [x.before for x in book.expire(lease.until_ns)] == [lease]


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
    stale = book.renew("s1", *lease.key, 10)
    book.apply(book.renew("s1", *lease.key, 20))
    before = book.entries()
    with pytest.raises(StaleDecisionError):
        book.apply(book.acquire("s2", "LHR", 30), stale)
    assert book.entries() == before


def test_restored_from_entries_it_is_the_same_book() -> None:
    book = _book()
    for n in range(5):
        _acquire(book, f"s{n}", "LHR" if n < 3 else "CDG", now=n)
    book.apply(book.release("s1", FIRST, 0x8000, 20), book.drain(FIRST, 0xFFFF, 30))
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
    with pytest.raises(BadEntryError, match="its ports are taken, or never lent"):
        Book.restore([*entries, *entries], [Pool(NET)], 2, TERMS)
    system = entries[0]._replace(psid=0)
    with pytest.raises(BadEntryError, match="port 0: its ports are taken, or never lent"):
        Book.restore([system], [Pool(NET)], 2, TERMS)
    elsewhere = entries[0]._replace(psid=2, server="s2", home="CDG")
    with pytest.raises(BadEntryError, match="at home in LHR, not in CDG"):
        Book.restore([*entries, elsewhere], [Pool(NET)], 2, TERMS)


# -- sizes


def _sized(book: Book, server: str, bits: int, pop: str = "LHR") -> Lease:
    decided = book.acquire(server, pop, 0, psid_bits=bits)
    book.apply(decided)
    return decided.after


def test_sets_of_all_sizes_share_an_address_and_small_ones_fill_the_gaps() -> None:
    book = Book([Pool(NET)], 5, replace(TERMS, sets_per_server=64))
    sets = [_sized(book, f"s{bits}", bits) for bits in (1, 2, 12, 5, 4)]
    assert {x.address for x in sets} == {FIRST}
    assert [(x.first_port, x.last_port) for x in sets] == [
        (32768, 65535),
        (16384, 32767),
        (1024, 1039),
        (2048, 4095),
        (4096, 8191),
    ]
    assert _sized(book, "s3", 3).key == (FIRST, 8192)  # the last large gap
    assert _sized(book, "more", 3).key == (SECOND_ADDRESS, 8192)


def test_a_whole_address_is_lent_with_its_system_ports_and_to_one_alone() -> None:
    book = Book([Pool(NET)], 5, replace(TERMS, sets_per_server=64))
    part, whole = _sized(book, "s1", 5), _sized(book, "s2", 0)
    assert (part.address, whole.address) == (FIRST, SECOND_ADDRESS)
    assert (whole.first_port, whole.last_port, whole.port_mask) == (0, 65535, 0)
    assert book.holder(SECOND_ADDRESS, 0) == book.holder(SECOND_ADDRESS, 65535) == whole
    assert _sized(book, "s3", 5).address == FIRST
    with pytest.raises(PoolExhaustedError):
        book.acquire("s4", "LHR", 0, psid_bits=0)


@pytest.mark.parametrize("bits", [-1, 13])
def test_sizes_that_no_set_has_are_refused(bits: int) -> None:
    with pytest.raises(SizeError, match="0 to 12 PSID bits"):
        _book().acquire("s1", "LHR", 0, psid_bits=bits)


def test_one_set_alone_may_be_larger_than_the_quota() -> None:
    book = Book([Pool(NET)], 5, replace(TERMS, sets_per_server=8))
    book.apply(book.acquire("s1", "LHR", 0, psid_bits=0))
    with pytest.raises(QuotaError, match="keeps 65536"):
        book.acquire("s1", "LHR", 0, client_id="b")
    book.apply(book.acquire("s2", "LHR", 0))
    with pytest.raises(QuotaError, match="may keep 16384 ports"):
        book.acquire("s2", "LHR", 0, client_id="b", psid_bits=0)


def test_what_was_returned_counts_until_its_quarantine_is_over() -> None:
    book = Book([Pool(NET)], 5, replace(TERMS, sets_per_server=1))
    lease = _sized(book, "s1", 5)
    book.apply(book.release("s1", *lease.key, 0))
    with pytest.raises(QuotaError, match="keeps 2048"):
        book.acquire("s1", "LHR", 0)
    book.apply(*book.expire(TERMS.quarantine_ns))
    book.apply(book.acquire("s1", "LHR", TERMS.quarantine_ns))


def test_the_quota_counts_ports() -> None:
    book = Book([Pool(NET)], 5, TERMS)
    _sized(book, "s1", 2)
    with pytest.raises(QuotaError, match="keeps 16384"):
        book.acquire("s1", "LHR", 0, client_id="2", psid_bits=12)
    assert _sized(book, "s2", 2)


def test_a_server_holds_one_set_by_each_client_identifier() -> None:
    book = _book(bits=5)
    one, two = _acquire(book, "s1"), book.acquire("s1", "LHR", 0, client_id="web")
    book.apply(two)
    assert one.key != two.after.key
    assert book.acquire("s1", "LHR", 0, client_id="web").after == two.after
    assert book.held("s1", "any") == one
    assert book.held("s1", "any", "web") == two.after


# -- abroad


def test_who_finds_nothing_at_home_borrows_in_the_next_pop() -> None:
    book = _book(prefix=IPv4Network("203.0.113.0/32"))
    _acquire(book, "s1", "LHR")
    lease = book.acquire("s2", "CDG", 0, abroad=["MAN", "LHR"]).after
    assert (lease.pop, lease.home, lease.abroad) == ("CDG", "LHR", True)
    assert lease.address == FIRST


def test_abroad_is_asked_last() -> None:
    book = _book()
    _acquire(book, "s1", "LHR")

    def never() -> Iterator[str]:
        raise AssertionError
        yield

    lease = book.acquire("s2", "CDG", 0, abroad=never()).after
    assert (lease.address, lease.home) == (SECOND_ADDRESS, "CDG")


# -- moves


def test_a_set_that_moves_gets_a_new_number_and_the_address_a_new_home_if_it_is_the_only_one() -> (
    None
):
    book = _book()
    lease = _acquire(book, "s1")
    decided = book.move(lease.address, lease.last_port, "s2", "CDG", 10)
    book.apply(decided)
    moved = decided.after
    assert (moved.server, moved.pop, moved.home, moved.number) == ("s2", "CDG", "CDG", 2)
    assert (moved.since_ns, moved.until_ns) == (10, 110)
    assert book.held("s1", "any") is None
    assert book.held("s2", "any") == moved
    assert dict(book.homes()) == {FIRST: "CDG"}
    with pytest.raises(NotHeldError):
        book.renew("s1", *lease.key, 20)
    _acquire(book, "s3", "CDG")
    back = book.move(*moved.key, "s1", "LHR", 30).after
    assert (back.pop, back.home, back.abroad) == ("LHR", "CDG", True)


def test_a_set_that_drains_for_an_heir_is_its_when_the_time_comes() -> None:
    book = _book()
    lease = _acquire(book, "s1")
    book.apply(book.move(*lease.key, "s2", "LHR", 0, drain_until_ns=40))
    assert [(x.server, x.state, x.heir) for x in book.live()] == [("s1", LeaseState.DRAINING, "s2")]
    (decided,) = book.expire(40)
    book.apply(decided)
    assert (decided.after.server, decided.after.number) == ("s2", 2)
    assert decided.after.until_ns == 140
    assert book.held("s2", "any") == decided.after


def test_an_heir_that_keeps_too_much_by_then_gets_nothing_and_the_set_is_quarantined() -> None:
    book = Book([Pool(NET)], 5, replace(TERMS, sets_per_server=2))
    lease = _acquire(book, "s1")
    book.apply(book.move(*lease.key, "s2", "LHR", 0, drain_until_ns=40))
    for name in ("a", "b"):
        book.apply(book.acquire("s2", "LHR", 0, client_id=name))
    (decided,) = book.expire(40)
    assert decided.after.state is LeaseState.QUARANTINED
    assert decided.after.heir == ""


def test_an_heir_of_several_sets_gets_as_many_as_it_may_keep_each_by_a_name() -> None:
    book = Book([Pool(NET)], 5, replace(TERMS, sets_per_server=2))
    for server in ("s1", "s2", "s3"):
        lease = _acquire(book, server)
        book.apply(book.move(*lease.key, "heir", "LHR", 0, drain_until_ns=40))
    decided = book.expire(40)
    book.apply(*decided)
    lent = [x.after for x in decided if x.after.state is LeaseState.LENT]
    assert [(x.server, x.client_id) for x in lent] == [("heir", ""), ("heir", "moved-5")]
    assert len(decided) == 3


def test_no_name_that_the_heir_has_chosen_itself_is_in_the_way() -> None:
    book = _book()
    lease = _acquire(book, "s1")
    for name in ("", "moved-4"):
        book.apply(book.acquire("s2", "LHR", 0, client_id=name))
    assert book.lendings + 1 == 4
    moved = book.move(*lease.key, "s2", "LHR", 0)
    book.apply(moved)
    assert moved.after.client_id == "moved-4-2"
    book.apply(book.release("s2", *lease.key, 0))


def test_who_has_such_a_set_gets_the_moved_one_by_another_name() -> None:
    book = _book()
    lease, own = _acquire(book, "s1"), _acquire(book, "s2")
    moved = book.move(*lease.key, "s2", "LHR", 0)
    book.apply(moved)
    assert moved.after.client_id == "moved-3"
    assert book.held("s2", "any", "moved-3") == moved.after
    assert book.held("s2", "any") == own
    assert book.held("s1", "any") is None


def test_who_drains_such_a_set_gets_the_moved_one_by_another_name() -> None:
    book = _book()
    lease, own = _acquire(book, "s1"), _acquire(book, "s2")
    book.apply(book.drain(*own.key, 50))
    assert book.move(*lease.key, "s2", "LHR", 0).after.client_id == "moved-3"
    book.apply(book.revoke(*own.key, 0))
    assert book.move(*lease.key, "s2", "LHR", 0).after.client_id == ""


def test_nobody_is_moved_its_own_set() -> None:
    book = _book()
    lease = _acquire(book, "s1")
    with pytest.raises(HoldsAlreadyError, match="is s1's already"):
        book.move(*lease.key, "s1", "LHR", 0)


def test_what_could_not_be_stored_is_taken_back() -> None:
    book = _book()
    lease = _acquire(book, "s1")
    before = (book.entries(), book.next_event_ns(), dict(book.homes()))
    decided = [book.acquire("s2", "CDG", 0)]
    book.apply(*decided)
    decided.append(book.release("s1", *lease.key, 5))
    book.apply(decided[-1])
    book.undo(*decided)
    assert (book.entries(), book.next_event_ns(), dict(book.homes())) == before
    assert book.acquire("s2", "LHR", 0).after.first_port == 2 * lease.first_port


# -- a first set for everybody


def test_the_last_sets_are_kept_for_servers_that_have_none() -> None:
    pools = [Pool(IPv4Network("203.0.113.0/32"))]  # three sets of a quarter
    book = Book(pools, 2, TERMS, promised={"any": 2})
    book.apply(book.acquire("L1", "LHR", 0))
    book.apply(book.acquire("L1", "LHR", 0, client_id="b"))
    with pytest.raises(PromisedError, match="the last 1 are kept for 1 servers that have none"):
        book.acquire("L1", "LHR", 0, client_id="c")
    with pytest.raises(PromisedError):
        book.acquire("L1", "LHR", 0, client_id="c", psid_bits=4)
    book.apply(book.acquire("L2", "LHR", 0))
    with pytest.raises(PoolExhaustedError):
        book.acquire("L3", "LHR", 0)


def test_a_promise_ends_with_a_lease_and_is_known_after_a_crash() -> None:
    pools = [Pool(IPv4Network("203.0.113.0/32"))]
    book = Book(pools, 2, TERMS, promised={"any": 2})
    book.apply(book.acquire("L1", "LHR", 0))
    book.apply(book.acquire("L2", "LHR", 0))
    again = Book.restore(book.entries(), pools, 2, TERMS, book.lendings, {"any": 2})
    for one in (book, again):
        third = one.acquire("L1", "LHR", 0, client_id="b")  # everybody has one
        assert third.after.number == 3
    lease = book.held("L2", "any")
    assert lease is not None
    book.apply(book.release("L2", *lease.key, 0))
    with pytest.raises(PromisedError):
        book.acquire("L1", "LHR", 0, client_id="b")
    assert book.acquire("L2", "LHR", 0).after.server == "L2"


def test_a_first_set_that_is_larger_leaves_the_others_theirs() -> None:
    book = Book([Pool(IPv4Network("203.0.113.0/31"))], 2, TERMS, promised={"any": 5})
    with pytest.raises(PromisedError):
        book.acquire("L1", "LHR", 0, psid_bits=0)
    few = Book([Pool(IPv4Network("203.0.113.0/31"))], 2, TERMS, promised={"any": 4})
    assert few.acquire("L1", "LHR", 0, psid_bits=0).after.ports == 1 << 16
