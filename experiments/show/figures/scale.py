"""The figure of study scale."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.show.figures.canvas import (
    BLUE,
    GRID,
    INK,
    figure_of,
    plain,
    saved,
    title,
)
from topologies import cartography

if TYPE_CHECKING:
    import pandas as pd


def draw(lab: pd.DataFrame, core: pd.DataFrame, path: Path) -> Path:
    """The rules of all switches as leases grow, in the lab and in larger networks.

    ``lab`` and ``core`` are the tables ``rules`` and ``core`` of the study of that name.
    """
    figure, (left, right) = figure_of(10.5, 4.4, 2)
    rounds = lab.groupby("leases")[["others", "leased", "model_leased"]].sum().reset_index()
    wide = 0.8 * float(rounds["leases"].diff().min() if len(rounds) > 1 else 1)
    left.bar(rounds["leases"], rounds["others"], width=wide, color=GRID, label="all other rules")
    left.bar(rounds["leases"], rounds["leased"], width=wide, bottom=rounds["others"], color=BLUE,
             label="rules of leases, as counted")  # fmt: skip
    left.plot(rounds["leases"], rounds["others"] + rounds["model_leased"], color=INK, marker="_",
              markersize=18, linestyle="", label="closed form")  # fmt: skip
    left.set(xlabel="leases in the lab", ylabel="rules of all switches")
    left.legend(loc="lower left", frameon=True, framealpha=0.95, fontsize=9)
    plain(left)
    title(left, "Rules as leases grow")
    core = core.assign(held=core["pops"] * core["servers"] * core["leases"])
    for (pops, mine), colour in zip(core.groupby("pops"), itertools.cycle(cartography.COLOURS)):
        model = mine[[name for name in mine if str(name).startswith("model_")]].sum(axis=1)
        order = mine["held"].sort_values().index
        right.plot(mine["held"][order], model[order], color=colour, linewidth=1.3)
        right.plot(mine["held"], mine["leased"], color=colour, marker="o", linestyle="",
                   label=f"{pops} PoPs")  # fmt: skip
    right.set(xscale="log", yscale="log", xlabel="leases", ylabel="rules of leases")
    right.legend(title="lines: closed form", frameon=True, framealpha=0.95, fontsize=9)
    plain(right)
    title(right, "Beyond the lab, by the controller's core")
    return saved(
        figure, path, "Rules against leases, in the lab's switches and in larger networks."
    )
