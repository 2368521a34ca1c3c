"""The figure of study urpf."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from experiments.show.figures.canvas import (
    INK,
    figure_of,
    saved,
    title,
)

if TYPE_CHECKING:
    import pandas as pd


def draw(checks: pd.DataFrame, pops: Sequence[str], path: Path) -> Path:
    """The share of egress that upstreams refuse, PoP by PoP, by check and who announces.

    ``checks`` is the table of the study of that name.
    """
    kinds = list(checks["check"].drop_duplicates())
    figure, all_axes = figure_of(3.6 * len(kinds), 4.2, len(kinds))
    announced = list(checks["announced"].drop_duplicates())
    for axes, kind in zip(all_axes, kinds, strict=True):
        mine = checks[checks["check"] == kind]
        shares = (mine["refused"] / mine["fetches"].clip(lower=1)).set_axis(
            [mine["announced"], mine["pop"]]
        )
        grid = shares.unstack().reindex(index=announced, columns=list(pops)).to_numpy(float)
        axes.imshow(grid, cmap="Greys", vmin=-0.15, vmax=1.4, aspect="auto")
        for (row, column), share in np.ndenumerate(grid):
            ink = "white" if share > 0.6 else INK
            axes.text(
                column, row, f"{share:.0%}", ha="center", va="center", color=ink, fontsize=8.5
            )
        axes.set_xticks(range(len(pops)), pops)
        axes.set_yticks(range(len(announced)), announced)
        axes.set_xlabel("sent by servers of PoP")
        axes.tick_params(colors=INK, labelsize=9, length=0)
        axes.spines[:].set_visible(False)
        title(axes, f"Check: {kind}")
    all_axes[0].set_ylabel("borrowed addresses are announced by")
    return saved(
        figure,
        path,
        "Share of egress that upstreams refuse, by PoP, by check and by who announces.",
    )
