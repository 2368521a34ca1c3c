"""Figures of study internet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.ticker import PercentFormatter, ScalarFormatter

from experiments import stats
from experiments.show.figures.canvas import (
    BLUE,
    GREEN,
    GRID,
    INK,
    ORANGE,
    figure_of,
    plain,
    saved,
    shares_axis,
    title,
)

if TYPE_CHECKING:
    import pandas as pd


LOOKS: Mapping[str, tuple[str, str, str]] = {
    "random": (BLUE, "o", "random sites"),
    "greedy": (GREEN, "", "greedy sites"),
    "given": (ORANGE, "D", "the network's PoPs"),
}
"""Colour, marker and label of where sites are."""


def sites(placements: pd.DataFrame, path: Path) -> Path:
    """Round trips and what BGP adds to the straight way, against the number of sites.

    ``placements`` is the table of the study ``internet``.
    """
    figure, panels = figure_of(10.5, 4.4, 2)
    columns = ("rtt_p50_ms", "inflation_p95_ms")
    for axes, column in zip(panels, columns, strict=True):
        for arm, (colour, marker, label) in LOOKS.items():
            mine = placements[placements["arm"] == arm]
            axes.plot(mine["sites"], mine[column], color=colour, marker=marker, linewidth=1.8,
                      label=label)  # fmt: skip
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.set_xlabel("sites")
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", color=GRID)
        plain(axes)
    rtt, inflation = panels
    straight = placements[placements["arm"] == "random"]
    rtt.plot(straight["sites"], straight["nearest_p50_ms"], color=INK, linestyle=":",
             label="random, straight to the nearest")  # fmt: skip
    rtt.set_ylabel("median round trip, ms")
    rtt.legend(loc="upper right", frameon=True, framealpha=0.95, fontsize=9)
    inflation.set_ylabel("inflation of one client in twenty, ms")
    title(rtt, "How near the service is")
    title(inflation, "What BGP adds to the way to the nearest site")
    return saved(
        figure,
        path,
        "Median round trip and inflation on the Internet against the number of sites.",
    )


def splits(splits: pd.DataFrame, floods: pd.DataFrame, path: Path) -> Path:
    """How far every announcement is from the wanted split; what floods leave of the sites' room.

    ``splits`` and ``floods`` are tables of the study ``internet``.
    """
    figure, (left, right) = figure_of(10.5, 4.4, 2)
    values, shares = stats.cdf(splits.drop_duplicates("way")["off_share"])
    left.step([*values[:1], *values], [0.0, *shares], where="post", color=BLUE, linewidth=2)
    plain = float(splits[splits["arm"] == "plain"]["off_share"].iloc[0])
    left.axvline(plain, color=ORANGE, linestyle="--", label=f"plain: {plain:.0%}")
    left.axvline(min(values), color=GREEN, linestyle=":", label=f"best: {min(values):.0%}")
    left.set_xlabel("clients that are not where they are wanted")
    left.xaxis.set_major_formatter(PercentFormatter(1))
    left.legend(loc="lower right", frameon=True, framealpha=0.95, fontsize=9)
    shares_axis(left, f"share of the {len(values)} announcements")
    title(left, "Announcements of the given sites")
    for arm, (colour, marker, label) in LOOKS.items():
        mine = floods[floods["arm"] == arm]
        count = int(mine["sites"].max())
        mine = mine[mine["sites"] == count].sort_values("volume")
        right.plot(mine["volume"], mine["absorbed_share"], color=colour, label=f"{label}: {count}")
        right.plot(mine["volume"], mine["counted_share"], color=colour, linestyle="",
                   marker=marker or "s")  # fmt: skip
    right.set_xlabel("attack over the capacity of all sites")
    right.set_xlim(left=0)
    right.legend(loc="upper right", frameon=True, framealpha=0.95, fontsize=9,
                 title="lines: closed form")  # fmt: skip
    shares_axis(right, "share of the attack that is absorbed")
    title(right, "Floods over sites of equal capacity")
    return saved(
        figure,
        path,
        "How far announcements are from the wanted split, and how much of floods is absorbed.",
    )
