"""The figure of study shedding."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.ticker import PercentFormatter

from experiments.show.figures.canvas import (
    BLUE,
    INK,
    ORANGE,
    QUIET,
    figure_of,
    plain,
    saved,
    title,
)

if TYPE_CHECKING:
    import pandas as pd


def draw(
    loads: pd.DataFrame, arms: Sequence[str], pop: str, marks: Sequence[float], path: Path
) -> Path:
    """The load of every PoP as a share of its capacity over time, a panel for each arm.

    ``loads`` is the table of the study of that name, ``pop`` the one in whose region the rush is,
    ``marks`` the shares of capacity above and below which load is moved.
    """
    figure, panels = figure_of(5.2 * len(arms), 4.2, len(arms))
    for axes, arm in zip(panels, arms, strict=True):
        mine = loads[loads["arm"] == arm]
        others = mine[mine["pop"] != pop]
        for other, line in others.groupby("pop"):
            label = "other PoPs" if other == others["pop"].min() else None
            axes.step(line["second"], line["share"], where="post", color=BLUE, linewidth=1.1,
                      linestyle="--", label=label)  # fmt: skip
        full = mine[mine["pop"] == pop]
        axes.step(full["second"], full["share"], where="post", color=ORANGE, linewidth=2.4,
                  label=f"{pop}, as its servers saw")  # fmt: skip
        told = full.dropna(subset="told_share")
        if len(told):
            axes.plot(told["second"], told["told_share"], ".", color=INK, markersize=4,
                      label=f"{pop}, as the controller counts")  # fmt: skip
        axes.axhline(1, color=INK, linewidth=1.4, label="capacity")
        for mark, label in zip(marks, ("sheds above, takes back below", None), strict=True):
            axes.axhline(mark, color=QUIET, linewidth=1.2, linestyle=":", label=label)
        axes.set(xlabel="time, s", xlim=(0, None))
        axes.set_ylim(0, max(1.7, 1.05 * float(loads["share"].max())) if len(loads) else 1.7)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        plain(axes)
        title(axes, f"By policy {arm}")
    panels[0].set_ylabel("load, of the PoP's capacity")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    return saved(
        figure,
        path,
        "Load of every PoP as a share of its capacity over time, with shedding and without.",
    )
