"""The figure of study names."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.show.figures.canvas import (
    BLUE,
    INK,
    ORANGE,
    figure_of,
    plain,
    saved,
    shares_axis,
    title,
)
from topologies import cartography

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


LOOKS: Mapping[str, tuple[str, str]] = {
    "random": (BLUE, "-"),
    "static": (ORANGE, "--"),
    "one": (INK, ":"),
}
"""Colour and line of each binding of names to addresses."""

LATE_STEP_S = 0.5
"""Visits are counted over so long."""


@dataclass(frozen=True)
class Late:
    """Visits of an arm in which names leave an address, and the closed form, if there is one.

    ``visits`` has ``since_s`` (when names left is 0) and ``old``: whether it went there.
    """

    visits: pd.DataFrame
    formula: Callable[[float], float] | None


def draw(loads: pd.DataFrame, late: Mapping[str, Late], path: Path) -> Path:
    """The load of each address, the busiest first; and who still goes to one that names leave.

    ``loads`` is the table of the study of that name, without addresses that nobody visits.
    """
    figure, (left, right) = figure_of(10.5, 4.4, 2)
    most = max((int(str(arm).split()[1]) for arm in loads["arm"].unique()), default=0)
    for arm, mine in loads.groupby("arm", sort=False):
        colour, line = LOOKS[str(arm).split()[0]]
        share = mine["over_mean"].sort_values(ascending=False).reset_index(drop=True)
        wide = 2.2 if int(str(arm).split()[1]) == most else 1.2
        left.plot(share.index + 1, share, color=colour, linestyle=line, linewidth=wide, label=arm,
                  marker="." if str(arm).startswith("one") else None)  # fmt: skip
    left.set(xscale="log", yscale="log", xlabel="addresses that are visited, the busiest first",
             ylabel="visits to the address, over the mean of all")  # fmt: skip
    if len(loads):
        left.legend(title="names are bound", frameon=True, framealpha=0.95, fontsize=9)
    plain(left)
    title(left, "How even the load is")
    for (arm, one), colour in zip(late.items(), itertools.cycle(cartography.COLOURS)):
        _coming_late(right, arm, one, colour)
    right.axvline(0, color=INK, linewidth=1)
    right.set_xlabel("seconds since names have left the address")
    shares_axis(right, "visits that go there")
    right.legend(loc="upper right", frameon=True, framealpha=0.95, fontsize=9)
    plain(right)
    title(right, "Who still comes (lines: closed form)")
    return saved(
        figure,
        path,
        "Visits by address over their mean, by binding; the share that still goes to an address.",
    )


def _coming_late(axes: Axes, arm: str, late: Late, colour: str) -> None:
    visits = late.visits.dropna(subset="since_s")
    step = (visits["since_s"] // LATE_STEP_S + 0.5) * LATE_STEP_S
    shares = visits.groupby(step)["old"].mean()
    axes.plot(shares.index, shares, color=colour, marker="o", markersize=4, label=arm,
              linestyle="" if late.formula else "--")  # fmt: skip
    if late.formula and len(shares):
        after = [at_s for at_s in shares.index if at_s >= 0]
        axes.plot(after, [late.formula(at_s) for at_s in after], color=colour, linewidth=1.5)
