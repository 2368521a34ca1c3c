"""The figure of study geo."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.ticker import PercentFormatter

from experiments import stats
from experiments.show.figures.canvas import (
    BLUE,
    GREEN,
    ORANGE,
    PINK,
    figure_of,
    plain,
    saved,
    shares_axis,
    title,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


LOOKS: Mapping[str, tuple[str, str]] = {
    "pop country": (BLUE, "its PoP's own country"),
    "one owner": (ORANGE, "one owner of each country"),
    "borrowed": (GREEN, "borrowed by tag"),
    "abroad": (PINK, "borrowed abroad"),
}
"""Colour and label of each way to an address of a country."""


def draw(designs: pd.DataFrame, fetches: pd.DataFrame, path: Path) -> Path:
    """How many fetches have their user's country, and how long they take, by design.

    ``designs`` and ``fetches`` are the tables of the study of that name.
    """
    figure, (right, far) = figure_of(10.5, 4.2, 2, width_ratios=[1, 1.15])
    _right_country(right, designs)
    good = fetches[fetches["outcome"] == "ok"]
    for design in ("borrowed", "abroad", "one owner"):
        for withdrawn in (False, True):
            mine = good[(good["design"] == design) & (good["withdrawn"] == withdrawn)]
            _way(far, mine["rtt_ms"], design, withdrawn)
    far.set_xlabel("round trip to the origin, ms")
    far.set_xlim(left=0)
    shares_axis(far, "share of the fetches")
    if len(good):
        far.legend(loc="lower right", frameon=True, framealpha=0.95, fontsize=9)
    title(far, "How long the way is (pale: a PoP is withdrawn)")
    return saved(
        figure,
        path,
        "Fetches with an address of their user's country, and their round trips, by design.",
    )


def _way(axes: Axes, rtt_ms: pd.Series[float], design: str, withdrawn: bool) -> None:
    """One step line of round trips; pale ones share the label of the others."""
    values, shares = stats.cdf(rtt_ms)
    if not values:
        return
    colour, label = LOOKS[design]
    lines: Mapping[str, Any] = {"one owner": "--", "abroad": ":"}
    axes.step([values[0], *values], [0, *shares], where="post", color=colour,
              linestyle=lines.get(design, "-"), linewidth=2.8 if design == "abroad" else 2,
              alpha=0.45 if withdrawn else 1, label=None if withdrawn else label)  # fmt: skip


def _right_country(axes: Axes, designs: pd.DataFrame) -> None:
    rows = list(reversed(designs.to_dict("records")))
    for height, row in enumerate(rows):
        colour, _ = LOOKS[row["design"]]
        parts = ((0.19, "accuracy_usual", 1.0), (-0.19, "accuracy_withdrawn", 0.45))
        for offset, column, alpha in parts:
            share = row[column]
            if share is None or share != share:
                continue
            axes.barh(height + offset, share, height=0.34, color=colour, alpha=alpha)
            axes.text(share + 0.015, height + offset, f"{share:.0%}", va="center", fontsize=8.5)
    axes.set_yticks(range(len(rows)), [LOOKS[row["design"]][1] for row in rows])
    axes.set_xlim(0, 1.12)
    axes.set_xticks([0, 0.5, 1])
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("fetches with the user's country")
    title(axes, "Who leaves with the right country")
    plain(axes)
