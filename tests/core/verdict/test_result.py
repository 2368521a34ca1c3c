"""The JSON contract, and what makes a run valid."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from rich.console import Console

from experiments.show.report import render
from experiments.verdict import calibrate
from experiments.verdict.calibrate import Calibration, PathError
from experiments.verdict.oracle import Oracle
from experiments.verdict.result import Check, Fidelity, Metric, Result
from topologies import sources
from topologies.plan import plan

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
    keys = "run study network seed clock sandbox capture_sha256 valid verdict noisy checks metrics "
    keys += "fidelity"
    assert list(contract) == keys.split()
    assert contract["checks"] == [
        {"name": "control: fails", "passed": True, "detail": "as it must", "noise": False}
    ]
    assert contract["metrics"]["rtt_p50"] == {"value": 1.5, "unit": "ms"}
    promised = {"backend", "rtt_error_p50_us", "rtt_error_p99_us", "links"}
    assert promised <= set(contract["fidelity"])
    assert contract["valid"] is True


def test_contract_comes_back_equal() -> None:
    assert Result.from_contract(json.loads(json.dumps(GOOD.contract()))) == GOOD


def test_an_error_that_nobody_measured_can_be_read_back_and_shown() -> None:
    unmeasured = replace(GOOD, fidelity=_fidelity(PathError("c", "s", 1.0, 3, ())))
    again = Result.from_contract(json.loads(json.dumps(unmeasured.contract(), allow_nan=False)))
    output = io.StringIO()
    render(again, "", [], Console(file=output, width=80))
    assert "emulator error: median nan us" in output.getvalue()


def test_a_long_line_goes_on_under_its_beginning() -> None:
    long = replace(GOOD, checks=(Check("control: a port fails", True, "met silence " * 9),))
    output = io.StringIO()
    render(long, "", [], Console(file=output, width=60))
    _, told = output.getvalue().split("  ✓ ")
    first, *rest = told.split("    valid")[0].splitlines()
    assert first.startswith("control: a port fails")
    assert rest
    assert all(line[:4] == " " * 4 != line[:5] for line in rest)


def test_contract_holds_no_nan() -> None:
    lost = replace(GOOD, metrics={"x": Metric(float("nan"), "ms")})
    assert lost.contract()["metrics"]["x"]["value"] is None


def test_one_failed_check_makes_a_run_invalid() -> None:
    bad = replace(GOOD, checks=(*GOOD.checks, Check("control: survives", False, "")))
    assert not bad.valid
    assert not replace(GOOD, checks=()).valid


def _path(error_us: float, model_rtt_us: float = 10_000.0) -> PathError:
    return PathError("c", "s", model_rtt_us, emulated_links=3, errors_us=(error_us,) * 10)


def _fidelity(*paths: PathError, late_us: float | None = 80.0, **load: float) -> Fidelity:
    timed = {"lateness_p99_us": late_us}
    links = {"backend": "delayline", "emulated": 9, "overruns": 0, "timed": timed}
    shares = {"steal_mean": 0.01, "busy_mean": 0.3} | load
    return calibrate.fidelity(links, Calibration(50.0, (_path(900),), paths), shares)


def _passed(found: Fidelity) -> bool:
    return all(check.passed for check in calibrate.checks(found, judged=False))


def test_fidelity_sums_up_paths() -> None:
    found = _fidelity(_path(100), _path(200), _path(300))
    assert (found.rtt_error_p50_us, found.worst_path_us, found.samples) == (200, 300, 30)
    assert (found.advance_us, found.uncompensated_p50_us) == (50, 900)
    assert found.links == 9
    assert _passed(found)


@pytest.mark.parametrize(
    ("paths", "why"),
    [
        ((_path(5000), _path(5000), _path(5000)), "much too slow"),
        ((_path(100), _path(100), _path(-9000)), "one path lacks its delay"),
        ((_path(100), _path(100), _path(-9000), _path(20_000)), "a slower one hides it"),
        ((), "no path was measured"),
        ((PathError("c", "s", 1.0, 3, ()),), "no ping was answered"),
    ],
)
def test_untrue_emulator_fails_its_check(paths: tuple[PathError, ...], why: str) -> None:
    assert not _passed(_fidelity(*paths)), why


@pytest.mark.parametrize(
    ("load", "cause"),
    [
        ({"steal_mean": 0.2, "busy_mean": 0.95}, "hypervisor"),
        ({"busy_mean": 0.95}, "CPU was busy"),
        ({}, "too many packets"),
    ],
)
def test_late_links_spoil_a_run_and_the_cause_is_named(load: dict[str, float], cause: str) -> None:
    late = calibrate.checks(_fidelity(_path(100), late_us=1500.0, **load), judged=True)[-1]
    assert not late.passed
    assert cause in late.detail
    # 2 % of the least RTT is more than that
    assert _passed(_fidelity(_path(100, model_rtt_us=100_000), late_us=1500.0, **load))


def test_what_no_backend_tells_is_unknown_unless_times_are_judged_otherwise() -> None:
    found = _fidelity(_path(100), late_us=None)
    assert [check.passed for check in calibrate.checks(found, judged=False)][-1] is None
    assert all(check.passed for check in calibrate.checks(found, judged=True))


@pytest.mark.parametrize(
    ("passed", "verdict"),
    [
        ([True, True], "valid"),
        ([True, None], "unknown"),
        ([None, False], "invalid"),
        ([True, False], "invalid"),
        ([], "invalid"),
    ],
)
def test_unknown_never_counts_as_valid(passed: list[bool | None], verdict: str) -> None:
    result = replace(GOOD, checks=tuple(Check(str(i), p, "") for i, p in enumerate(passed)))
    assert result.verdict == result.contract()["verdict"] == verdict
    assert result.valid is (verdict == "valid")
    assert Result.from_contract(result.contract()) == result


LONG = Check("times", False, "too long", noise=True)
LOST = Check("reached", False, "")
UNTOLD = Check("links", None, "nobody tells")


@pytest.mark.parametrize(
    ("checks", "noisy"),
    [
        ((), False),
        ((UNTOLD,), False),
        ((LONG,), True),
        ((LONG, UNTOLD), True),
        ((LONG, LOST), False),
    ],
)
def test_a_run_is_noisy_if_nothing_but_noise_stands_against_it(
    checks: tuple[Check, ...], noisy: bool
) -> None:
    result = replace(GOOD, checks=(*GOOD.checks, *checks))
    assert result.noisy is result.contract()["noisy"] is noisy
    assert not (result.noisy and result.valid)
    assert not replace(result, sandbox={"clock": "virtual"}).noisy  # no machine is too busy there


def test_a_noisy_run_says_what_helps() -> None:
    output = io.StringIO()
    render(replace(GOOD, checks=(LONG,)), "It is far.", [], Console(file=output, width=80))
    assert "INVALID: 1 of 1 checks failed" in output.getvalue()
    assert "`make virtual`" in output.getvalue()


@pytest.mark.parametrize(("error_us", "noise"), [(1100, True), (-1100, False)])
def test_only_longer_times_are_noise(error_us: float, noise: bool) -> None:
    check = calibrate.checks(_fidelity(_path(error_us)), judged=True)[0]
    assert (check.passed, check.noise) == (False, noise)


def test_an_unknown_verdict_is_shown_as_such() -> None:
    output = io.StringIO()
    unknown = replace(GOOD, checks=(*GOOD.checks, UNTOLD))
    render(unknown, "It is far.", [], Console(file=output, width=80))
    shown = output.getvalue()
    assert "? links  nobody tells" in shown
    assert "UNKNOWN: 1 of 2 checks could not be told" in shown


def test_long_paths_may_err_more() -> None:
    assert _passed(_fidelity(_path(4000, model_rtt_us=200_000)))


def test_a_links_excess_is_its_share_of_the_paths_error() -> None:
    # 600 us in 2 x 3 traversals; one path in a busy moment does not move the median
    assert calibrate.excess_us([_path(600), _path(600), _path(90_000)]) == 100
    assert calibrate.excess_us([_path(-300)]) == 0
    assert calibrate.excess_us([_path(90_000)]) == calibrate.ADVANCE_MOST_US
    assert calibrate.excess_us([]) == 0


def test_scattered_times_compensate_nothing() -> None:
    calm = PathError("c", "s", 10_000.0, 3, (600.0,) * 5 + (1100.0,) * 5)
    assert calibrate.excess_us([calm]) == 100
    noisy = PathError("c", "s", 10_000.0, 3, (600.0,) * 5 + (1300.0,) * 5)
    assert calibrate.excess_us([noisy]) == 0
    assert calibrate.excess_us([noisy, calm, calm]) == 100


@pytest.mark.parametrize(
    ("answered", "survival", "passed"),
    [(10, 1.0, True), (9, 1.0, True), (8, 1.0, False), (6, 0.7, True), (5, 0.7, False)],
)
def test_pings_are_answered_but_for_the_links_loss(
    answered: int, survival: float, passed: bool
) -> None:
    path = PathError("c", "s", 10_000.0, 3, (100.0,) * answered, sent=10, survival=survival)
    assert calibrate.checks(_fidelity(path), judged=True)[1].passed is passed


def test_what_the_emulator_lost_unseen_voids_a_run() -> None:
    found = replace(_fidelity(_path(100)), overruns=1)
    check = calibrate.checks(found, judged=True)[2]
    assert (check.passed, check.noise) == (False, True)


@pytest.mark.parametrize("network", ["triangle", "europe"])
def test_a_run_is_judged_by_paths_that_it_did_not_learn_from(network: str) -> None:
    oracle = Oracle(plan(sources.load(network)))
    learned, held_out = calibrate.choose(oracle, seed=3)
    assert (learned, held_out) == calibrate.choose(oracle, seed=3)
    assert learned
    assert held_out
    assert not {(a.name, b.name) for a, b in learned} & {(a.name, b.name) for a, b in held_out}


def test_calibration_comes_back_equal() -> None:
    calibration = Calibration(50.0, (_path(900),), (_path(20),))
    assert calibrate.parse(json.loads(json.dumps(asdict(calibration)))) == calibration
