"""The figure of study crosspop."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from experiments import stats
from experiments.show.figures.canvas import (
    BLUE,
    INK,
    ORANGE,
    figure_of,
    plain,
    saved,
    shares_axis,
    steps,
    title,
)

if TYPE_CHECKING:
    import pandas as pd


LOOKS: Mapping[str, tuple[str, str, str]] = {
    "whole": (BLUE, "o", "over the backbone"),
    "cut": (ORANGE, "v", "with the backbone cut"),
}
"""Colour, marker and label of each state of the backbone."""


def draw(ways: pd.DataFrame, downloads: pd.DataFrame, rate_mbit_s: float, path: Path) -> Path:
    """What the way home adds against the closed form, and what downloads over the backbone get.

    ``ways`` and ``downloads`` are the tables of the study of that name.
    """
    figure, (left, right) = figure_of(10.5, 4.4, 2)
    least = most = 0.0
    for state, (colour, marker, label) in LOOKS.items():
        mine = ways[ways["state"] == state].dropna(subset="extra_ms")
        least = min([least, *mine["model_extra_ms"]])
        most = max([most, *mine["model_extra_ms"]])
        left.plot(mine["model_extra_ms"], mine["extra_ms"], color=colour, marker=marker,
                  markersize=6, linestyle="", alpha=0.6, label=label)  # fmt: skip
    left.plot(
        [least, most], [least, most], color=INK, linewidth=1, linestyle=":", label="as modelled"
    )
    left.set(xlabel="d(o, L) + b(L, h) - d(o, h), ms", ylabel="measured over an own address, ms")
    left.legend(loc="upper left", frameon=True, framealpha=0.95, fontsize=9)
    plain(left)
    title(left, "What the way home adds")
    over = downloads[downloads["crossings"] > 0]
    for state, colour, line in (("free", BLUE, "-"), ("limited", ORANGE, "--")):
        values, shares = stats.cdf(over[over["state"] == state]["mbit_s"])
        steps(right, values, shares, color=colour,
                   linestyle=line, linewidth=1.8,
                   label="no rate" if state == "free" else "with a rate")  # fmt: skip
    right.axvline(rate_mbit_s, color=INK, linewidth=1, linestyle=":", label="the rate")
    right.set(xscale="log", xlabel="goodput of a download, Mbit/s")
    shares_axis(right, "downloads over the backbone")
    right.legend(loc="lower right", frameon=True, framealpha=0.95, fontsize=9)
    title(right, "What a rate of the backbone leaves")
    return saved(
        figure,
        path,
        "What the way home adds to a round trip against the closed form; goodput of downloads.",
    )
