"""The lease store in etcd: one writer, lost answers, a server in trouble, and what it refuses.

What it has in common with the others is in test_store.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from controller.core.events import Event, LeaseChanged, Mark, Note, PopSet, PopState, WeightSet
from controller.core.lease import Lease, LeaseState, LendingError, Terms
from controller.core.lending import Book
from controller.store import Record, StoreError, etcd, etcd_election, gateway, open_store
from controller.store.gateway import Gateway, delete, put, read
from tests.core.controller_shell.test_store import ONE, ROOT, TWO, WRITER
from tests.core.controller_shell.test_store import put as commit
from tests.fakes.etcd import HOST, Etcd, Road, free_ports, running
from tests.fakes.stores import HEIR, take_over
from topologies.emulation.processes import until
from topologies.model import Pool

LAPSE_S = 2.0
"""At most so much later etcd has removed what lapsed."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    with running(tmp_path_factory.mktemp("etcd")) as (server,):
        yield server


@pytest.fixture
def where(server: Etcd, tmp_path: Path) -> str:
    return server.at(tmp_path.name)


@pytest.fixture
def road(server: Etcd) -> Iterator[Road]:
    made = Road(server.port)
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that takes seconds takes less."""
    monkeypatch.setattr(etcd, "HOLD_S", 1)
    monkeypatch.setattr(etcd_election, "HOLD_S", 1)
    monkeypatch.setattr(gateway, "PATIENCE_S", 0.5)


def ask(where: str) -> Gateway:
    host, port = where.removeprefix("etcd://").partition("/")[0].split(":")
    return Gateway(host, int(port), where)


def content(where: str) -> dict[str, bytes]:
    """All keys of a store but those that say who writes."""
    prefix = where.rpartition("/")[2]
    with ask(where) as direct:
        found = {x.key.partition("/")[2]: x.value for x in direct.all(f"{prefix}/", f"{prefix}0")}
    return {key: value for key, value in found.items() if key not in ("alive", "writer")}


def leads(server: Etcd) -> bool:
    with ask(server.at("x")) as direct:
        status = direct.ask("maintenance/status", {})
    return bool(status["leader"] == status["header"]["member_id"])


def crowd(count: int, **changed: object) -> list[Record]:
    """So many port sets, of 16 ports each, lent for the first time."""
    sets = [
        ONE._replace(address=IPv4Address("198.51.100.0") + n // 4096, psid=n % 4096, psid_bits=12)
        for n in range(count)
    ]
    return [
        Record(n, n, n, LeaseChanged(lease._replace(number=n, since_ns=n, **changed)))
        for n, lease in enumerate(sets, 1)
    ]


def leases(records: Iterable[Record]) -> list[Lease]:
    return [x.event.lease for x in records if isinstance(x.event, LeaseChanged)]


def renumbered(records: list[Record], **changed: object) -> list[Record]:
    """The same port sets in the records after those, lent to the next borrower."""
    return [
        Record(n, n, n, LeaseChanged(lease._replace(number=n, since_ns=n, **changed)))
        for n, lease in enumerate(leases(records), len(records) + 1)
    ]


@contextlib.contextmanager
def writer(where: str, code: str = WRITER) -> Iterator[subprocess.Popen[str]]:
    """A process that commits without end, and says so each time; it has made one commit."""
    words, pipe = [sys.executable, "-c", code, where], subprocess.PIPE
    process = subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True, cwd=ROOT)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


# -- one writer


@pytest.mark.usefixtures("soon")
def test_a_second_one_is_refused_for_as_long_as_the_first_lives(where: str) -> None:
    first = open_store(where)
    time.sleep(1 + LAPSE_S)  # longer than a hold lasts: it has been renewed
    with pytest.raises(StoreError, match=r"another controller leads it \(somebody alone\)"):
        open_store(where)
    commit(first, ONE)
    first.close()
    begin = time.monotonic()
    second = open_store(where)
    assert time.monotonic() - begin < 1, "what was let go of is free at once"
    assert second.load() == (ONE,)
    second.close()


def test_a_successor_takes_over_soon_after_kill_9(where: str) -> None:
    with writer(where, WRITER.replace("etcd.HOLD_S = etcd_election.HOLD_S = 1", "")) as first:
        first.kill()
    begin = time.monotonic()
    second = take_over(where)
    assert etcd.HOLD_S * 0.5 < time.monotonic() - begin < etcd.HOLD_S + LAPSE_S
    assert len(second.load()) == 2
    second.close()


@pytest.mark.usefixtures("soon")
def test_one_that_was_replaced_while_it_stood_still_writes_nothing_more(where: str) -> None:
    with writer(where) as first:
        first.send_signal(signal.SIGSTOP)
        second = take_over(where)
        before = content(where)
        first.send_signal(signal.SIGCONT)
        _, said = first.communicate(timeout=20)
    assert first.returncode == 1
    assert f"DeposedError: lease store {where}: {HEIR.name} leads by now" in said
    assert content(where) == before
    last = second.last()
    assert last is not None
    second.commit([Record(last.number + 1, 1, 1, Mark("mine"))])
    second.close()


@pytest.mark.usefixtures("soon")
def test_a_hold_that_lapsed_is_taken_again(where: str) -> None:
    store = open_store(where)
    alive = f"{where.rpartition('/')[2]}/alive"
    with ask(where) as direct:
        held = direct.one(alive)
        assert held is not None
        leases = [x["ID"] for x in direct.ask("lease/leases", {})["leases"]]
        for lease in leases:
            direct.ask("lease/revoke", {"ID": lease})
        assert direct.one(alive) is None
        until(lambda: direct.one(alive) is not None, "the hold")
        again = direct.one(alive)
    assert again is not None
    assert again.value == held.value
    commit(store, ONE)
    store.close()


BUSY = """
import sys, time
from controller import ryu_compat
ryu_compat.prepare()
import eventlet
from controller.store import etcd, etcd_election, open_store
from tests.core.controller_shell.test_store import ONE, put

etcd.HOLD_S = etcd_election.HOLD_S = 1
store = open_store(sys.argv[1])
held = store._gateway.one(store._key("alive"))
ran = []
eventlet.spawn(ran.append, "other work")
put(store, ONE)
store.load()
assert not ran, "a commit gave way to other work"
eventlet.sleep(0)
assert ran
end = time.monotonic() + 3
while time.monotonic() < end:
    pass
assert store._gateway.one(store._key("alive")) == held, "the hold lapsed"
store.close()
"""


def test_in_a_controller_a_commit_gives_way_to_nothing_and_work_does_not_cost_the_hold(
    where: str,
) -> None:
    subprocess.run([sys.executable, "-c", BUSY, where], check=True, cwd=ROOT, timeout=60)


# -- what gets lost


@pytest.mark.parametrize(
    "mishaps", [("request",), ("answer",), ("answer", "answer"), ("request", "answer")]
)
def test_a_lost_message_is_made_good(
    server: Etcd, road: Road, where: str, mishaps: tuple[str, ...]
) -> None:
    prefix = where.rpartition("/")[2]
    road.lose(*mishaps)  # of opening
    store = open_store(server.at(prefix, road.server_port))
    commit(store, ONE)
    road.lose(*mishaps)
    commit(store, ONE._replace(state=LeaseState.QUARANTINED), TWO)
    assert not road.mishaps
    commit(store, TWO._replace(until_ns=7))
    assert [record.number for record in store.records()] == [1, 2, 3, 4]
    assert store.load() == (TWO._replace(until_ns=7), ONE._replace(state=LeaseState.QUARANTINED))
    store.close()


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("undoing", [(), ("request",), ("answer",), ("everything",)])
@pytest.mark.parametrize("failing", ["request", "everything"])
def test_a_commit_that_failed_has_not_happened_though_etcd_made_it(
    server: Etcd, road: Road, where: str, failing: str, undoing: tuple[str, ...]
) -> None:
    store = open_store(server.at(where.rpartition("/")[2], road.server_port))
    commit(store, ONE)
    before = content(where)
    moved = ONE._replace(server="CDG-s1", pop="CDG", number=2, since_ns=ONE.since_ns + 5)
    events: tuple[Event, ...] = (LeaseChanged(moved), PopSet("LHR", PopState.DRAINED))
    records = [Record(n, 5, 5, event) for n, event in enumerate(events, 2)]
    if failing == "request":
        road.closed = True
        with pytest.raises(StoreError, match="no answer in time"):
            store.commit(records)
        assert content(where) == before
    else:
        road.lose("everything")
        with pytest.raises(StoreError, match="no answer in time"):
            store.commit(records)
        assert content(where) != before
    road.closed = False
    road.lose("request", *undoing)
    if "everything" in undoing:
        with pytest.raises(StoreError, match="no answer in time"):
            store.commit([Record(2, 6, 6, Mark("nor this"))])
        road.closed = False
    store.commit([Record(2, 7, 7, LeaseChanged(TWO))])
    assert store.load() == (TWO, ONE)
    assert [x.event for x in store.records()] == [LeaseChanged(ONE), LeaseChanged(TWO)]
    assert (store.settings(), store.lendings()) == ((), 2)
    found = store.who(ONE.address, ONE.first_port, ONE.since_ns + 9)
    assert found is not None
    assert (found.server, found.ended_ns) == (ONE.server, None)
    store.close()


def test_a_refusal_does_not_hide_that_the_lost_sending_before_it_was_made(
    server: Etcd, road: Road, where: str
) -> None:
    store = open_store(server.at(where.rpartition("/")[2], road.server_port))
    road.lose("answer", "refusal")
    with pytest.raises(StoreError, match=r"space exceeded; compact"):
        store.commit(crowd(1))
    assert "log/00000000000000000001" in content(where)
    instead = [Record(1, 1, 1, Mark("instead"))]
    store.commit(instead)
    assert store.records() == tuple(instead)
    assert store.load() == ()
    store.close()


# -- a server in trouble


def test_without_a_server_it_is_said_at_once() -> None:
    (port,) = free_ports(1)
    begin = time.monotonic()
    with pytest.raises(StoreError, match=rf"{HOST}:{port}/x: cannot be reached .*; start etcd"):
        open_store(f"etcd://{HOST}:{port}/x")
    assert time.monotonic() - begin < 1


def test_what_is_no_etcd_is_refused() -> None:
    class Other(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_error(405)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer((HOST, 0), Other) as other:
        threading.Thread(target=other.serve_forever, args=(0.01,), daemon=True).start()
        with pytest.raises(StoreError, match="what answers is no etcd"):
            open_store(f"etcd://{HOST}:{other.server_port}/x")
        other.shutdown()


@pytest.mark.parametrize("text", ["etcd://", "etcd://h/x", "etcd://h:2379", "etcd://h:y/x"])
def test_an_address_is_whole(text: str) -> None:
    with pytest.raises(StoreError, match="write etcd://HOST:PORT/PREFIX"):
        open_store(text)


def test_a_server_that_is_killed_and_comes_back_has_lost_nothing(tmp_path: Path) -> None:
    with running(tmp_path) as (server,):
        store = open_store(server.at("x"))
        for turn in range(3):
            commit(store, ONE._replace(until_ns=turn))
            server.kill()
            with pytest.raises(StoreError, match="cannot be reached"):
                commit(store, ONE._replace(until_ns=99))
            server.start()
            server.wait()
        commit(store, TWO)
        assert store.load() == (TWO, ONE._replace(until_ns=2))
        assert [x.number for x in store.records()] == [1, 2, 3, 4]
        store.close()


@pytest.mark.usefixtures("soon")
def test_what_a_cluster_did_late_is_undone(tmp_path: Path) -> None:
    with running(tmp_path, members=2) as members:
        server, other = sorted(members, key=leads, reverse=True)
        store = open_store(server.at("x"))
        store.commit(crowd(1))
        other.kill()  # one of two is no majority
        late = renumbered(crowd(1), server="CDG-s1")
        with pytest.raises(StoreError, match=r"no answer in time .*most of its members"):
            store.commit(late)
        other.start()
        server.wait()
        with ask(server.at("x")) as direct:
            until(lambda: direct.one("x/log/00000000000000000002") is not None, "the late commit")
        instead = [Record(2, 2, 2, Mark("instead"))]
        store.commit(instead)
        assert store.records() == (*crowd(1), *instead)
        assert store.load() == tuple(leases(crowd(1)))
        store.close()


def test_a_full_server_is_told(tmp_path: Path) -> None:
    with running(tmp_path, "--quota-backend-bytes", "300000") as (server,):
        store = open_store(server.at("x"))
        marks = (Record(n, 1, 1, Mark(os.urandom(5000).hex())) for n in range(1, 1000))
        kept: list[Record] = []

        def fill() -> None:
            for mark in marks:
                store.commit([mark])
                kept.append(mark)

        told = r"space exceeded; .*--quota-backend-bytes"
        with pytest.raises(StoreError, match=told):
            fill()
        assert kept
        found = store.records()  # the one that filled it may be there, though it was refused
        assert found[: len(kept)] == tuple(kept)
        assert len(found) - len(kept) in (0, 1)
        with pytest.raises(StoreError, match=told):  # nobody else wrote to it
            store.commit([Record(len(kept) + 1, 1, 1, Mark("no room"))])
        store.close()


# -- sizes


def test_a_thousand_records_are_one_commit(where: str) -> None:
    store = open_store(where)
    lent = crowd(1000, client_id="c" * 100)
    store.commit(lent)
    moved = renumbered(lent, server="CDG-s1", pop="CDG")  # an end, a beginning and an entry each
    store.commit(moved)
    store.close()
    again = open_store(where)
    assert again.records() == (*lent, *moved)
    assert again.records(after=1990) == tuple(moved[990:])
    assert again.last() == moved[-1]
    assert again.load() == tuple(leases(moved))
    assert again.lendings() == 2000
    for at_ns, server in ((3, "LHR-s1"), (1003, "CDG-s1")):
        found = again.who(IPv4Address("198.51.100.0"), 2 * 16 + 5, at_ns)
        assert found is not None
        assert found.server == server
    again.close()


@pytest.mark.parametrize(
    ("count", "name", "option"), [(3000, "x", "txn-ops"), (1000, "x" * 2000, "request-bytes")]
)
def test_a_commit_that_is_too_large_is_refused_whole(
    where: str, count: int, name: str, option: str
) -> None:
    store = open_store(where)
    with pytest.raises(StoreError, match=f"etcd's --max-{option}"):
        store.commit(crowd(count, client_id=name))
    assert (store.load(), store.records(), store.lendings()) == ((), (), 0)
    store.commit(crowd(5))
    assert len(store.load()) == 5
    store.close()


def test_a_large_store_is_read_in_pages(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "PAGE", 7)
    store = open_store(where)
    records = crowd(100)
    for n in range(0, 100, 4):
        store.commit(records[n : n + 4])
    assert len(store.load()) == 100
    assert store.records() == tuple(records)
    assert store.records(after=9) == tuple(records[9:])
    store.close()


# -- beside SQLite's


def lives(seed: int, count: int) -> Iterator[list[tuple[int, Lease]]]:
    """What a book decides, and when, as it is asked for this and that; in groups of a few."""
    choose = random.Random(seed)
    book = Book([Pool(IPv4Network("203.0.113.0/31"))], 5, Terms(50, 20, 100))
    decided: list[tuple[int, Lease]] = []
    for now in range(1, count):
        held = choose.choice(book.live() or [ONE])
        what, server, bits = (
            choose.randrange(8),
            f"s{choose.randrange(6)}",
            choose.choice((4, 5, 7)),
        )
        where = (held.address, held.first_port)
        try:
            if what < 3:
                name = str(choose.randrange(4))
                done = [book.acquire(server, "LHR", now, psid_bits=bits, client_id=name)]
            elif what == 3:
                done = [book.revoke(*where, now)]
            elif what == 4:
                done = [book.drain(*where, now + 9)]
            elif what < 7:
                done = [book.move(*where, server, "CDG", now, choose.choice((None, now + 9)))]
            else:
                done = list(book.expire(now))
        except LendingError:
            continue
        book.apply(*done)
        decided += ((now, x.after) for x in done)
        if len(decided) > choose.randrange(6):
            yield decided
            decided = []


@pytest.mark.parametrize("seed", range(3))
def test_it_says_of_a_long_life_what_sqlite_says(where: str, tmp_path: Path, seed: int) -> None:
    stores = [open_store(str(tmp_path / "leases.sqlite")), open_store(where)]
    number = 0
    for decided in lives(seed, 500):
        events: list[tuple[int, Event | Note]] = [(0, Mark("next")), (0, WeightSet("s1", number))]
        events += [(now, LeaseChanged(lease)) for now, lease in decided]
        records = [Record(number + n, now, n, event) for n, (now, event) in enumerate(events, 1)]
        for store in stores:
            store.commit(records)
        number += len(records)
        if number % 5 == 0:  # what was learnt since it was opened does not matter
            stores[1].close()
            stores[1] = open_store(where)
    said = [
        (x.load(), x.lendings(), x.records(), x.records(number // 2), x.last(), x.settings())
        for x in stores
    ]
    assert said[0] == said[1]
    assert stores[0].lendings() > 50
    for at_ns in range(0, 520, 7):
        for port in range(2000, 1 << 16, 5001):
            address = IPv4Address("203.0.113.0") + at_ns % 2
            assert stores[0].who(address, port, at_ns) == stores[1].who(address, port, at_ns)
    for store in stores:
        store.close()


# -- what it refuses


def test_a_prefix_with_something_else_is_refused(where: str) -> None:
    prefix = where.rpartition("/")[2]
    with ask(where) as direct:
        direct.transact([], [put(f"{prefix}/mine", b"1")])
        with pytest.raises(StoreError, match="other keys below it; give --db another prefix"):
            open_store(where)
        direct.transact([], [delete(f"{prefix}/mine"), put(f"{prefix}/head", b'{"version": 99}')])
        with pytest.raises(StoreError, match="made by version 99, this is 1; give --db another"):
            open_store(where)
        direct.transact([], [put(f"{prefix}/head", b"[]")])
        with pytest.raises(StoreError, match="damaged: .*; give --db another prefix"):
            open_store(where)


def test_values_that_are_none_of_ours_are_told(where: str) -> None:
    store = open_store(where)
    commit(store, ONE)
    prefix = where.rpartition("/")[2]
    with ask(where) as direct:
        for key in content(where):
            direct.transact([], [put(f"{prefix}/{key}", json.dumps([1, -1, "gone"]).encode())])
    for look in (store.load, store.records):
        with pytest.raises(StoreError, match="damaged: "):
            look()
    with pytest.raises(StoreError, match="damaged: "):
        commit(store, TWO)
    store.close()


def test_who_removes_a_store_under_a_controller_stops_it(where: str) -> None:
    store = open_store(where)
    commit(store, ONE)
    prefix = where.rpartition("/")[2]
    with ask(where) as direct:
        everything = read(f"{prefix}/", f"{prefix}0")["request_range"]
        direct.ask("kv/deleterange", {name: everything[name] for name in ("key", "range_end")})
    with pytest.raises(StoreError, match="its keys were removed; start the controller anew"):
        store.commit([Record(2, 5, 5, LeaseChanged(TWO))])
    assert content(where) == {}
    store.close()
