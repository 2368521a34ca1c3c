"""Every study in virtual time: valid, with its page, and equal to the byte whatever happens."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from experiments import load
from experiments.runs import repeat, runfolder
from experiments.show.page.run import render
from experiments.study import STUDIES, study
from experiments.verdict.result import Result
from tests.fakes.markup import Page
from tests.virtual.runs import EXACT_US, Runs, disturbed, virtual_run

pytestmark = [pytest.mark.virtual, pytest.mark.timeout(400)]

LABS = [name for name in STUDIES if study(name).lab]
DISTURBED = {"agility", "borrowing", "failover", "flood", "latency", "workloads"}
"""Studies in which most happens at the same time; churn, the longest, does what failover does."""

LONGEST = {"churn", "names", "workloads"}

IPV6 = [name for name in LABS if 6 in study(name).families]


@pytest.mark.parametrize(
    "name", [pytest.param(x, marks=pytest.mark.slow) if x in LONGEST else x for x in LABS]
)
def test_a_study_is_valid_and_comes_again(first: Runs, name: str, tmp_path: Path) -> None:
    """One test of all of it, so that one worker makes the first run once."""
    result = first[name]
    _is_valid(result)
    _has_its_page_and_can_have_it_again(result)
    _comes_again(result, tmp_path)
    if name in IPV6:
        _is_as_exact_by_ipv6(result, tmp_path)


def _is_valid(result: Result) -> None:
    assert [check for check in result.checks if not check.passed] == []
    assert any(check.name.startswith("control: ") for check in result.checks)
    assert result.contract()["clock"] == "virtual"
    assert result.fidelity is not None
    assert result.fidelity.backend == "netem"
    assert abs(result.fidelity.worst_path_us) <= EXACT_US
    assert len(str(result.contract()["capture_sha256"])) == 64


def _has_its_page_and_can_have_it_again(result: Result) -> None:
    data = load(result.run)
    page = Page((data.path / runfolder.PAGE).read_text())
    assert page.text == Page(render(data)).text
    assert " ".join(data.answer.split()) in page.text
    assert all(figure.with_suffix(".svg").exists() for figure in data.figures)
    assert {path.suffix for path in data.path.iterdir()} == {
        "", ".json", ".jsonl", ".parquet", ".csv", ".png", ".svg", ".html",
    }  # fmt: skip


def _comes_again(result: Result, results: Path) -> None:
    """To the byte, on a host that is busy where that could matter most."""
    with disturbed() if result.study in DISTURBED else nullcontext():
        again = virtual_run(result.study, results)
    comparison = repeat.compare(result.run, again.run)
    assert comparison.equal, comparison.sentence()
    assert again.capture_sha256 == result.capture_sha256
    assert repr(load(again.run).result.metrics) == repr(result.metrics)  # a figure may be NaN


def _is_as_exact_by_ipv6(result: Result, results: Path) -> None:
    by_six = virtual_run(result.study, results, family=6)
    assert [check for check in by_six.checks if not check.passed] == []
    assert by_six.capture_sha256 != result.capture_sha256
    one, other = load(result.run), load(by_six.run)
    assert other.spec.family == 6
    assert len(one.samples) == len(other.samples)
    difference_us = (one.samples["rtt_ms"] - other.samples["rtt_ms"]).abs() * 1000
    assert difference_us.median() < 5  # the hash of other addresses finds other servers
