"""The figure of study failover."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.show.figures.canvas import (
    BLUE,
    GREEN,
    GRID,
    ORANGE,
    figure_of,
    plain,
    saved,
    title,
)

if TYPE_CHECKING:
    import pandas as pd


LOOKS: Mapping[str, tuple[str, str, str]] = {
    "switches": (BLUE, "o", "switches alone"),
    "controller": (ORANGE, "v", "controller alone"),
    "bgp": (GREEN, "s", "as BGP converges"),
}
"""Colour, marker and label of who repairs."""

LEAST_OUTAGE_MS = 1.0
"""What is shorter than the time between two packets is shown here."""


def draw(outages: pd.DataFrame, path: Path) -> Path:
    """How long each stream was away, by failure and by who repaired it; log scale.

    ``outages`` is the table of the study of that name.
    """
    figure, (axes,) = figure_of(7.2, 4.2, 1)
    failures = list(dict.fromkeys(outages["failure"]))
    for shift, (who, (colour, marker, label)) in enumerate(LOOKS.items()):
        mine = outages[(outages["recovery"] == who) & outages["repair_ms"].notna()]
        places = [failures.index(failure) + 0.3 * (shift - 1) for failure in mine["failure"]]
        axes.plot(mine["repair_ms"].clip(lower=LEAST_OUTAGE_MS), places, color=colour,
                  marker=marker, linestyle="", alpha=0.6, markersize=7,
                  markeredgecolor="white", label=label)  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlabel(f"away after the failure, ms ({LEAST_OUTAGE_MS:g}: not at all)")
    axes.set_yticks(range(len(failures)), failures)
    axes.invert_yaxis()
    axes.grid(axis="x", color=GRID)
    axes.legend(loc="best", frameon=True, framealpha=0.95, fontsize=9)
    plain(axes)
    title(axes, "How long a failure is felt")
    return saved(
        figure,
        path,
        "How long each stream was away, by failure and by who repaired it; log scale.",
    )
