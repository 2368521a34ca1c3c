"""The figure of study announcing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import PercentFormatter

from experiments import stats
from experiments.show.figures.canvas import (
    BLUE,
    GREEN,
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


LOOKS: Mapping[str, tuple[str, str]] = {
    "one PoP": (ORANGE, "--"),
    "everywhere": (BLUE, "-"),
    "at home": (GREEN, "-."),
}
"""Colour and line of each way to announce borrowed addresses."""


def draw(ways: pd.DataFrame, extra: pd.DataFrame, path: Path) -> Path:
    """What becomes of replies by how addresses are announced, and how much longer they take.

    ``ways`` is the table of the study of that name, ``extra`` what its ``extra_ms`` gives.
    """
    figure, (left, right) = figure_of(11, 4.2, 2)
    at = np.arange(len(ways))
    shares = (
        ("elsewhere_share", BLUE, "", "land elsewhere"),
        ("refused_share", ORANGE, "//", "refused by strict upstreams"),
        ("lost_share", INK, "", "lost without a check"),
    )
    for n, (column, colour, hatch, label) in enumerate(shares):
        values = ways[column].to_numpy(float)
        bars = left.barh(at + 0.26 * (n - 1), values, height=0.24, color=colour, hatch=hatch,
                         edgecolor="white", label=label)  # fmt: skip
        left.bar_label(bars, [f"{x:.0%}" for x in values], padding=3, fontsize=8, color=INK)
    names = zip(ways["way"], ways["prefixes"], strict=True)
    left.set_yticks(at, [f"{way}\n{n} {'prefix' if n == 1 else 'prefixes'}" for way, n in names])
    left.invert_yaxis()
    left.set(xlim=(0, 1.12))
    left.xaxis.set_major_formatter(PercentFormatter(1))
    left.set_xlabel("of fetches")
    left.legend(loc="upper right", frameon=True, framealpha=0.95, fontsize=8.5)
    plain(left)
    title(left, "What becomes of replies")
    for way, (colour, line) in LOOKS.items():
        longer, reached = stats.cdf(extra[extra["way"] == way]["extra_ms"].dropna())
        steps(right, longer, reached, color=colour,
                   linestyle=line, linewidth=1.8, label=way)  # fmt: skip
    right.set_xlabel("round trip over that from an own address, ms")
    shares_axis(right, "servers and origins")
    right.legend(loc="lower right", frameon=True, framealpha=0.95, fontsize=9)
    title(right, "What the way home adds")
    return saved(
        figure,
        path,
        "Shares of replies that land elsewhere, are refused or lost; what the way home adds.",
    )
