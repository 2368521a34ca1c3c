"""The figure of study playbook: each PoP's share of clients, by what is announced."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.ticker import MaxNLocator, PercentFormatter

from experiments import stats
from experiments.show.figures.canvas import GRID, INK, figure_of, plain, saved, title
from topologies import cartography

if TYPE_CHECKING:
    import pandas as pd

_HATCHES = ("", "//", "..", "xx", "\\\\")


def draw(
    splits: pd.DataFrame,
    ways: pd.DataFrame,
    pops: Sequence[str],
    wanted: Sequence[float],
    path: Path,
) -> Path:
    """Bars of shares for what is wanted and each way that was announced; and all that is computed.

    The tables are those of the study of that name.
    """
    figure, (left, right) = figure_of(11, 4.2, 2, width_ratios=(3, 2))
    bars = [
        ("wanted", list(wanted)),
        *((row["arm"], [row[pop] for pop in pops]) for _, row in splits.iterrows()),
    ]
    for place, (_, shares) in enumerate(bars):
        below = 0.0
        for number, share in enumerate(shares):
            left.bar(place, share, bottom=below, width=0.7, edgecolor="white",
                     color=cartography.COLOURS[number % 5], hatch=_HATCHES[number % 5],
                     label=pops[number] if place == 0 else None)  # fmt: skip
            below += share
    names = ["wanted", *(f"{row['arm']}\n{row['way']}" for _, row in splits.iterrows())]
    left.set_xticks(range(len(bars)), names, fontsize=8)
    left.set_ylabel("share of the clients")
    left.set_ylim(0, 1.0)
    left.yaxis.set_major_formatter(PercentFormatter(1.0))
    handles, labels = left.get_legend_handles_labels()
    left.legend(handles[::-1], labels[::-1], loc="center left", bbox_to_anchor=(1.0, 0.5),
                frameon=False, fontsize=9)  # fmt: skip
    title(left, "Who serves whom, as announced in the lab")
    values, shares = stats.cdf(ways["off_share"])
    right.step([*values[:1], *values], [0.0, *shares], where="post", color=INK, linewidth=1.8)
    right.set_xlabel("clients not where wanted, by the model")
    right.set_ylabel(f"share of the {len(ways)} ways")
    right.xaxis.set_major_formatter(PercentFormatter(1.0))
    right.xaxis.set_major_locator(MaxNLocator(6))
    right.yaxis.set_major_formatter(PercentFormatter(1.0))
    right.set_xlim(left=0)
    right.grid(axis="y", color=GRID)
    title(right, "How good the ways are")
    for axes in (left, right):
        plain(axes)
    return saved(
        figure,
        path,
        "Each PoP's share of the clients as it is wanted and by each way that was announced, and"
        " how far all computed ways are off.",
    )
