"""The figure of study slices."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.ticker import PercentFormatter

from experiments.show.figures.canvas import (
    BLUE,
    GREEN,
    ORANGE,
    PINK,
    YELLOW,
    figure_of,
    plain,
    saved,
    title,
)

if TYPE_CHECKING:
    import pandas as pd


def draw(losses: pd.DataFrame, formula: Callable[[int, float], float], path: Path) -> Path:
    """Which share of connections is lost at which load, by size of the set.

    ``losses`` has ``ports``, ``load`` (Erlang for each port), ``lost_share``; ``formula`` gives the
    share for a number of ports and a load.
    """
    figure, (axes,) = figure_of(7.2, 4.4, 1)
    least, most = min(0.2, losses["load"].min()), max(1.5, losses["load"].max())
    loads = [least + n * (most - least) / 65 for n in range(66)]
    sizes = sorted(set(losses["ports"]))
    looks = cycle(zip((BLUE, ORANGE, GREEN, PINK, YELLOW), "osD^v", strict=True))
    for ports, (colour, marker) in zip(sizes, looks, strict=False):
        axes.plot(loads, [formula(ports, load * ports) for load in loads], color=colour)
        mine = losses[losses["ports"] == ports]
        axes.plot(mine["load"], mine["lost_share"], color=colour, marker=marker, linestyle="",
                  markersize=8, markeredgecolor="white", label=f"{ports} ports")  # fmt: skip
    axes.set_xlabel("load offered, Erlang for each port")
    axes.set_xlim(loads[0], loads[-1])
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_ylabel("connections that found no port")
    axes.legend(title="as measured; lines: Erlang B", loc="upper left", frameon=False, fontsize=9)
    plain(axes)
    title(axes, "What is lost when a port set is small")
    return saved(
        figure,
        path,
        "Share of connections lost by load and size of the port set, beside the formula.",
    )
