"""The figure of study isolation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.show.figures.canvas import (
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


def draw(attacks: pd.DataFrame, lawful: Sequence[str], path: Path) -> Path:
    """How many frames of each kind were sent, and how many of them arrived.

    ``attacks`` has a row per kind with ``attack``, ``sent``, ``arrived``; ``lawful`` names twins.
    """
    rows = attacks.iloc[::-1]
    figure, (axes,) = figure_of(7.2, 0.28 * len(rows) + 1.2, 1)
    places = range(len(rows))
    axes.barh(places, rows["sent"], color=GRID, label="sent")
    colours = [GREEN if kind in lawful else ORANGE for kind in rows["attack"]]
    axes.barh(places, rows["arrived"], height=0.4, color=colours, label="arrived (green: lawful)")
    axes.set_yticks(list(places), list(rows["attack"]))
    axes.set_xlabel("frames")
    axes.legend(loc="upper right", bbox_to_anchor=(1, -0.08), ncols=2, frameon=False, fontsize=9)
    plain(axes)
    title(axes, "What servers forged, and what arrived")
    return saved(figure, path, "Frames sent and frames that arrived, by kind of forgery.")
