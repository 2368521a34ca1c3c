"""The study to begin with: written under a name, and judged by samples that are played."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pandas as pd
import pytest

from experiments import new_study
from experiments.errors import UsageError
from experiments.new_study import template
from experiments.runs.runner import make_spec
from experiments.study import Evidence, Study
from experiments.verdict.oracle import Oracle
from topologies.plan import plan


def test_a_new_study_is_a_module_of_its_name(tmp_path: Path) -> None:
    path = new_study.write("opening", tmp_path)
    spec = importlib.util.spec_from_file_location("opening", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert isinstance(module.STUDY, Study)
    assert module.STUDY.name == "opening"
    assert "template" not in path.read_text()


@pytest.mark.parametrize("name", ["latency", "Two Words", "class", "CamelCase", "../up", "1st"])
def test_a_name_that_cannot_be_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="already|module of Python"):
        new_study.write(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_study_is_not_written_over(tmp_path: Path) -> None:
    new_study.write("opening", tmp_path)
    with pytest.raises(UsageError, match="already"):
        new_study.write("opening", tmp_path)


def _evidence(closed: str = "refused", opened: str = "ok") -> Evidence:
    """Every client connects twice by each arm, as the model says."""
    spec = make_spec("latency", "triangle", clock="real")
    network = plan(spec.network)
    rows = [
        {"arm": arm, "client": f"{city}-c1", "outcome": outcome}
        | {"rtt_ms": rtt if outcome == "ok" else None, "model_rtt_ms": rtt}
        for city in ("LHR", "ARN", "FCO")
        for arm, rtt, outcome in (
            ("anycast", 2.5, opened),
            ("one server", 24.0, "ok"),
            (template.CONTROL, 2.5, closed),
        )
        for _ in range(2)
    ]
    return Evidence(spec, network, Oracle(network), pd.DataFrame(rows), {})


def test_it_says_what_its_samples_say() -> None:
    found = template.evaluate(_evidence())
    assert found.metrics["anycast_rtt_p50"].value == 2.5
    assert found.metrics["one_server_rtt_p50"].value == 24.0
    assert found.metrics["connections"].value == 12
    assert all(check.passed for check in found.checks)
    assert found.answer.startswith("A connection opens in 2.5 ms")


@pytest.mark.parametrize(
    ("evidence", "failed"),
    [({"closed": "ok"}, "control: "), ({"opened": "timeout"}, "twin: ")],
)
def test_its_control_and_its_twin_can_fail(evidence: dict[str, str], failed: str) -> None:
    checks = template.evaluate(_evidence(**evidence)).checks
    assert [check.name[: len(failed)] for check in checks if not check.passed] == [failed]


def test_nothing_opened_is_told() -> None:
    assert template.evaluate(_evidence(opened="timeout")).answer == "Nobody could connect."
