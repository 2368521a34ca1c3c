"""The figure of study scarcity."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.show.figures.canvas import (
    BLUE,
    GREEN,
    GRID,
    ORANGE,
    PINK,
    QUIET,
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
    "port sets": (GREEN, "o", "C  port sets, in each PoP"),
    "shared": (PINK, "^", "C' port sets, across PoPs"),
    "owner": (ORANGE, "v", "B  one owner"),
}
"""Colour, marker and label of each way to use addresses, the most costly first."""


def draw(points: pd.DataFrame, formula: Callable[..., int], path: Path) -> Path:
    """Addresses for one tag as servers grow, and all that was counted beside the closed form.

    ``points`` is the table of the study of that name; ``formula`` gives the addresses for a design,
    the servers by PoP, tags and a size of set.
    """
    figure, (growth, true) = figure_of(10.5, 4.4, 2, width_ratios=[1.25, 1])
    _growth(growth, points[points["place"] == "book"], formula)
    for place, face in (("book", False), ("lab", True)):
        for design, (colour, marker, _) in LOOKS.items():
            mine = points[(points["place"] == place) & (points["design"] == design)]
            true.plot(mine["needed"], mine["taken"], marker=marker, color=colour, linestyle="",
                      markersize=7, markerfacecolor=colour if face else "none")  # fmt: skip
    most = max(2, int(points["needed"].max()))
    true.plot([1, most], [1, most], color=QUIET, linewidth=1, zorder=0)
    true.set(xscale="log", yscale="log")
    true.set(xlabel="addresses by the closed form", ylabel="addresses taken")
    true.grid(color=GRID, linewidth=0.8)
    plain(true)
    title(true, "As counted (filled: in the lab; hollow: in the book)")
    return saved(
        figure,
        path,
        "Addresses taken against servers and tags by design, beside the formula.",
    )


def _growth(axes: Axes, points: pd.DataFrame, formula: Callable[..., int]) -> None:
    """Lines by the closed form, points as counted, for the smallest sets and the most tags."""
    tags, ports = int(points["tags"].max()), int(points["ports"].min())
    pops = max(len(row.split()) for row in points["servers_by_pop"])
    most = int(points["servers"].max()) // pops
    each = range(1, most + 1)
    for design, (colour, marker, label) in LOOKS.items():
        needed = [formula(design, (n,) * pops, tags, ports) for n in each]
        axes.plot([n * pops for n in each], needed, color=colour)
        mine = points[(points["design"] == design) & (points["tags"] == tags)]
        mine = mine[mine["ports"].isin((ports, points["ports"].max()))]
        axes.plot(mine["servers"], mine["taken"], marker=marker, color=colour, linestyle="",
                  markersize=8, markeredgecolor="white", label=label)  # fmt: skip
    axes.set_yscale("log")
    axes.set_xlim(0, most * pops * 1.04)
    axes.set(xlabel=f"servers, in {pops} PoPs", ylabel=f"IPv4 addresses for {tags} tags")
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_ylim(top=10 * points["taken"].max())
    axes.legend(title=f"lines: closed form; sets of {ports:,} ports", loc="upper left", ncols=2,
                frameon=False, fontsize=9)  # fmt: skip
    plain(axes)
    title(axes, "How many addresses it takes")
