"""Who leads a store: one at a time, in growing generations, and who was deposed writes nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from controller.core.events import Mark
from controller.store import (
    Candidate,
    DeposedError,
    Election,
    Record,
    Store,
    StoreError,
    etcd,
    etcd_election,
    open_election,
    open_store,
    sqlite_leader,
)
from controller.store.gateway import Gateway
from tests.core.controller_shell.test_store import ROOT
from tests.fakes.etcd import Etcd, running
from tests.fakes.stores import HEIR, take_over
from topologies.emulation.processes import until

NAMES = ("a", "b", "c")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    with running(tmp_path_factory.mktemp("etcd")) as (server,):
        yield server


@pytest.fixture(params=["sqlite", "etcd"])
def where(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where a store can be made, with terms of a second."""
    if request.param == "sqlite":
        return str(tmp_path / "leases.sqlite")
    monkeypatch.setattr(etcd, "HOLD_S", 1)
    monkeypatch.setattr(etcd_election, "HOLD_S", 1)
    server: Etcd = request.getfixturevalue("server")
    return server.at(tmp_path.name)


def mark(store: Store, text: str) -> None:
    last = store.last()
    store.commit([Record(last.number + 1 if last else 1, 1, 1, Mark(text))])


def texts(store: Store) -> list[str]:
    return [x.event.text for x in store.records() if isinstance(x.event, Mark)]


def test_one_leads_and_the_others_know_who(where: str) -> None:
    elections = [open_election(where, Candidate(name, f"host:{name}")) for name in NAMES]
    assert elections[0].leader() is None
    first = elections[1].campaign(lambda: None)
    assert first is not None
    assert [election.campaign(lambda: None) for election in elections] == [None] * 3
    assert {election.leader() for election in elections} == {first.leader}
    assert (first.leader.name, first.leader.at) == ("b", "host:b")
    first.close()
    second = elections[2].campaign(lambda: None)
    assert second is not None, "what was let go of is free at once"
    assert second.leader.generation > first.leader.generation
    for thing in (second, *elections):
        thing.close()


def test_all_who_make_a_store_at_once_stand_at_it(tmp_path: Path) -> None:
    together = threading.Barrier(4, timeout=10)

    def stand(name: str) -> None:
        for number in range(60):  # SQLite refuses one of four in every fifth round
            together.wait()
            election = open_election(str(tmp_path / str(number)), Candidate(name, ""))
            election.close()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(stand, "abcd")) == [None] * 4


def test_a_store_made_anew_is_of_a_later_generation(where: str, tmp_path: Path) -> None:
    store = open_store(where)
    other = open_store(str(tmp_path / "another.sqlite"))
    assert other.leader.generation >= store.leader.generation
    store.close()
    other.close()


STANDS_STILL = """
import sys
from controller.core.events import Mark
from controller.store import Candidate, Record, etcd, etcd_election, open_election

def say(word):
    print(word + "\\n", end="", flush=True)  # in one piece: two threads speak

etcd.HOLD_S = etcd_election.HOLD_S = 1
store = open_election(sys.argv[1], Candidate("first", "")).campaign(lambda: say("deposed"))
store.commit([Record(1, 1, 1, Mark("mine"))])
say("leads")
sys.stdin.readline()
try:
    store.commit([Record(2, 1, 1, Mark("stale"))])
except Exception as error:
    say(type(error).__name__)
sys.stdin.readline()
"""


def test_who_stood_still_finds_itself_deposed_and_writes_nothing(where: str) -> None:
    pipe = subprocess.PIPE
    words = [sys.executable, "-c", STANDS_STILL, where]
    first = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, cwd=ROOT)
    try:
        assert first.stdin is not None
        assert first.stdout is not None
        assert first.stdout.readline() == "leads\n"
        first.send_signal(signal.SIGSTOP)
        second = take_over(where)
        mark(second, "heir's")
        first.stdin.write("\n")
        first.stdin.flush()
        first.send_signal(signal.SIGCONT)
        said = {first.stdout.readline(), first.stdout.readline()}
        assert said == {"deposed\n", "DeposedError\n"}
        assert texts(second) == ["mine", "heir's"]
        second.close()
    finally:
        first.kill()
        first.communicate()


def test_a_leader_without_rivals_that_stood_still_goes_on(where: str) -> None:
    pipe = subprocess.PIPE
    words = [sys.executable, "-c", STANDS_STILL, where]
    first = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, cwd=ROOT)
    try:
        assert first.stdin is not None
        assert first.stdout is not None
        first.stdout.readline()
        first.send_signal(signal.SIGSTOP)
        election = open_election(where, HEIR)
        until(lambda: _lapsed(election), "the term to end", 10)
        first.send_signal(signal.SIGCONT)
        until(lambda: not _lapsed(election), "the sign of life", 10)
        assert election.campaign(lambda: None) is None
        first.communicate("\n\n", timeout=10)
        store = election.campaign(lambda: None) or take_over(where)
        assert texts(store) == ["mine", "stale"], "nobody else led meanwhile"
        store.close()
        election.close()
    finally:
        first.kill()
        first.communicate()


def _lapsed(election: Any) -> bool:
    """Whether the leader of a store gave no sign of life for a term."""
    if isinstance(election, etcd_election.EtcdElection):
        return election._gateway.one(election._key("alive")) is None
    return sqlite_leader.term_is_over(election._db)


def test_the_leader_is_told_once_when_it_is_deposed(where: str) -> None:
    told = threading.Event()
    election = open_election(where, Candidate("first", ""))
    first = election.campaign(told.set)
    assert first is not None
    _make_vacant(where, first)
    second = take_over(where)
    assert told.wait(10)
    with pytest.raises(DeposedError, match="second leads by now"):
        mark(first, "stale")
    mark(second, "heir's")
    for thing in (first, second, election):
        thing.close()


def _make_vacant(where: str, store: Any) -> None:
    """Have a leader's term end although it lives."""
    if not where.startswith("etcd://"):
        store._db.execute("UPDATE leader SET until_ns = 0")
        return
    host, port = where.removeprefix("etcd://").partition("/")[0].split(":")
    with Gateway(host, int(port), where) as direct:
        found = direct.ask("lease/leases", {})["leases"]
        for lease in found:
            direct.ask("lease/revoke", {"ID": lease["ID"]})


class Rivals(RuleBasedStateMachine):
    """Three controllers that lead, close, stand still and go on, in any order.

    The model: the log has what was committed while its writer was the last one elected.
    """

    folder: Path
    numbers = 0

    def __init__(self) -> None:
        super().__init__()
        Rivals.numbers += 1
        self.where = str(self.folder / f"{Rivals.numbers}.sqlite")
        self.elections: dict[str, Election] = {
            name: open_election(self.where, Candidate(name, "")) for name in NAMES
        }
        self.stores: dict[str, Store] = {}
        self.latest: Store | None = None
        self.generations: list[int] = []
        self.kept: list[str] = []

    @rule(name=st.sampled_from(NAMES))
    def campaign(self, name: str) -> None:
        if name in self.stores:
            return
        store = self.elections[name].campaign(lambda: None)
        held = self.latest is not None
        assert (store is None) == held
        if store is not None:
            self.stores[name] = self.latest = store
            self.generations.append(store.leader.generation)

    @rule()
    def stand_still(self) -> None:
        """The term of who leads ends; it does not know."""
        if self.latest is not None:
            _make_vacant(self.where, self.latest)
            self.latest = None

    @rule(name=st.sampled_from(NAMES))
    def commit(self, name: str) -> None:
        store = self.stores.get(name)
        if store is None:
            return
        text = f"{name}{len(self.kept)}"
        try:
            mark(store, text)
        except DeposedError:
            assert store.leader.generation < self.generations[-1]
        else:
            assert store.leader.generation == self.generations[-1]
            self.kept.append(text)

    @rule(name=st.sampled_from(NAMES))
    def close(self, name: str) -> None:
        store = self.stores.pop(name, None)
        if store is not None:
            self.latest = None if store is self.latest else self.latest
            store.close()

    @invariant()
    def generations_only_grow(self) -> None:
        assert self.generations == sorted(set(self.generations))

    def teardown(self) -> None:
        for thing in (*self.stores.values(), *self.elections.values()):
            thing.close()
        reader = open_store(self.where)
        assert texts(reader) == self.kept
        reader.close()


def test_rivals_in_any_order_write_one_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rivals, "folder", tmp_path, raising=False)
    monkeypatch.setattr("controller.store.sqlite.Hold", _Unrenewed)
    few = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    run_state_machine_as_test(Rivals, settings=few)


class _Unrenewed:
    """A hold that gives no sign of life, so that terms end when a test says so."""

    def __init__(self, *_: object) -> None:
        pass

    def __enter__(self) -> _Unrenewed:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_who_made_a_store_and_stood_by_does_not_remove_it_when_it_has_lost_commits(
    tmp_path: Path,
) -> None:
    path = tmp_path / "leases.sqlite"
    election = open_election(str(path), HEIR)
    store = open_store(str(path))
    mark(store, "kept")
    store.close()
    told = Path(f"{path}.mark")
    told.write_text(told.read_text().replace(f"{1:20}", f"{9:20}"))
    with pytest.raises(StoreError, match="9 commits were made, and it knows of 1"):
        election.campaign(lambda: None)
    election.close()
    assert path.exists()


DIES = """
import os, signal, sys
from controller.store import open_store

store = open_store(sys.argv[1])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_file_is_free_as_soon_as_its_leader_is_dead(tmp_path: Path) -> None:
    where = str(tmp_path / "leases.sqlite")
    subprocess.run([sys.executable, "-c", DIES, where], cwd=ROOT, check=False)
    store = open_store(where)
    with pytest.raises(StoreError, match="another controller leads it"):
        open_store(where)
    store.close()
