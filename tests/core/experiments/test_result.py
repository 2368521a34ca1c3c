"""The JSON contract, and what makes a run valid."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from experiments import calibrate
from experiments.calibrate import Calibration, PathError
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


def _path(error_us: float, model_rtt_us: float = 10_000.0) -> PathError:
    return PathError("c", "s", model_rtt_us, emulated_links=3, errors_us=(error_us,) * 10)


def _fidelity(*paths: PathError) -> Fidelity:
    return calibrate.fidelity("delayline", 9, Calibration(50.0, (_path(900),), paths))


def test_fidelity_sums_up_paths() -> None:
    found = _fidelity(_path(100), _path(200), _path(300))
    assert (found.rtt_error_p50_us, found.worst_path_us, found.samples) == (200, 300, 30)
    assert (found.advance_us, found.uncompensated_p50_us) == (50, 900)
    assert found.links == 9
    assert calibrate.check(found).passed


@pytest.mark.parametrize(
    ("paths", "why"),
    [
        ((_path(5000), _path(5000), _path(5000)), "much too slow"),
        ((_path(100), _path(100), _path(-9000)), "one path lacks its delay"),
        ((), "no path was measured"),
        ((PathError("c", "s", 1.0, 3, ()),), "no ping was answered"),
    ],
)
def test_untrue_emulator_fails_its_check(paths: tuple[PathError, ...], why: str) -> None:
    assert not calibrate.check(_fidelity(*paths)).passed, why


def test_long_paths_may_err_more() -> None:
    assert calibrate.check(_fidelity(_path(4000, model_rtt_us=200_000))).passed


def test_a_links_excess_is_its_share_of_the_paths_error() -> None:
    # 600 us in 2 x 3 traversals; one path in a busy moment does not move the median
    assert calibrate.excess_us([_path(600), _path(600), _path(90_000)]) == 100
    noisy = PathError("c", "s", 10_000.0, 3, (600.0,) * 6 + (50_000.0,) * 4)
    assert calibrate.excess_us([noisy]) == 100
    assert calibrate.excess_us([_path(-300)]) == 0
    assert calibrate.excess_us([_path(90_000)]) == calibrate.ADVANCE_MOST_US
    assert calibrate.excess_us([]) == 0


def test_calibration_comes_back_equal() -> None:
    calibration = Calibration(50.0, (_path(900),), (_path(20),))
    assert calibrate.parse(json.loads(json.dumps(asdict(calibration)))) == calibration
