"""The study workloads believes what its model says, and notices what is otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments import study
from experiments.errors import UsageError
from experiments.runs.runner import make_spec
from experiments.studies import workloads as workloads_study
from experiments.verdict import workloads
from experiments.verdict.workloads import ARMS, CLOSED, CONNECT, EVEN, UDP, Arm, Stall
from tests.fakes.evidence import failed, perfect, spoil
from tests.fakes.workloads import stall_of
from topologies import sources
from topologies.model import Line

SEES = "what is asked when it is due sees the stall: "
BLIND = "control: a closed loop does not see the stall"
MENDED = "twin: corrected by its expected interval it does"
CONNECTS = "control: who only connects does not see it"
OFFERED = "open loops offer what is due, when it is due"
SCATTER = "Poisson arrivals scatter as chance has it"
REGULAR = "control: even arrivals do not pass for chance"
ANSWERED = "every request is answered, those that met the stall after it"
BULK = "bulk gets what the line's rate leaves for payload"
MORE = "twin: without a rate there is more"

STALL = Stall(1.0, 1.3)


@given(st.sampled_from(ARMS), st.floats(0, 3), st.floats(0.1, 300))
def test_a_request_waits_for_its_trips_and_what_is_left_of_the_stall(
    arm: Arm, at_s: float, rtt_ms: float
) -> None:
    took_ms = workloads.latency_ms(arm, at_s, rtt_ms, STALL)
    idle_ms = arm.trips * rtt_ms
    assert idle_ms <= took_ms <= idle_ms + 300.001
    if took_ms > idle_ms:  # the answer leaves when services go on, and needs half a round trip
        assert at_s * 1000 + took_ms == pytest.approx(1300 + rtt_ms / 2, abs=1e-6)
    assert arm is not CONNECT or took_ms == idle_ms


@pytest.mark.parametrize(
    ("arm", "at_s", "took_ms"),
    [
        (EVEN, 0.5, 20),
        (EVEN, 0.985, 320),  # it asks 10 ms later, and is there 5 ms after that
        (EVEN, 0.98, 20),
        (UDP, 0.995, 310),
        (CLOSED, 1.2, 105),
        (CLOSED, 1.296, 10),
        (CONNECT, 1.1, 10),
    ],
)
def test_closed_forms(arm: Arm, at_s: float, took_ms: float) -> None:
    assert workloads.latency_ms(arm, at_s, 10.0, STALL) == pytest.approx(took_ms)


def test_one_in_a_hundred_of_even_requests_waits_for_what_is_left_of_the_stall() -> None:
    evidence = perfect("workloads")
    metrics = study.study("workloads").evaluate(evidence).metrics
    stall_ms, seconds = (evidence.spec.number(name) for name in ("stall_ms", "seconds"))
    assert metrics["even_p99"].value == pytest.approx(stall_ms - 10 * seconds, abs=10)
    assert metrics["closed_p99"].value == metrics["closed_p50"].value == 2.5
    assert metrics["closed_corrected_p99"].value == pytest.approx(stall_ms - 10 * seconds, abs=22.5)
    assert metrics["connect_p99"].value == 2.5
    assert metrics["bulk_rated_goodput_model"].value == pytest.approx(10 * 1448 / 1514)
    assert (metrics["even_dispersion"].value or 0) < 0.2  # on the edges of windows


def test_equal_seeds_mean_equal_arrivals_and_others_others() -> None:
    specs = [make_spec("workloads", quick=True, seed=seed) for seed in (1, 1, 2)]
    one, again, other = (list(workloads.times(spec, workloads.POISSON)) for spec in specs)
    assert one == again != other
    one, _, other = (list(workloads.times(spec, workloads.TRACE)) for spec in specs)
    assert one == other
    assert one[:6] == pytest.approx([0.002, 0.004, 0.006, 0.008, 0.05, 0.052])


@pytest.mark.parametrize("seed", range(1, 31))
def test_other_seeds_are_believed_too(seed: int) -> None:
    evidence = perfect("workloads")
    spec = replace(evidence.spec, seed=seed)
    from tests.fakes.workloads import worked

    rows, observed = worked(spec, evidence.plan, evidence.oracle)
    of_seed = replace(evidence, spec=spec, samples=pd.DataFrame(rows), observed=observed)
    assert failed(of_seed) == []


def of(*arms: str) -> Callable[[pd.DataFrame], pd.Series[bool]]:
    return lambda s: s["arm"].isin(arms)


@pytest.mark.parametrize(
    ("where", "columns", "checks"),
    [
        (of("even"), {"rtt_ms": 5.0}, {SEES + "even"}),
        (of("udp"), {"rtt_ms": 240.0}, {SEES + "udp"}),
        (of("closed"), {"rtt_ms": 200.0}, {BLIND}),
        (of("closed"), {"rtt_ms": 2.5}, {MENDED}),
        (of("connect"), {"rtt_ms": 200.0}, {CONNECTS}),
        (of("trace"), {"late_ms": 5.5}, {OFFERED}),
        (of("poisson"), {"due_s": 1.0}, {OFFERED, SCATTER}),
        (of("even"), {"due_s": 1.0}, {OFFERED, REGULAR}),
        (of("poisson"), {"outcome": "timeout"}, {ANSWERED}),
    ],
)
def test_what_is_otherwise_is_noticed(
    where: Callable[[pd.DataFrame], pd.Series[bool]], columns: dict[str, Any], checks: set[str]
) -> None:
    assert set(failed(spoil(perfect("workloads"), where, **columns))) == checks


def test_arrivals_that_are_missing_are_noticed() -> None:
    evidence = perfect("workloads")
    fewer = evidence.samples.drop(evidence.samples.index[0])
    assert failed(replace(evidence, samples=fewer)) == [OFFERED]


@pytest.mark.parametrize(
    ("transfer", "mbit_s", "checks"),
    [("rated", 9.2, [BULK]), ("rated", 9.9, [BULK]), ("unrated", 15.0, [MORE])],
)
def test_bulk_that_is_otherwise_is_noticed(transfer: str, mbit_s: float, checks: list[str]) -> None:
    evidence = perfect("workloads")
    evidence.observed["bulk"][transfer]["goodput_bit_s"] = mbit_s * 1e6
    assert failed(evidence) == checks


def test_wrk_is_compared_with_where_it_is() -> None:
    evidence = perfect("workloads")
    without = study.study("workloads").evaluate(evidence)
    assert "wrk is not installed" in without.answer
    tells = {"wrk": {"requests": 2278, "p50_ms": 2.5, "p99_ms": 240.1}}
    beside = replace(evidence, observed=dict(evidence.observed) | tells)
    findings = study.study("workloads").evaluate(beside)
    assert "wrk" not in findings.answer
    assert findings.metrics["wrk_p99"].value == 240.1
    assert "wrk_p99" not in without.metrics


def test_the_stall_is_in_the_middle() -> None:
    stall = stall_of(make_spec("workloads", quick=True))
    assert (stall.began_s, stall.ended_s) == pytest.approx((2.375, 2.625))


@pytest.mark.parametrize(
    ("params", "cause"),
    [
        ({"stall_ms": 100}, "A stall of 0.1 s in 5 s: give it from 3% to 25%"),
        ({"stall_ms": 2000}, "A stall of 2 s in 5 s"),
        ({"timeout_s": 0.4}, "Waiting must be longer"),
        ({"rate_per_s": 0}, "rate_per_s is a number from 0.0001 up"),
        ({"trace_gaps_ms": (0.0, 0.0)}, "trace_gaps_ms must add up"),
    ],
)
def test_what_would_show_nothing_is_refused(params: dict[str, Any], cause: str) -> None:
    with pytest.raises(UsageError, match=cause):
        make_spec("workloads", quick=True, params=params)


@pytest.mark.parametrize("access", [Line(), Line(delay_ns=10**6, rate_bit_s=10**6)])
def test_an_access_line_must_take_a_rate(access: Line) -> None:
    network = sources.load("triangle")
    clients = tuple(replace(one, access=access) for one in network.clients)
    with pytest.raises(UsageError, match="give those of"):
        make_spec("workloads", replace(network, clients=clients), quick=True)


def test_nobody_asks_for_the_servers_health_meanwhile() -> None:
    assert make_spec("workloads", quick=True).network.health_ns == 0
    assert workloads_study.STUDY.families == (4,)
