"""Lease stores: what was committed stays, whatever happens to the process.

The first half holds for every store, the second is SQLite's.
"""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from random import Random
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.core.events import LeaseChanged, Mark, PopSet, PopState
from controller.core.lease import Lease, LeaseState, LendingError, Terms, Transition
from controller.core.lending import Book
from controller.store import Record, Store, StoreError, etcd_election, open_store
from controller.store import etcd as etcd_store
from tests.fakes.etcd import Etcd, running
from tests.fakes.stores import take_over
from topologies.model import Pool

ROOT = Path(__file__).parents[3]
ONE = Lease(
    address=IPv4Address("203.0.113.255"),
    psid=31,
    psid_bits=5,
    state=LeaseState.LENT,
    server="LHR-s1",
    pop="LHR",
    tag="any",
    home="LHR",
    client_id="",
    number=1,
    since_ns=1_795_000_000_000_000_000,
    until_ns=1_795_000_120_000_000_000,
)
TWO = ONE._replace(psid=1, server="CDG-s2", pop="CDG", home="CDG", number=2)


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    with running(tmp_path_factory.mktemp("etcd")) as (server,):
        yield server


@pytest.fixture(params=["sqlite", "etcd"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a store can be made."""
    if request.param == "sqlite":
        return str(tmp_path / "leases.sqlite")
    server: Etcd = request.getfixturevalue("etcd")
    return server.at(tmp_path.name)


def put(store: Store, *leases: Lease) -> None:
    """Commit leases as a controller does, as records that go on where the log ends."""
    last = store.last()
    number = last.number if last else 0
    store.commit(
        Record(number + n, 1000 + n, 7, LeaseChanged(lease)) for n, lease in enumerate(leases, 1)
    )


def test_what_was_committed_is_there_again(where: str) -> None:
    store = open_store(where)
    put(store, ONE, TWO)
    ended = ONE._replace(state=LeaseState.QUARANTINED)
    put(store, ended)
    store.close()
    again = open_store(where)
    assert again.load() == (TWO, ended)
    again.close()


def test_the_log_says_what_happened_in_order_and_goes_on_over_a_restart(where: str) -> None:
    store = open_store(where)
    assert (store.last(), store.records(), store.settings()) == (None, (), ())
    drained, mark = PopSet("LHR", PopState.DRAINED), Mark("half time")
    events = (LeaseChanged(ONE), drained, mark)
    records = tuple(Record(n, 10 * n, n, event) for n, event in enumerate(events, 1))
    store.commit(records[:2])
    store.commit(records[2:])
    store.close()
    again = open_store(where)
    assert again.records() == records
    assert again.records(after=1) == records[1:]
    assert again.last() == records[2]
    assert again.settings() == (drained,)
    assert again.load() == (ONE,)
    again.close()


def test_no_record_is_written_twice(where: str) -> None:
    store = open_store(where)
    put(store, ONE)
    with pytest.raises(StoreError, match="UNIQUE|record 1 comes where 2 is the next"):
        store.commit([Record(1, 5, 5, LeaseChanged(TWO))])
    assert store.load() == (ONE,)
    store.close()


WRITER = """
import sys

from controller.store import etcd, etcd_election, open_store
from tests.core.controller_shell.test_store import ONE, put

etcd.HOLD_S = etcd_election.HOLD_S = 1
store = open_store(sys.argv[1])
begin = store.lendings() // 2
for turn in range(begin + 1, begin + 100_000):
    put(store, *(ONE._replace(psid=psid, number=2 * turn + psid - 2) for psid in (1, 2)))
    print(turn, flush=True)
"""


def test_nothing_committed_is_lost_by_kill_9(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etcd_store, "HOLD_S", 1)
    monkeypatch.setattr(etcd_election, "HOLD_S", 1)
    said = 0
    for turn in range(4):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, where], stdout=subprocess.PIPE, cwd=ROOT
        )
        assert writer.stdout is not None
        for _ in range(20 + 7 * turn):
            said = int(writer.stdout.readline())
        writer.kill()
        rest = writer.stdout.read().split(b"\n")[:-1]  # a torn last line was never said
        said = int(rest[-1]) if rest else said
        writer.wait()
        store = take_over(where)
        one, two = (lease.number for lease in store.load())
        numbers = [record.number for record in store.records()]
        assert numbers == list(range(1, two + 1)), "book and log differ"
        assert store.lendings() == two
        store.close()
        assert two == one + 1, "half of a commit is there"
        assert two // 2 in (said, said + 1)  # the last commit may not have been said
    assert said > 80


def test_who_might_use_a_port_at_a_time_is_told_long_after(where: str) -> None:
    store = open_store(where)
    first = ONE._replace(since_ns=100)
    moved = first._replace(server="CDG-s1", pop="CDG", number=2, since_ns=200)
    gone = moved._replace(state=LeaseState.QUARANTINED)
    smaller = ONE._replace(psid=63, psid_bits=6, server="LHR-s3", number=3, since_ns=500)
    happened = [(101, first), (150, first._replace(until_ns=7)), (203, moved), (300, gone)]
    happened += [(400, gone._replace(state=LeaseState.FREE, server="")), (500, smaller)]
    for number, (at_ns, lease) in enumerate(happened, 1):
        store.commit([Record(number, at_ns, 0, LeaseChanged(lease))])
    assert store.load() == (smaller,)
    assert store.lendings() == 3

    def who(port: int, at_ns: int) -> str | None:
        found = store.who(ONE.address, port, at_ns)
        return found and found.server

    last = ONE.last_port
    assert [who(last, at) for at in (99, 100, 199, 200, 299, 300, 499, 500, 10**18)] == [
        None, "LHR-s1", "LHR-s1", "CDG-s1", "CDG-s1", None, None, "LHR-s3", "LHR-s3",
    ]  # fmt: skip
    assert who(ONE.first_port, 250) == "CDG-s1"
    assert who(ONE.first_port, 500) is None
    assert who(ONE.first_port - 1, 150) is None
    assert store.who(ONE.address - 1, last, 150) is None
    held = store.who(ONE.address, last, 250)
    assert held is not None
    assert (held.number, held.since_ns, held.ended_ns) == (2, 200, 300)
    store.close()


SERVERS = {"LHR-s1": "LHR", "LHR-s2": "LHR", "CDG-s1": "CDG"}
POOL = Pool(IPv4Network("203.0.113.254/31"))


def _happen(book: Book, random: Random) -> Iterator[Record]:
    """A few random verbs, carried out, some of them at one moment."""
    now, number = 1000, 0
    for _ in range(random.randrange(1, 40)):
        now += random.choice((0, 0, 3, 40))
        with contextlib.suppress(LendingError):
            for transition in _decide(book, now, random):
                book.apply(transition)
                number += 1
                yield Record(number, now, 0, LeaseChanged(transition.after))


def _decide(book: Book, now: int, random: Random) -> tuple[Transition, ...]:
    server, pop = random.choice(list(SERVERS.items()))
    lent = [lease for lease in book.live() if lease.state is LeaseState.LENT]
    verb = random.choice(("expire", "acquire", "renew", "revoke", "move", "drain"))
    if verb == "expire":
        return book.expire(now)
    if verb == "acquire" or not lent:
        return (book.acquire(server, pop, now, client_id=str(random.randrange(2))),)
    lease = random.choice(lent)
    if verb == "renew":
        return (book.renew(lease.server, *lease.key, now),)
    if verb == "revoke":
        return (book.revoke(*lease.key, now),)
    return (book.move(*lease.key, server, pop, now, None if verb == "move" else now + 20),)


def _who(records: Sequence[Record], address: IPv4Address, port: int, at_ns: int) -> int | None:
    """Who has a port, by the log alone: the lending that began last, unless it has ended."""
    found = None
    for record in records:
        assert isinstance(record.event, LeaseChanged)
        lease = record.event.lease
        if lease.address == address and lease.first_port <= port <= lease.last_port:
            if lease.live and lease.since_ns <= at_ns:
                found = lease.number
            elif not lease.live and record.at_ns <= at_ns:
                found = None
    return found


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(random=st.randoms(use_true_random=False))
def test_however_verbs_are_put_together_in_commits_the_store_knows_the_same(
    where: str, random: Random
) -> None:
    terms = Terms(lifetime_ns=60, quarantine_ns=20)
    records = list(_happen(Book([POOL], 1, terms), random))
    store = open_store(f"{where}{uuid4().hex}")
    rest = list(records)
    while rest:
        together = random.randrange(1, 12)
        store.commit(rest[:together])
        del rest[:together]
    last = {record.event.lease.key: record.event.lease for record in records}  # type: ignore[union-attr]
    taken = {key: lease for key, lease in last.items() if lease.state is not LeaseState.FREE}
    assert store.load() == tuple(taken[key] for key in sorted(taken))
    assert store.records() == tuple(records)
    for address in POOL.prefix:
        for port in (2000, 40_000):
            for at_ns in random.sample(range(999, 2700), 12):
                found = store.who(address, port, at_ns)
                assert (found and found.number) == _who(records, address, port, at_ns)
    store.close()


# -- SQLite


def test_a_commit_is_whole_or_nothing(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "leases.sqlite"))
    with pytest.raises(StoreError, match="NOT NULL"):
        put(store, ONE, TWO._replace(server=None))  # type: ignore[arg-type]
    assert store.load() == ()
    put(store, ONE)
    assert store.load() == (ONE,)
    store.close()


def test_another_files_content_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "leases.sqlite"
    path.write_text("not a database" * 100)
    with pytest.raises(StoreError, match="another file"):
        open_store(str(path))


def test_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "leases.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="version 99"):
        open_store(str(path))


def test_a_store_that_lost_its_log_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "leases.sqlite"
    store = open_store(str(path))
    put(store, ONE)
    there, gone = path.read_bytes(), Path(f"{path}-wal")
    put(store, TWO)
    assert gone.exists()
    store.close()
    path.write_bytes(there)  # as if killed, and the log thrown away
    with pytest.raises(StoreError, match="2 commits were made, and it knows of [01];"):
        open_store(str(path))


@pytest.mark.parametrize("how", ["truncated", "removed"])
def test_a_store_that_became_empty_is_refused_again_and_again(tmp_path: Path, how: str) -> None:
    path = tmp_path / "leases.sqlite"
    store = open_store(str(path))
    put(store, ONE)
    store.close()
    path.unlink() if how == "removed" else path.write_bytes(b"")
    for _ in range(2):
        with pytest.raises(StoreError, match="1 commits were made, and it knows of 0"):
            open_store(str(path))
    for companion in tmp_path.iterdir():
        companion.unlink()
    open_store(str(path)).close()


def test_a_mark_that_is_behind_is_true_as_well(tmp_path: Path) -> None:
    path = tmp_path / "leases.sqlite"
    store = open_store(str(path))
    early = Path(f"{path}.mark").read_bytes()
    put(store, ONE)
    store.close()
    Path(f"{path}.mark").write_bytes(early)
    again = open_store(str(path))
    assert again.load() == (ONE,)
    again.close()


@pytest.mark.parametrize(
    ("column", "value"), [("state", "'gone'"), ("address", -1), ("address", 1 << 33)]
)
def test_a_row_that_is_no_lease_is_told(tmp_path: Path, column: str, value: object) -> None:
    store = open_store(str(tmp_path / "leases.sqlite"))
    put(store, ONE)
    store.close()
    with sqlite3.connect(tmp_path / "leases.sqlite") as database:
        database.execute(f"UPDATE entries SET {column} = {value}")
    database.close()
    store = open_store(str(tmp_path / "leases.sqlite"))
    with pytest.raises(StoreError, match="give --db another file"):
        store.load()
    store.close()
