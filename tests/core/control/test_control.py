"""The control socket without a lab: words, places, server and client on a lab of straw."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from experiments.control import places
from experiments.control.client import GoneError, Remote
from experiments.control.server import LONGEST, serving
from experiments.control.words import Control, find_link, link_name, words
from experiments.errors import TrialError, UsageError
from experiments.runs.testbed import Place
from topologies import explicit
from topologies.emulation.links import Histogram, Impairment, LinkStats
from topologies.emulation.processes import LabError
from topologies.plan import plan
from topologies.sources import load

PLAN = plan(load("triangle"))


class Straw:
    """What a Testbed would do, written down."""

    plan = PLAN
    controller_places = (Place.of(1), Place.of(2))

    def __init__(self) -> None:
        self.done: list[Any] = []
        self.cut_links: set[int] = set()
        self.killed: set[str] = set()
        self.floods: dict[str, int] = {}
        self.emulated_links = tuple(link for link in PLAN.links if link.line.delay_ns)
        self.emulator = self.controller_api = self
        self.name = "straw"
        self.shape = {x.number: Impairment.of(x.line) for x in self.emulated_links}
        self.alive = True

    # the lab

    def programs(self) -> tuple[Any, ...]:
        return ()

    all_programs = programs

    def program(self, name: str) -> None:
        if name != "agent":
            raise LabError(f"The lab has no program {name!r}.")

    def kill(self, name: str) -> None:
        self.done.append(("kill", name))

    def end(self, name: str) -> None:
        self.done.append(("end", name))

    def planned(self, link: Any) -> Impairment:
        return Impairment.of(link.line)

    def set_link(self, link: Any, up: bool) -> None:
        self.done.append(("plug" if up else "pull", link_name(link)))
        (self.cut_links.discard if up else self.cut_links.add)(link.number)

    def flood(self, target: str, address: object, port: int, bit_s: int) -> None:
        self.floods[target] = bit_s
        self.done.append(("flood", str(address), port, bit_s))

    def spare(self, target: str) -> None:
        del self.floods[target]

    def bind(self, how: str, among: Any) -> None:
        self.done.append(("bind", how, *map(str, among)))

    # the emulator

    def set(self, number: int, *, a_to_b: Impairment, b_to_a: Impairment) -> None:
        assert a_to_b == b_to_a
        self.shape[number] = a_to_b

    def read(self, number: int) -> tuple[Impairment, Impairment]:
        return self.shape[number], self.shape[number]

    def read_many(self, numbers: Any) -> dict[int, tuple[Impairment, Impairment]]:
        return {number: self.read(number) for number in numbers}

    def stats(self) -> dict[int, tuple[LinkStats, LinkStats]]:
        nothing = LinkStats(3, 300, {"loss": 1}, Histogram())
        return dict.fromkeys(self.shape, (nothing, nothing))

    # the controller

    def status(self) -> dict[str, Any]:
        if not self.alive:
            raise ConnectionRefusedError
        leader = {"name": "controller-2", "at": "127.0.0.1:8081", "generation": 7}
        return {"ready": True, "fault": None, "leader": leader, "switches": {}}

    def leases(self) -> list[Any]:
        if not self.alive:
            raise ConnectionRefusedError
        return []

    def world(self) -> dict[str, Any]:
        return {"pops": {}}

    def happen(self, event: dict[str, Any]) -> None:
        if event.get("pop") == "CDG":
            raise TrialError("The controller refused: triangle has no PoP CDG")
        self.done.append(event)

    def events(self, after: int, wait_s: int) -> list[dict[str, Any]]:
        marks = [x for x in self.done if isinstance(x, dict) and x["event"] == "Mark"]
        if wait_s and len(marks) <= after:
            raise ConnectionRefusedError  # the end of the stream, for the test
        return [{"number": n, **x} for n, x in enumerate(marks, 1)][after:]


@contextmanager
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[Straw, Path]]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    straw = Straw()
    with places.opened("triangle") as door:
        monkeypatch.setenv(places.HANDED_IN, str(os.dup(door.socket.fileno())))
        with serving(Control(straw, "up")):  # type: ignore[arg-type]
            yield straw, places.find(None)


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[Straw, Remote]]:
    with served(monkeypatch, tmp_path) as (straw, path):
        yield straw, Remote(path)


# -- words


@pytest.mark.parametrize("name", ["LHR-FCO", "FCO-LHR", "tLHR-tFCO", "tFCO-tLHR"])
def test_a_link_has_the_name_of_its_ends_in_either_order(name: str) -> None:
    link = find_link(PLAN, name)
    assert {link.a.node, link.b.node} == {"tLHR", "tFCO"}


def test_every_link_is_found_by_its_name() -> None:
    assert [find_link(PLAN, link_name(link)) for link in PLAN.links] == list(PLAN.links)
    with pytest.raises(UsageError, match="triangle has no link 'LHR-LHR'; its links are LHR-ARN"):
        find_link(PLAN, "LHR-LHR")


def test_names_are_bound_to_service_addresses_alone() -> None:
    straw = Straw()
    prefix = IPv4Network("198.51.100.0/29")
    straw.plan = plan(replace(load("triangle"), service_prefixes=(prefix,)))
    control = Control(straw, "up")  # type: ignore[arg-type]
    control.names_bind("static")
    control.names_bind("random", among="198.51.100.0/30, 198.51.100.5", without="198.51.100.1")
    bound = [x for x in straw.done if isinstance(x, tuple)]
    some = [f"198.51.100.{x}" for x in ("0/32", "2/31", "5/32")]
    assert bound == [("bind", "static", str(prefix)), ("bind", "random", *some)]
    for given, cause in (
        ({"names": "all"}, "not 'all'"),
        ({"names": "one", "among": "10.0.0.1"}, "10.0.0.1 is no service address"),
        ({"names": "one", "among": "shop"}, "no list of prefixes"),
        ({"names": "one", "without": str(prefix)}, "No service address is left"),
    ):
        with pytest.raises(UsageError, match=cause):
            control.names_bind(**given)


def test_words_have_a_subject_and_a_verb_and_say_what_they_do() -> None:
    assert {"status", "link.cut", "pop.drain", "lease.revoke", "note"} <= words().keys()
    assert all(method.__doc__ for method in words().values())


def test_what_is_done_to_a_link_is_logged_first_and_undone_by_restore() -> None:
    straw = Straw()
    control = Control(straw, "up")  # type: ignore[arg-type]
    link = find_link(PLAN, "LHR-FCO")
    planned = Impairment.of(link.line)
    control.link_cut("LHR-FCO")
    command = {"event": "Command", "word": "link.cut", "params": {"link": "LHR-FCO"}}
    assert straw.done == [command, ("pull", "FCO-LHR")]
    control.link_set("LHR-FCO", delay="30 ms", loss="1%", rate="10 Mbit")
    wanted = replace(planned, delay_ns=30_000_000, loss=0.01, rate_bit_s=10_000_000)
    assert straw.shape[link.number] == wanted
    control.link_blackhole("LHR-FCO")
    assert straw.shape[link.number] == replace(planned, blackhole=True)
    (shown,) = (x for x in control.links() if x["link"] == "FCO-LHR")
    assert shown["cut"]
    assert shown["ways"][0]["blackhole"]
    control.link_restore("LHR-FCO")
    assert straw.shape[link.number] == planned
    assert straw.done[-1] == ("plug", "FCO-LHR")
    assert not straw.cut_links


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        ({"delay": "30"}, "has no unit of time"),
        ({"loss": "200 %"}, "loss is 2.0, not a probability"),
        ({}, "does that already"),
        ({"rate": "0 bit"}, "rate_bit_s is 0"),
    ],
)
def test_what_a_link_cannot_do_is_refused_in_words(given: dict[str, str], cause: str) -> None:
    straw = Straw()
    with pytest.raises(UsageError, match=cause):
        Control(straw, "up").link_set("LHR-FCO", **given)  # type: ignore[arg-type]
    assert straw.done == []


def test_a_rate_is_taken_off_a_link() -> None:
    straw = Straw()
    control = Control(straw, "up")  # type: ignore[arg-type]
    link = find_link(PLAN, "LHR-FCO")
    control.link_set("LHR-FCO", delay="30 ms", rate="10 Mbit")
    control.link_set("LHR-FCO", rate="none")
    assert straw.shape[link.number] == replace(Impairment.of(link.line), delay_ns=30_000_000)


@pytest.mark.parametrize(
    ("target", "aim"),
    [
        ("LHR-s1", ("172.17.0.1", 9)),
        ("198.51.100.1", ("198.51.100.1", 9)),
        ("203.0.113.0:2048", ("203.0.113.0", 2048)),
        ("203.0.113.7", ("203.0.113.7", 9)),
    ],
)
def test_a_target_is_flooded_until_it_is_spared(target: str, aim: tuple[str, int]) -> None:
    straw = Straw()
    control = Control(straw, "up")  # type: ignore[arg-type]
    control.target_flood(target, "5 Mbit/s")
    said = {"target": target, "rate": "5 Mbit/s"}
    command = {"event": "Command", "word": "target.flood", "params": said}
    assert straw.done == [command, ("flood", *aim, 5_000_000)]
    assert control.status()["floods"] == {target: 5_000_000}
    control.target_spare(target)
    assert control.status()["floods"] == {}
    with pytest.raises(UsageError, match="Nobody floods"):
        control.target_spare(target)


@pytest.mark.parametrize(
    ("target", "rate", "cause"),
    [
        ("LHR-s9", "5 Mbit", "triangle has no target 'LHR-s9': name a host, an address"),
        ("192.0.2.1", "5 Mbit", "192.0.2.1 is no address of triangle"),
        ("192.0.2.1:2048", "5 Mbit", "192.0.2.1 is no address of triangle"),
        ("LHR-s1", "5", "is not a rate|has no unit"),
        ("LHR-s1", "1 Gbit", "none that this kit can send: use 10 kbit to 100 Mbit"),
        ("LHR-s1", "1 kbit", "none that this kit can send"),
    ],
)
def test_what_cannot_be_flooded_is_refused_in_words(target: str, rate: str, cause: str) -> None:
    straw = Straw()
    with pytest.raises(UsageError, match=cause):
        Control(straw, "up").target_flood(target, rate)  # type: ignore[arg-type]
    assert straw.done == []


def test_a_plain_cable_can_only_be_cut() -> None:
    straw = Straw()
    control = Control(straw, "up")  # type: ignore[arg-type]
    control.link_cut("LHR-s1-eLHR")
    with pytest.raises(UsageError, match="it can only be cut"):
        control.link_set("LHR-s1-eLHR", delay="1 ms")


# -- the socket


def test_a_word_travels_and_its_answer_comes_back(lab: tuple[Straw, Remote]) -> None:
    straw, remote = lab
    assert remote.call("status")["network"] == "triangle"
    assert remote.call("pop.drain", pop="LHR") is None
    command = {"event": "Command", "word": "pop.drain", "params": {"pop": "LHR"}}
    assert straw.done == [{"event": "PopSet", "pop": "LHR", "state": "drained"}, command]
    assert "FCO-LHR" in remote.call("names")["link"]
    assert explicit.parse(remote.call("network")) == PLAN.network


@pytest.mark.parametrize(
    ("method", "params", "cause"),
    [
        ("pop.explode", {}, "there is no method 'pop.explode': status"),
        ("_happen", {"kind": "Mark"}, "there is no method"),
        ("pop.drain", {}, "pop.drain: pop: Missing required argument"),
        ("pop.drain", {"pop": 7}, "pop: Input should be a valid string"),
        ("pop.drain", {"pop": "LHR", "now": True}, "now: Unexpected keyword argument"),
        ("pop.drain", {"pop": "CDG"}, "triangle has no PoP CDG"),
        ("link.cut", {"link": "LHR"}, "triangle has no link 'LHR'"),
        ("program.kill", {"program": "foo"}, "no program 'foo'"),
    ],
)
def test_what_cannot_be_is_refused_and_not_logged(
    lab: tuple[Straw, Remote], method: str, params: dict[str, Any], cause: str
) -> None:
    straw, remote = lab
    with pytest.raises(TrialError) as refused:
        remote.call(method, **params)
    assert cause in str(refused.value)
    assert straw.done == []


def test_a_defect_behind_a_word_is_told_and_the_lab_goes_on(
    lab: tuple[Straw, Remote], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    straw, remote = lab
    monkeypatch.setattr(Straw, "world", lambda _: {}["pops"])
    with pytest.raises(TrialError, match=r"world: a defect of poplab's own \(KeyError: 'pops'\)"):
        remote.call("world")
    assert "Traceback" in capsys.readouterr().err
    assert remote.call("leases") == []
    assert straw.done == []


@pytest.mark.parametrize("ports", [{"port": 0}, {"port": 99999}, {"source_port": -1}])
def test_no_packet_is_explained_to_a_port_that_cannot_be(
    lab: tuple[Straw, Remote], ports: dict[str, int]
) -> None:
    with pytest.raises(TrialError, match="A port is a number from 1 to 65535"):
        lab[1].call("explain", host="LHR-c1", destination="198.51.100.1", **ports)


@pytest.mark.parametrize(
    ("when", "cause"),
    [
        ({"ago": "-1 min"}, "less than nothing"),
        ({"ago": "2 h"}, "write a number and a unit"),
        ({"at_ns": 1 << 62}, "Nobody knows yet"),
        ({"at_ns": 1, "ago": "1 s"}, "not both"),
    ],
)
def test_who_is_asked_of_the_past_alone(
    lab: tuple[Straw, Remote], when: dict[str, Any], cause: str
) -> None:
    with pytest.raises(TrialError, match=cause):
        lab[1].call("who", lease="203.0.113.0:2048", **when)


@pytest.mark.parametrize(
    "body", [b"x", b"[]", b"{}", b'{"method": 1}', b'{"method": "status", "params": []}', b"\xff"]
)
def test_any_bytes_are_answered_with_an_error(lab: tuple[Straw, Remote], body: bytes) -> None:
    _, remote = lab
    answer = _post(remote, body)
    assert answer["error"]["code"] in (-32700, -32602)
    assert remote.call("status")["ready"]


def test_an_endless_call_is_not_read(lab: tuple[Straw, Remote]) -> None:
    _, remote = lab
    assert str(LONGEST) in _post(remote, b"", length=LONGEST + 1)["error"]["message"]


def _post(remote: Remote, body: bytes, length: int | None = None) -> Any:
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(5)
        one.connect(str(remote._path))
        size = len(body) if length is None else length
        one.sendall(b"POST / HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % size + body)
        answer = b""
        while chunk := one.recv(65536):
            answer += chunk
    return json.loads(answer.split(b"\r\n\r\n", 1)[1])


def test_without_its_controller_a_lab_says_so(lab: tuple[Straw, Remote]) -> None:
    straw, remote = lab
    straw.alive = False
    status = remote.call("status")
    assert (status["fault"], status["leader"]) == ("the controller does not answer", None)
    with pytest.raises(TrialError, match="controller does not answer"):
        remote.call("leases")


def test_events_stream_as_they_are(lab: tuple[Straw, Remote]) -> None:
    _, remote = lab
    remote.call("note", text="one")
    remote.call("note", text="two")
    assert [event["text"] for event in remote.events()] == ["one", "two"]
    assert [event["text"] for event in remote.events(after=1)] == ["two"]


def test_callers_at_once_are_all_served(lab: tuple[Straw, Remote]) -> None:
    straw, remote = lab
    threads = [
        threading.Thread(target=remote.call, args=("note",), kwargs={"text": str(n)})
        for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {event["text"] for event in straw.done} == {str(n) for n in range(20)}


# -- places


def test_a_socket_is_its_owners_alone_and_gone_with_the_lab(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with served(monkeypatch, tmp_path) as (_, path):
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
        with places.opened("triangle"):
            assert list(places.labs()) == ["triangle", "triangle-2"]
            with pytest.raises(UsageError, match="say --lab with one of triangle, triangle-2"):
                places.find(None)
            assert places.find("triangle-2").stem == "triangle-2"
        assert places.find(None) == path
    assert not path.exists()
    with pytest.raises(GoneError):
        Remote(path).call("status")
    with pytest.raises(UsageError, match="No lab is running"):
        places.find(None)


def test_what_a_killed_lab_left_is_taken_away(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    program = "from experiments.control import places; import os\n"
    program += "with places.opened('triangle'): os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", program], check=False)
    (left,) = (tmp_path / "poplab").iterdir()
    assert left.name == "triangle.sock"
    assert places.labs() == {}
    assert not left.exists()


def test_a_folder_of_somebody_else_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "poplab").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="set XDG_RUNTIME_DIR to a folder of yours"):
        places.folder()


def test_a_folder_that_cannot_be_made_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "file"))
    with pytest.raises(UsageError, match="set XDG_RUNTIME_DIR to a folder of yours"):
        places.folder()


def test_nobody_takes_a_lab_that_begins_for_a_dead_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    bind = socket.socket.bind

    def slowly(made: socket.socket, address: str) -> None:
        bind(made, address)
        places.labs()  # somebody looks before it listens

    monkeypatch.setattr(socket.socket, "bind", slowly)
    with places.opened("triangle") as door:
        assert places.labs() == {"triangle": door.path}
        assert [x.name for x in door.path.parent.iterdir()] == ["triangle.sock"]
        with places.opened("triangle"):
            assert list(places.labs()) == ["triangle", "triangle-2"]


def test_a_lab_that_ends_leaves_the_socket_of_another_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with ExitStack() as second:
        with places.opened("triangle"):
            places.find("triangle").unlink()
            second.enter_context(places.opened("triangle"))
        assert list(places.labs()) == ["triangle"]


def test_prefixes_of_any_size_are_answered_at_once() -> None:
    with pytest.raises(UsageError, match=r"0\.0\.0\.0 is no service address"):
        Control(Straw(), "up").names_bind("one", among="0.0.0.0/0")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        ({"tag": "gold"}, "no pool is tagged 'gold'"),
        ({"client_id": "x" * 65}, "at most 64 bytes"),
    ],
)
def test_an_agent_is_not_asked_for_what_cannot_be_lent(given: dict[str, str], cause: str) -> None:
    straw = Straw()
    with pytest.raises(UsageError, match=cause):
        Control(straw, "up").server_borrow("LHR-s1", **given)  # type: ignore[arg-type]
    assert straw.done == []


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        ({"source": "2001:db8::1", "destination": "198.51.100.1"}, "sends no IPv4 packet"),
        ({"destination": "fe80::1%a,b"}, "names an interface"),
    ],
)
def test_no_packet_of_two_families_or_of_an_interface_is_explained(
    given: dict[str, str], cause: str
) -> None:
    with pytest.raises(UsageError, match=cause):
        Control(Straw(), "up").explain("LHR-c1", **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("word", ["program.restart", "server.restart", "server.kill"])
def test_what_the_lab_refuses_is_not_logged(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    straw = Straw()

    def refused(*_: object) -> None:
        raise LabError("it is running")

    monkeypatch.setattr(straw, "restart", refused, raising=False)
    monkeypatch.setattr(straw, "serve", refused, raising=False)
    subject = word.partition(".")[0]
    name = "controller" if subject == "program" else "LHR-s1"
    with pytest.raises(LabError):
        Control(straw, "up").say(word, {subject: name})  # type: ignore[arg-type]
    assert straw.done == []
