"""Every study in virtual time: valid, with its page, and equal to the byte whatever the host does.

The tests of one study are one group, for one worker, which makes its first run once.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path

import pytest

from experiments import load
from experiments.runs import repeat, runfolder
from experiments.show.page.run import render
from experiments.study import STUDIES, study
from tests.fakes.markup import Page
from tests.virtual.runs import EXACT_US, Runs, disturbed, virtual_run

pytestmark = [pytest.mark.virtual, pytest.mark.timeout(400)]

LABS = [name for name in STUDIES if study(name).lab]
DISTURBED = {"agility", "borrowing", "churn", "failover", "flood", "latency", "workloads"}
"""Studies in which most happens at the same time."""

IPV6 = [name for name in LABS if 6 in study(name).families]


def grouped(names: Iterable[str]) -> pytest.MarkDecorator:
    """Once for each study, in its group."""
    params = [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in names]
    return pytest.mark.parametrize("name", params)


@grouped(LABS)
def test_every_study_is_valid(first: Runs, name: str) -> None:
    result = first[name]
    assert [check for check in result.checks if not check.passed] == []
    assert any(check.name.startswith("control: ") for check in result.checks)
    assert result.contract()["clock"] == "virtual"
    assert result.fidelity is not None
    assert result.fidelity.backend == "netem"
    assert abs(result.fidelity.worst_path_us) <= EXACT_US
    assert len(str(result.contract()["capture_sha256"])) == 64


@grouped(LABS)
def test_every_run_has_its_page_and_can_have_it_again(first: Runs, name: str) -> None:
    data = load(first[name].run)
    page = Page((data.path / runfolder.PAGE).read_text())
    assert page.text == Page(render(data)).text
    assert " ".join(data.answer.split()) in page.text
    assert all(figure.with_suffix(".svg").exists() for figure in data.figures)
    assert {path.suffix for path in data.path.iterdir()} == {
        "", ".json", ".jsonl", ".parquet", ".csv", ".png", ".svg", ".html",
    }  # fmt: skip


@grouped(LABS)
def test_a_second_run_gives_the_same_bytes(first: Runs, name: str, tmp_path: Path) -> None:
    """On a host that is busy, where that could matter most."""
    with disturbed() if name in DISTURBED else nullcontext():
        again = virtual_run(name, tmp_path)
    comparison = repeat.compare(first[name].run, again.run)
    assert comparison.equal, comparison.sentence()
    assert again.capture_sha256 == first[name].capture_sha256
    assert repr(again.metrics) == repr(first[name].metrics)  # a figure may be NaN


@grouped(IPV6)
def test_every_study_that_clients_are_part_of_is_as_exact_by_ipv6(
    first: Runs, name: str, tmp_path: Path
) -> None:
    result = virtual_run(name, tmp_path, family=6)
    assert [check for check in result.checks if not check.passed] == []
    assert result.capture_sha256 != first[name].capture_sha256
    one, other = load(first[name].run), load(result.run)
    assert other.spec.family == 6
    assert len(one.samples) == len(other.samples)
    difference_us = (one.samples["rtt_ms"] - other.samples["rtt_ms"]).abs() * 1000
    assert difference_us.median() < 5  # the hash of other addresses finds other servers
