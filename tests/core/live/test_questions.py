"""What a page asks of a packet, and what it is told."""

from __future__ import annotations

from typing import Any

import pytest

from experiments.live.acts import BadActError
from experiments.live.questions import asked, told
from tests.fakes.way import ASKED, BACK, THERE, WAY
from topologies.plan import plan
from topologies.sources import load

PLAN = plan(load("triangle"))


def test_a_way_is_told_in_lines_and_by_the_links_of_the_map() -> None:
    found = told(PLAN, WAY)
    assert found["links"] == {"there": THERE, "back": BACK}
    assert found["lines"][0] == "there:"
    assert "steer" in found["lines"][1]
    assert found["lines"][-1].endswith("delivered: FCO-c1")


def test_who_is_not_answered_has_no_way_back() -> None:
    lost = {"there": WAY["there"][:1], "ends": {"hosts": [], "why": "dropped at tFCO: spoof"}}
    found = told(PLAN, lost)
    assert found["links"]["back"] == []
    assert "back:" not in found["lines"]


def test_a_packet_is_said_whole() -> None:
    assert asked(ASKED) == ASKED


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {**ASKED, "lab": "x"},
        {**ASKED, "port": "80"},
        {**ASKED, "port": 0},
        {**ASKED, "port": True},
        {**ASKED, "port": None},
        {**ASKED, "port": -1},
        {**ASKED, "port": 65536},
        {**ASKED, "host": 1},
        {name: value for name, value in ASKED.items() if name != "port"},
    ],
)
def test_what_is_no_packet_is_refused(data: Any) -> None:
    with pytest.raises(BadActError):
        asked(data)
