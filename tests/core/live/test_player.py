"""The server of finished runs by an HTTP client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from experiments.cli import app
from experiments.live import playback
from tests.fakes.live import Link, ask, viewing

RUNS = (Path("results/reference/failover-triangle"), Path("results/reference/latency-europe"))


@pytest.fixture(scope="module")
def pair() -> Iterator[Link]:
    with viewing([playback.read(run) for run in RUNS]) as link:
        yield link


def test_a_run_has_a_page_and_is_shown_moment_by_moment(pair: Link) -> None:
    page = ask(pair, "1/")
    assert page.status == 200
    assert "<title>europe, played back: poplab</title>" in page.text
    assert ask(pair, "1/main.js").status == ask(pair, "main.js").status == 200
    begin, end = (ask(pair, f"1/moment?ms={ms}").data for ms in ("0", "1e9"))
    assert not begin["lab"]["ready"]
    assert end["lab"]["ready"]
    assert end["at_s"] > begin["at_s"]
    assert len(end["lines"]) > len(begin["lines"])


def test_two_runs_are_on_one_page(pair: Link) -> None:
    page = ask(pair, "")
    assert page.text.count("<iframe") == 2
    assert 'title="triangle: failover, ' in page.text
    assert "frame-ancestors 'self'; frame-src 'self'" in page.headers["Content-Security-Policy"]


def test_one_run_is_shown_by_itself() -> None:
    with viewing([playback.read(RUNS[0])]) as link:
        front = ask(link, "")
        assert (front.status, front.headers["Location"]) == (302, "0/")
        assert ask(link, "1/").status == 404


@pytest.mark.parametrize("query", ["", "?ms=", "?ms=x", "?ms=nan", "?ms=inf"])
def test_what_is_no_moment_is_refused(pair: Link, query: str) -> None:
    assert ask(pair, f"0/moment{query}").status == 400


def test_nothing_can_be_changed_and_only_the_link_lets_in(pair: Link) -> None:
    assert ask(pair, "0/act", {"word": "link.cut", "params": {"link": "LHR-FCO"}}).status == 405
    assert ask(pair, "0/moment?ms=0", token="guess").status == 403
    assert ask(pair, "0/moment?ms=0", Host="evil.example").status == 403
    assert ask(pair, "0/playback.py").status == ask(pair, "live.html").status == 404


def test_the_command_refuses_what_it_cannot_show(tmp_path: Path) -> None:
    said = CliRunner().invoke(app, ["view", str(tmp_path)])
    assert said.exit_code
    assert "no run folder" in str(said.exception)
    said = CliRunner().invoke(app, ["view", *map(str, (RUNS[0],) * 3)])
    assert "At most 2 runs" in str(said.exception)
