"""The judge of who was right to receive what, while port sets change hands."""

from __future__ import annotations

import pytest

from experiments.measure.tenure import NOBODY, Act, Arrival, Tenures, judge

ADDRESS = 0xCB007100


def act(before: str, after: str, asked: int, confirmed: int, first: int = 2048) -> Act:
    return Act(ADDRESS, first, first + 1023, before, after, asked, confirmed)


def at(server: str, ns: int, port: int = 2048) -> Arrival:
    return Arrival(server, ns, ADDRESS, port)


LIFE = [
    act("b", NOBODY, 300, 310),
    act(NOBODY, "a", 100, 110),
    act("a", "b", 200, 210),
    act(NOBODY, "c", 100, 110, first=8192),
]


@pytest.mark.parametrize(
    ("ns", "right"),
    [
        (99, set()),
        (100, {"a"}),
        (150, {"a"}),
        (200, {"a", "b"}),
        (210, {"a", "b"}),
        (211, {"b"}),
        (305, {"b"}),
        (311, set()),
    ],
)
def test_old_and_new_holder_are_right_in_a_change_and_nobody_else_ever(
    ns: int, right: set[str]
) -> None:
    tenures = Tenures(LIFE)
    assert tenures.holders(ADDRESS, 2048, ns) == tenures.holders(ADDRESS, 3071, ns) == right
    for port in (2047, 3072, 2048 + 8192):
        assert tenures.holders(ADDRESS, port, ns) == set()
    assert tenures.holders(ADDRESS + 1, 2048, ns) == set()


def test_a_set_that_is_lent_before_its_return_is_confirmed_is_right_for_both() -> None:
    hasty = Tenures(
        [act(NOBODY, "a", 0, 1), act("a", NOBODY, 100, 130), act(NOBODY, "b", 120, 125)]
    )
    assert hasty.holders(ADDRESS, 2048, 124) == {"a", "b"}
    assert hasty.holders(ADDRESS, 2048, 140) == {"b"}


def test_sets_of_other_sizes_over_the_same_ports() -> None:
    smaller = Act(ADDRESS, 2560, 3071, NOBODY, "d", 400, 410)
    tenures = Tenures([*LIFE, smaller])
    assert tenures.holders(ADDRESS, 2560, 500) == {"d"}
    assert tenures.holders(ADDRESS, 2559, 500) == set()


def test_packets_are_counted_by_what_may_be_said_of_them() -> None:
    arrivals = [
        at("a", 150),
        at("b", 205),
        at("a", 230),  # the last holder, 20 ns after it was confirmed
        at("a", 290),  # the same, too late for a grace of 50
        at("b", 150),  # before it was asked for
        at("b", 150, port=8192),  # another's port
        at("b", 400, port=5000),  # nobody's port
    ]
    found = judge(Tenures(LIFE), arrivals, grace_ns=50)
    assert (found.right, found.in_change, found.delivered) == (1, 1, 2)
    assert (found.late, found.latest_ns) == (1, 20)
    assert found.wrong == arrivals[3:]
    assert judge(Tenures(LIFE), arrivals).wrong == arrivals[2:]


def test_a_judge_who_is_told_a_wrong_holder_convicts_the_right_one() -> None:
    told = Tenures([act(NOBODY, "z", 100, 110)])
    assert judge(told, [at("a", 150)], grace_ns=1000).wrong == [at("a", 150)]
