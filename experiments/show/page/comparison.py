"""The page of runs side by side: ``render`` is pure, from what is compared to HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from experiments import study
from experiments.compare import sides
from experiments.compare.sides import Line, Side
from experiments.show.page.chart import drawn
from experiments.show.page.distributions import Distribution
from experiments.show.page.markup import fill
from experiments.stats import FEWEST


def render(
    found: Sequence[Side],
    lines: Sequence[Line],
    violated: Mapping[str, Sequence[str]],
    times: Mapping[str, Sequence[Distribution]],
) -> str:
    """The page, whole and self-contained.

    ``violated`` has for each condition the labels of the sides for which it holds, ``times`` the
    distributions of each side by arm, by its label; nothing if the study measures none.
    """
    numbers = {side.label: number for number, side in enumerate(found, 1)}
    numbered = [
        replace(one, arm=f"{numbers[label]} {one.arm}")
        for label, mine in times.items()
        for one in mine
    ]
    return fill(
        "comparison.html",
        study=study.study(found[0].study),
        sides=found,
        kind=_kind(found, violated),
        verdict=_verdict(found, violated),
        differing=sides.differing(found),
        conditions=violated,
        metrics=[_row(line) for line in lines],
        **drawn(numbered),
        fewest=FEWEST,
    )


def _kind(found: Sequence[Side], violated: Mapping[str, Sequence[str]]) -> str:
    if any(side.unbelieved for side in found) or any(violated.values()):
        return "invalid"
    return "valid" if violated else "unknown"


def _verdict(found: Sequence[Side], violated: Mapping[str, Sequence[str]]) -> str:
    if unbelieved := [side.label for side in found if side.unbelieved]:
        return f"Not all of it can be believed: {', '.join(unbelieved)}."
    broken = [text for text, labels in violated.items() if labels]
    if broken:
        return f"What must not be, is: {'; '.join(broken)}."
    if violated:
        return "None of the conditions that must not be holds."
    return "No condition was set; look at the figures."


def _row(line: Line) -> dict[str, Any]:
    """A metric: each side's median; how it is to the first's, and by how much it differs."""
    cells = [{"median": line.median(number)} for number in range(len(line.estimates))]
    for number, effect in enumerate(line.effects, 1):
        cells[number] |= {
            "ratio": line.times(number),
            "difference": str(effect.difference) if effect.difference.count > 1 else "",
        }
    return {"metric": line.metric, "unit": "" if line.unit == "1" else line.unit, "cells": cells}
