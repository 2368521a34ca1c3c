"""The figure of study borrowing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.ticker import MaxNLocator, PercentFormatter

from experiments.show.figures.canvas import (
    BLUE,
    GREEN,
    GRID,
    INK,
    ORANGE,
    YELLOW,
    figure_of,
    plain,
    saved,
    title,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


LOOKS: Mapping[str, tuple[str, str, str]] = {
    "own": (BLUE, "s", "A  an address for every server"),
    "owner": (ORANGE, "v", "B  one owner for all PoPs"),
    "pop owner": (YELLOW, "D", "B' one owner in each PoP"),
    "port sets": (GREEN, "o", "C  port sets (borrowed)"),
    "plain anycast": (INK, "X", "control: plain anycast"),
}
"""Colour, marker and label of each design of egress."""


def draw(designs: pd.DataFrame, path: Path) -> Path:
    """Addresses needed against RTT to origins, and the fetches that got through, by design."""
    figure, (cost, through) = figure_of(10.5, 4.4, 2, width_ratios=[1.25, 1])
    shown = designs[designs["design"] != "plain anycast"]
    shown = shown.dropna(subset="rtt_p50_ms")  # what is lost has no RTT
    side = 0.012 * shown["addresses"].max()  # equal costs stand side by side
    before: Counter[int] = Counter()
    for row in shown.to_dict("records"):
        _cost_point(cost, row, row["addresses"] + before[row["addresses"]] * 2 * side)
        before[row["addresses"]] += 1
    cost.set(xlabel="IPv4 addresses used", ylabel="round trip to origin, ms (median; bar: to p95)")
    cost.set_ylim(bottom=0)
    cost.set_xlim(0, max(designs["addresses"].max() * 1.12, 2))
    cost.xaxis.set_major_locator(MaxNLocator(integer=True))
    cost.grid(color=GRID, linewidth=0.8)
    title(cost, "What a design costs, and how fast it is")
    plain(cost)
    _through_bars(through, designs)
    return saved(
        figure,
        path,
        "Addresses used, round trips to origins, and fetches that got through, by design.",
    )


def _cost_point(axes: Axes, row: Mapping[Any, Any], x: float) -> None:
    colour, marker, label = LOOKS[row["design"]]
    reach = [[0.0], [max(0.0, row["rtt_p95_ms"] - row["rtt_p50_ms"])]]
    axes.errorbar(
        [x],
        [row["rtt_p50_ms"]],
        yerr=reach,
        fmt=marker,
        color=colour,
        markersize=9,
        markeredgecolor=INK,
        elinewidth=1.2,
        capsize=3,
        linestyle="none",
    )
    letter = label.split()[0]
    axes.annotate(
        letter,
        (x, row["rtt_p50_ms"]),
        xytext=(9, -3.5),
        textcoords="offset points",
        fontsize=10,
        fontweight="bold",
        color=INK,
    )


def _through_bars(axes: Axes, designs: pd.DataFrame) -> None:
    rows = list(reversed(designs.to_dict("records")))
    for height, row in enumerate(rows):
        share = row["ok"] / row["total"]
        colour, _, _ = LOOKS[row["design"]]
        control = row["design"] == "plain anycast"
        face, hatch = ("white", "////") if control else (colour, "")
        axes.barh(height, share, color=face, edgecolor=INK, hatch=hatch, height=0.62, linewidth=0.8)
        text = f"{row['ok']} of {row['total']}"
        axes.text(1.02, height, text, va="center", fontsize=9, color=INK)
    labels = [LOOKS[row["design"]][2].replace("control: ", "control:\n") for row in rows]
    axes.set_yticks(range(len(rows)), labels)
    axes.set_xlim(0, 1.0)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("fetches that got their answer")
    title(axes, "What gets through")
    plain(axes)
