"""The study scale: closed forms against the controller's core, and what it notices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from experiments import study
from experiments.errors import UsageError
from experiments.runs import runner
from experiments.studies import scale as asked
from experiments.verdict import scale
from experiments.verdict.scale import Held, Size
from tests.fakes.evidence import failed, of, perfect, spoil
from topologies import sources
from topologies.plan import plan

LAB = "every switch has as many rules for leases as the closed form says"
CORE = "for larger networks the core makes as many rules for leases as the closed form says"
LAB_OTHERS = "no other rule of the lab comes or goes with leases"
CORE_OTHERS = "no other rule of larger networks comes or goes with leases"
CHANGED = "a lease changes as many rules as the closed form says"
OPENS = "every connection opens"
PROACTIVE = "twin: no connection is handed to the controller"
COUNTED = "control: what switches hand up is counted: two messages to borrow by DHCP, one to return"


def test_a_full_address_takes_the_rules_that_its_article_says() -> None:
    # 31 holders of 2,048 ports each: 62 rules for what returns at home, one in each other PoP.
    found = scale.total(Size(pops=10, servers=31, leases=1))
    assert found["return"] == 10 * 62
    assert found["home"] == 10 * 9
    assert scale.total(Size(pops=10, servers=32, leases=1))["home"] == 2 * 10 * 9
    assert "home" not in scale.total(Size(pops=1, servers=5, leases=1))


@pytest.mark.parametrize("size", [Size(1, 3, 1), Size(2, 31, 2), Size(4, 5, 8)])
def test_the_core_makes_as_many_rules_as_the_closed_form_says(size: Size) -> None:
    total: Counter[str] = Counter()
    for counted in scale.programmed(size).values():
        total.update(counted)
    assert {duty: total[duty] for duty in scale.LEASED if total[duty]} == scale.total(size)
    assert sum(total.values()) > 100


def test_rules_of_a_lease_abroad_are_in_every_pop_but_the_holders() -> None:
    made = plan(sources.load("triangle"))
    at_home = Held("203.0.113.0", "LHR", "LHR")
    abroad = Held("203.0.113.0", "LHR", "FCO")
    assert scale.rules(made, [at_home, abroad]) == {
        "eLHR": Counter(admit_lease=2, **{"return": 2}, abroad=2),
        "eARN": Counter(home=1, abroad=2),
        "eFCO": Counter(admit_lease=2, **{"return": 2}, home=1),
    }
    assert scale.changed(3, at_home, opened=True) == 4 + 2
    assert scale.changed(3, abroad, opened=False) == 4 + 4


@pytest.mark.parametrize(
    ("where", "columns", "checks"),
    [
        (of(switch="eLHR", round=1, duty="return"), {"rules": 9}, {LAB}),
        (of(switch="tLHR", round=1, duty="others"), {"rules": 90}, {LAB_OTHERS}),
        (of(place="core", pops=5, leases=2, duty="home"), {"rules": 9}, {CORE}),
        (of(place="core", pops=5, leases=2, duty="others"), {"rules": 9}, {CORE_OTHERS}),
        (of(act="acquire"), {"changes": 5}, {CHANGED}),
        (of(act="release"), {"changes": 3}, {CHANGED}),
        (of(act="fetch", host="LHR-s1"), {"outcome": "timeout"}, {OPENS}),
    ],
)
def test_what_is_otherwise_is_noticed(
    where: Callable[[pd.DataFrame], pd.Series[bool]], columns: dict[str, Any], checks: set[str]
) -> None:
    assert set(failed(spoil(perfect("scale"), where, **columns))) == checks


@pytest.mark.parametrize(
    ("act", "packet_ins", "checks"),
    [
        ("fetch", 60, {PROACTIVE}),
        ("connect", 1, {PROACTIVE}),
        ("borrow", 0, {COUNTED}),
        ("return", 5, {COUNTED}),
    ],
)
def test_packets_that_are_handed_up_are_counted(
    act: str, packet_ins: int, checks: set[str]
) -> None:
    evidence = perfect("scale")
    evidence.observed["handed"][act]["packet_ins"] = packet_ins
    assert set(failed(evidence)) == checks


def test_a_renewal_by_dhcp_is_no_connections_packet() -> None:
    evidence = perfect("scale")
    evidence.observed["handed"]["fetch"] = {"packet_ins": 3, "dhcp": 3}
    assert failed(evidence) == []


def test_computing_is_told_in_real_time_alone() -> None:
    evidence = perfect("scale")
    evidence.observed["cpu_s"]["acquire"] = 0.12
    findings = study.study("scale").evaluate(evidence)
    acts = findings.tables["acts"].set_index("act")
    assert acts.loc["acquire", "cpu_ms"] == pytest.approx(120 / acts.loc["acquire", "times"])
    real = evidence.spec.options.clock == "real"
    assert (findings.metrics["programming_time"].value is not None) == real


@pytest.mark.parametrize(
    ("params", "cause"),
    [({"leases": 8}, "1 to 6 sets more"), ({"core_leases": [9]}, "No network has such a size")],
)
def test_more_than_a_server_may_keep_is_refused(params: dict[str, Any], cause: str) -> None:
    with pytest.raises(UsageError, match=cause):
        runner.make_spec("scale", "triangle", params=params)


def test_addresses_of_the_lab_have_few_sets() -> None:
    spec = runner.make_spec("scale", "triangle", quick=True)
    assert spec.network.sets_per_address == 3
    assert asked.prepare(spec.network, spec.params) == spec.network
