"""The server of a live view by an HTTP client: who is let in, what is told, what is done."""

from __future__ import annotations

import asyncio
import http.client
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from experiments.control import places, scenario, trace
from experiments.errors import TrialError, UsageError
from experiments.live import commands, doors, server
from experiments.live.markup import FILES
from tests.fakes.lab import FakeLab, running
from tests.fakes.live import Link, ask, events, serving_live, until
from tests.fakes.way import ASKED, BACK, THERE, WAY
from topologies.plan import plan
from topologies.sources import load

PLAN = plan(load("triangle"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("live")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(made))
        yield made


@pytest.fixture(scope="module")
def quiet(folder: Path) -> Iterator[Link]:
    """A live view of a lab that nobody changes."""
    with running(PLAN), serving_live(places.find(None)) as link:
        yield link


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[FakeLab, Link]]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with running(PLAN) as lab, serving_live(places.find(None)) as link:
        yield lab, link


# -- beside a lab that starts


def test_the_page_of_a_lab_that_starts_waits_for_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    begin = commands.beside("real")
    begin(tmp_path / "poplab" / "triangle.sock")
    _, _, place, token, _ = capsys.readouterr().err.removeprefix("In a browser: ").split("/")
    with running(PLAN):
        assert ask(Link(int(place.partition(":")[2]), token), "").status == 200


def test_a_lab_in_virtual_time_has_no_page() -> None:
    with pytest.raises(UsageError, match="real time"):
        commands.beside("virtual")


# -- round trips


def test_clients_ping_while_somebody_looks(live: tuple[FakeLab, Link]) -> None:
    lab, link = live
    lab.rtts["FCO-c1"] = None
    with events(link) as told:
        view = until(told, "view", lambda view: view["phase"] == "up")
        assert view["probing"]
        trips = {trip["client"]: trip for trip in until(told, "trips", bool)}
        assert (trips["LHR-c1"]["rtt_ms"], trips["LHR-c1"]["pop"]) == (5.0, "LHR")
        assert trips["FCO-c1"]["rtt_ms"] is None
        assert trips["LHR-c1"]["model_ms"] == trips["LHR-c1"]["best_ms"] > 0
        assert ask(link, "probing", {"on": False}).data == {"said": "probing off"}
        assert not until(told, "view", lambda view: not view["probing"])["probing"]


@pytest.mark.parametrize("said", [[], {}, {"on": 1}, {"on": None}])
def test_probing_is_on_or_off(quiet: Link, said: Any) -> None:
    assert ask(quiet, "probing", said).status == 400


# -- who is let in

CUT = {"word": "link.cut", "params": {"link": "LHR-FCO"}}


def test_the_page_and_every_file_of_it_are_there(quiet: Link) -> None:
    page = ask(quiet, "")
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert 'data-link="FCO-LHR"' in page.text
    for name in FILES:
        assert ask(quiet, name).status == 200
    assert ask(quiet, "main.js").headers["Content-Type"].startswith("text/javascript")
    assert ask(quiet, "live.html").status == 404
    assert ask(quiet, "..%2fmarkup.py").status == 404


@pytest.mark.parametrize("path", ["", "main.js", "events", "scenario.yaml", "nothing"])
@pytest.mark.parametrize(
    ("other", "cause"),
    [
        ({"token": "guess"}, "another token"),
        ({"token": ""}, "another token"),
        ({"token": "%ff%fe"}, "another token"),
        ({"Host": "evil.example"}, "no host of ours"),
        ({"Host": "127.0.0.1:1"}, "no host of ours"),
        ({"Host": "127.0.0.1"}, "no host of ours"),
        ({"Origin": "http://evil.example"}, "from elsewhere"),
        ({"Origin": "null"}, "from elsewhere"),
        ({"Origin": "http://127.0.0.1:1"}, "from elsewhere"),
    ],
)
def test_whoever_does_not_come_by_the_link_is_refused(
    quiet: Link, path: str, other: dict[str, str], cause: str
) -> None:
    refused = ask(quiet, path, **other)
    assert refused.status == 403
    assert cause in refused.text
    assert quiet.token not in refused.text
    assert "script-src 'self'" in refused.headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["act", "undo"])
@pytest.mark.parametrize(
    ("other", "cause"),
    [
        ({"Origin": ""}, "where it comes from"),
        ({"Origin": "http://evil.example"}, "from elsewhere"),
        ({"Origin": "null"}, "from elsewhere"),
        ({"Host": "evil.example"}, "no host of ours"),
        ({"token": "guess"}, "another token"),
    ],
)
def test_another_page_changes_nothing(
    live: tuple[FakeLab, Link], path: str, other: dict[str, str], cause: str
) -> None:
    lab, link = live
    before = len(lab.records)
    refused = ask(link, path, CUT, **other)
    assert refused.status == 403
    assert cause in refused.text
    assert len(lab.records) == before
    assert not lab.cut_links


@pytest.mark.parametrize("path", ["", "main.js", "events", "act", "nothing"])
def test_every_answer_forbids_to_fetch_from_elsewhere(quiet: Link, path: str) -> None:
    with ExitStack() as stack:
        if path == "events":
            connection = http.client.HTTPConnection("127.0.0.1", quiet.port, timeout=10)
            stack.callback(connection.close)
            connection.request("GET", f"/{quiet.token}/events")
            headers = connection.getresponse().headers
        else:
            headers = ask(quiet, path).headers
    policy = dict(
        part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert {policy[x] for x in ("script-src", "style-src", "connect-src", "img-src")} == {"'self'"}
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"


def test_a_tunnel_may_call_this_machine_localhost(quiet: Link) -> None:
    assert ask(quiet, "", Host=f"localhost:{quiet.port}").status == 200


def test_only_this_machine_is_listened_to() -> None:
    with server.listening() as one:
        assert one.getsockname()[0] == "127.0.0.1"
    with server.listening() as one, pytest.raises(OSError, match="in use"):
        server.listening(one.getsockname()[1])


def test_no_two_tokens_are_alike() -> None:
    made = {server.new_token() for _ in range(100)}
    assert len(made) == 100
    assert min(map(len, made)) >= 32


# -- what is told


def test_a_page_is_told_the_state_the_log_and_what_changes(live: tuple[FakeLab, Link]) -> None:
    lab, link = live
    with events(link) as told:
        view = until(told, "view", lambda view: view["phase"] == "up")
        assert view["lab"]["cities"]["LHR"] == "LHR"
        assert view["undo"] is None
        lab.happen({"event": "PopSet", "pop": "LHR", "state": "withdrawn"})
        view = until(told, "view", lambda view: view["lab"]["cities"]["LHR"] != "LHR")
        assert view["lab"]["network"] == "triangle"
        lab.happen({"event": "Mark", "text": "half time"})
        log = until(told, "log", lambda log: log["lines"])
        while "half time" not in log["lines"][-1]:
            log = until(told, "log", lambda log: log["lines"])


def test_a_controller_that_is_away_is_told_and_so_is_its_return(live: tuple[FakeLab, Link]) -> None:
    lab, link = live
    with events(link) as told:
        until(told, "view", lambda view: view["phase"] == "up")
        lab.alive = False
        view = until(told, "view", lambda view: not view["lab"]["ready"])
        assert "controller does not answer" in view["lab"]["fault"]
        lab.alive = True
        until(told, "view", lambda view: view["lab"]["ready"])


def test_a_lab_that_ends_is_told_and_so_is_the_next(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with ExitStack() as first:
        first.enter_context(running(PLAN))
        path = places.find(None)
        with serving_live(path) as link, events(link) as told:
            until(told, "view", lambda view: view["phase"] == "up")
            assert ask(link, "act", CUT).status == 200
            until(told, "view", lambda view: view["undo"])
            first.close()
            until(told, "view", lambda view: view["phase"] == "ended")
            assert ask(link, "act", CUT).data == {"error": "The lab has ended."}
            with running(PLAN) as lab:
                view = until(told, "view", lambda view: view["phase"] == "up")
                assert (view["undo"], view["edition"]) == (None, 0)
                lab.happen({"event": "Mark", "text": "another"})
                log = until(told, "log", lambda log: log["whole"])
                assert not any("link cut" in line for line in log["lines"])


def test_another_network_at_the_same_place_is_another_edition(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    other = load("triangle")
    other = type(other)(**{**_fields(other), "links": other.links[:2]})
    with ExitStack() as first:
        first.enter_context(running(PLAN))
        with serving_live(places.find(None)) as link, events(link) as told:
            until(told, "view", lambda view: view["phase"] == "up")
            first.close()
            until(told, "view", lambda view: view["phase"] == "ended")
            with running(plan(other)):
                view = until(told, "view", lambda view: view["phase"] == "up")
                assert view["edition"] == 1
                assert len(view["lab"]["links"]) == 2
                assert 'data-link="FCO-LHR"' not in ask(link, "").text


def _fields(network: Any) -> dict[str, Any]:
    return {name: getattr(network, name) for name in network.__dataclass_fields__}


def test_a_lab_that_does_not_answer_is_no_lab_to_view(tmp_path: Path) -> None:
    with pytest.raises(TrialError, match="does not answer"):
        server.application(tmp_path / "none.sock", 1, "token")


def test_a_lab_is_asked_only_while_a_page_is_open(live: tuple[FakeLab, Link]) -> None:
    lab, link = live
    assert ask(link, "").status == 200
    time.sleep(1)
    assert lab.asked == 0
    with events(link) as told:
        until(told, "view", lambda view: view["phase"] == "up")
        before = lab.asked
        time.sleep(1.5)
        assert lab.asked >= before + 2
    time.sleep(3)  # it is noticed by a beat that cannot be sent
    before = lab.asked
    time.sleep(1.5)
    assert lab.asked == before


# -- what is done


def test_acts_are_done_in_the_lab_and_undone_in_their_order(live: tuple[FakeLab, Link]) -> None:
    lab, link = live
    with events(link) as told:
        assert ask(link, "act", CUT).data == {"said": "link cut LHR-FCO"}
        assert len(lab.cut_links) == 1
        assert ask(link, "act", {"word": "policy.set", "params": {"policy": "bgp"}}).status == 200
        view = until(told, "view", lambda x: x["undo"] and (x["lab"] or {}).get("policy") == "bgp")
        assert view["undo"] == {"number": 2, "text": "policy set bgp"}
        assert ask(link, "undo", {"number": 1}).status == 409
        assert ask(link, "undo", {"number": 2}).data == {"said": "policy set nearest"}
        assert ask(link, "undo", {"number": 2}).status == 409
        assert ask(link, "undo", {"number": 1}).data == {"said": "link restore LHR-FCO"}
        assert not lab.cut_links
        until(told, "view", lambda x: x["undo"] is None and x["lab"]["policy"] == "nearest")
    done = [record["word"] for record in lab.records if record["event"] == "Command"]
    assert done == ["link.cut", "policy.set", "policy.set", "link.restore"]


def test_what_the_lab_refuses_is_told_in_its_words(live: tuple[FakeLab, Link]) -> None:
    _, link = live
    refused = ask(link, "act", {"word": "pop.drain", "params": {"pop": "CDG"}})
    assert refused.status == 409
    assert "no PoP" in refused.data["error"]
    with events(link) as told:
        assert until(told, "view", lambda view: view["phase"] == "up")["undo"] is None


def test_what_can_no_more_be_undone_is_forgotten(live: tuple[FakeLab, Link]) -> None:
    lab, link = live
    held = next(lease for lease in lab.leases() if lease["server"] == "LHR-s1")
    name = f"{held['address']}:{held['first_port']}"
    moved = {"word": "lease.move", "params": {"lease": name, "server": "FCO-s1"}}
    assert ask(link, "act", moved).status == 200
    assert ask(link, "act", {"word": "lease.revoke", "params": {"lease": name}}).status == 200
    assert ask(link, "undo", {"number": 1}).status == 409
    again = ask(link, "undo", {"number": 1})
    assert "not the last act any more" in again.data["error"]


def test_what_was_done_is_saved_as_a_scenario_that_can_be_run(
    live: tuple[FakeLab, Link], tmp_path: Path
) -> None:
    _, link = live
    assert ask(link, "act", CUT).status == 200
    assert ask(link, "undo", {"number": 1}).status == 200
    saved = ask(link, "scenario.yaml")
    assert "attachment" in saved.headers["Content-Disposition"]
    file = tmp_path / "scenario.yaml"
    file.write_text(saved.text)
    steps = scenario.read(file, PLAN)
    assert [step.word for step in steps] == ["link.cut", "link.restore"]


def test_the_way_of_a_packet_is_asked_for(
    live: tuple[FakeLab, Link], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, link = live
    monkeypatch.setattr(trace, "explain", lambda _lab, *packet: WAY)
    found = ask(link, "way", ASKED)
    assert found.status == 200
    assert found.data["links"] == {"there": THERE, "back": BACK}


def test_a_packet_of_nobody_is_refused_in_the_words_of_the_lab(live: tuple[FakeLab, Link]) -> None:
    _, link = live
    refused = ask(link, "way", {**ASKED, "host": "CDG-c1"})
    assert refused.status == 409
    assert "no host 'CDG-c1'" in refused.data["error"]


JSON = "application/json"
KILL = {"word": "program.kill", "params": {"program": "controller"}}


@pytest.mark.parametrize(
    ("path", "body", "kind", "status"),
    [
        ("act", "no JSON", JSON, 400),
        ("act", '"\xff"', JSON, 400),
        ("act", CUT, "text/plain", 400),
        ("act", KILL, JSON, 400),
        ("act", {"word": "note", "params": {"text": "x" * 9000}}, JSON, 413),
        ("way", {}, JSON, 400),
        ("way", "no JSON", JSON, 400),
        ("undo", {}, JSON, 400),
        ("undo", {"number": True}, JSON, 400),
        ("undo", [1], JSON, 400),
    ],
)
def test_what_cannot_be_understood_changes_nothing(
    live: tuple[FakeLab, Link], path: str, body: Any, kind: str, status: int
) -> None:
    lab, link = live
    before = len(lab.records)
    assert ask(link, path, body, Content_Type=kind).status == status
    assert len(lab.records) == before


# -- the command


def test_the_command_prints_its_link_and_ends_when_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    program = [sys.executable, "-c", "from experiments import cli; cli.main()", "live", "triangle"]
    with running(PLAN), subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            *_, at, token, _ = process.stdout.readline().strip().split("/")
            with events(Link(int(at.rpartition(":")[2]), token)) as told:
                until(told, "view", lambda view: view["phase"] == "up")
                process.terminate()
                list(told)  # the stream ends, or this raises after ten seconds
            assert process.wait(10) == 0
        finally:
            process.kill()


def test_without_its_library_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with running(PLAN), pytest.raises(UsageError, match="`make setup` installs it"):
        commands.live()


def test_a_port_that_is_taken_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    program = [sys.executable, "-c", "from experiments import cli; cli.main()", "live", "--port"]
    with socket.socket() as taken, running(PLAN):
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run([*program, port], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"Port {port} cannot be had" in done.stderr


def test_the_usual_port_is_not_said() -> None:
    def let_in(port: int, host: str) -> bool:
        request = make_mocked_request("GET", "/T/", headers={"Host": host})

        async def handler(_: web.Request) -> web.Response:
            return web.Response()

        try:
            asyncio.run(doors.guard(port, "T")(request, handler))  # type: ignore[arg-type]
        except web.HTTPForbidden:
            return False
        return True

    assert let_in(80, "127.0.0.1")
    assert let_in(8080, "localhost:8080")
    assert not let_in(8080, "127.0.0.1")
    assert not let_in(80, "example.org")


def test_deep_brackets_are_no_json(live: tuple[FakeLab, Link]) -> None:
    _, link = live
    assert ask(link, "act", "[" * 4000).status == 400
