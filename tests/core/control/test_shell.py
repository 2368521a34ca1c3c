"""What a lab for people says of its delays."""

from __future__ import annotations

import pytest

from experiments.control.shell import compensation
from experiments.verdict.calibrate import Calibration, PathError


@pytest.mark.parametrize(
    ("advance_us", "errors_us", "told"),
    [
        (
            120,
            (235.0, 240.0, 250.0),
            "RTTs were 240 us too long (median of 3 pings); "
            "each link now sends 120 us early to make up for it.",
        ),
        (
            0,
            (100.0, 939.0, 2000.0),
            "RTTs were 939 us too long (median of 3 pings), "
            "too unevenly to make up for: delays are as the machine makes them.",
        ),
        (0, (), "No ping was answered, so delays are as the machine makes them."),
    ],
    ids=["even", "uneven", "unanswered"],
)
def test_a_lab_tells_what_its_delays_are_off_by_and_what_its_links_do_about_it(
    advance_us: float, errors_us: tuple[float, ...], told: str
) -> None:
    path = PathError("LHR-c1", "LHR-s1", 4000.0, 4, errors_us)
    assert compensation(Calibration(advance_us, (path,))) == told
