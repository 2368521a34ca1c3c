"""The figure of study sites."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.ticker import MaxNLocator

from experiments.show.figures.canvas import (
    BLUE,
    GREEN,
    GRID,
    INK,
    ORANGE,
    PINK,
    figure_of,
    plain,
    saved,
    title,
)

if TYPE_CHECKING:
    import pandas as pd


LOOKS: Mapping[str, tuple[str, str, str]] = {
    "greedy": (BLUE, "o", "the most useful next"),
    "spread": (GREEN, "s", "the farthest next"),
    "random": (PINK, "D", "in a random order"),
    "reverse": (ORANGE, "v", "the most useful last"),
    "best": (INK, "_", "the best median of any so many"),
}
"""Colour, marker and label of each order of PoPs."""


def draw(points: pd.DataFrame, enough: float, path: Path) -> Path:
    """Median and p90 of clients' round trips against the number of PoPs, by order.

    ``points`` is the table ``sites`` of the study of that name. The band is up to ``enough`` times
    the figure for all PoPs.
    """
    panels = {"p50": "Half of the clients", "p90": "Nine in ten clients"}
    figure, all_axes = figure_of(10.5, 4.4, len(panels))
    for axes, (name, who) in zip(all_axes, panels.items(), strict=True):
        for order, (colour, marker, label) in LOOKS.items():
            mine = points[points["order"] == order]
            axes.plot(mine["pops"], mine[f"model_rtt_{name}_ms"], color=colour, linewidth=1.3,
                      linestyle=":" if order == "best" else "-")  # fmt: skip
            axes.plot(mine["pops"], mine[f"rtt_{name}_ms"], color=colour, marker=marker,
                      linestyle="", markersize=12 if order == "best" else 7,
                      label=label if len(mine) else None)  # fmt: skip
        every = float(points[f"model_rtt_{name}_ms"].iloc[-1])
        axes.axhspan(every, enough * every, color=GRID, zorder=0,
                     label=f"within {enough - 1:.0%} of all PoPs")  # fmt: skip
        axes.set(xlabel="PoPs that are announced", ylabel="round trip to the service, ms")
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        plain(axes)
        title(axes, f"{who} are so near")
    all_axes[1].legend(title="as measured; lines: closed form", loc="upper right", frameon=True,
                       framealpha=0.95, fontsize=9)  # fmt: skip
    return saved(
        figure,
        path,
        "Median and 90th percentile of the round trip against the number of PoPs, by order.",
    )
