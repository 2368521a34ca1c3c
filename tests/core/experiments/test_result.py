"""The JSON contract, and what makes a run valid."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from experiments import calibrate
from experiments.calibrate import PathError
from experiments.result import Check, Fidelity, Metric, Result

TRUE = Fidelity("delayline", 100.0, 900.0, 9, 150.0, 1000.0, 100)
GOOD = Result(
    run=Path("/somewhere/latency/run"),
    study="latency",
    network="triangle",
    seed=4,
    checks=(Check("control: fails", True, "as it must"),),
    metrics={"rtt_p50": Metric(1.5, "ms"), "none": Metric(None, "ms")},
    fidelity=TRUE,
)


def test_contract_has_the_promised_shape() -> None:
    contract = json.loads(json.dumps(GOOD.contract(), allow_nan=False))
    keys = "run study network seed valid checks metrics fidelity"
    assert list(contract) == keys.split()
    assert contract["checks"] == [
        {"name": "control: fails", "passed": True, "detail": "as it must"}
    ]
    assert contract["metrics"]["rtt_p50"] == {"value": 1.5, "unit": "ms"}
    promised = {"backend", "rtt_error_p50_us", "rtt_error_p99_us", "links"}
    assert promised <= set(contract["fidelity"])
    assert contract["valid"] is True


def test_contract_comes_back_equal() -> None:
    assert Result.from_contract(json.loads(json.dumps(GOOD.contract()))) == GOOD


def test_contract_holds_no_nan() -> None:
    lost = replace(GOOD, metrics={"x": Metric(float("nan"), "ms")})
    assert lost.contract()["metrics"]["x"]["value"] is None


def test_one_failed_check_makes_a_run_invalid() -> None:
    bad = replace(GOOD, checks=(*GOOD.checks, Check("control: survives", False, "")))
    assert not bad.valid
    assert not replace(GOOD, checks=()).valid


def _paths(*errors_us: float) -> list[PathError]:
    return [PathError("c", "s", 10_000.0, (error,) * 10) for error in errors_us]


def test_fidelity_sums_up_paths() -> None:
    found = calibrate.fidelity("delayline", 9, _paths(100, 200, 300))
    assert (found.rtt_error_p50_us, found.worst_path_us, found.samples) == (200, 300, 30)
    assert found.links == 9
    assert calibrate.check(found).passed


@pytest.mark.parametrize(
    ("errors_us", "why"),
    [
        ((5000, 5000, 5000), "much too slow"),
        ((100, 100, -9000), "one path lacks its delay"),
        ((), "no path was measured"),
    ],
)
def test_untrue_emulator_fails_its_check(errors_us: tuple[float, ...], why: str) -> None:
    found = calibrate.fidelity("delayline", 9, _paths(*errors_us) or [PathError("c", "s", 1.0, ())])
    assert not calibrate.check(found).passed, why


def test_two_calibrations_are_pooled_path_by_path() -> None:
    found = calibrate.pooled(_paths(100, 300), _paths(200, 400))
    assert [len(path.errors_us) for path in found] == [20, 20]
    assert calibrate.fidelity("delayline", 9, found).rtt_error_p50_us == 250


def test_long_paths_may_err_more() -> None:
    far = [PathError("c", "s", 200_000.0, (4000.0,) * 10)]
    assert calibrate.check(calibrate.fidelity("delayline", 9, far)).passed
