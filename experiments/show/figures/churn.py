"""The figure of study churn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.ticker import PercentFormatter

from experiments.show.figures.canvas import (
    GRID,
    INK,
    ORANGE,
    figure_of,
    plain,
    saved,
    title,
)

if TYPE_CHECKING:
    import pandas as pd


def draw(changes: pd.DataFrame, arms: Sequence[str], path: Path) -> Path:
    """Which share of the connections broke at which change, a panel for each way to balance.

    ``changes`` is the table of the study of that name; ``arms`` are the panels, ours first.
    """
    names = list(changes["change"].drop_duplicates())[::-1]
    figure, panels = figure_of(2.3 * len(arms) + 1.6, 0.3 * len(names) + 1.4, len(arms))
    for axes, arm in zip(panels, arms, strict=True):
        mine = changes[changes["arm"] == arm].set_index("change").reindex(names)
        places = range(len(names))
        axes.barh(places, mine["moved_share"].fillna(0), color=GRID, label="moved by the model")
        axes.barh(places, mine["broken_share"], height=0.5, color=ORANGE, label="broke")
        axes.plot(mine["expected_share"].astype(float), places, "|", color=INK, markersize=13,
                  markeredgewidth=1.8, label="expected to break")  # fmt: skip
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_yticks(list(places), names if axes is panels[0] else [""] * len(names))
        plain(axes)
        title(axes, arm if axes is panels[0] else f"{arm}, without")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return saved(
        figure,
        path,
        "Share of connections that each change broke, by way to balance, beside the expected.",
    )
