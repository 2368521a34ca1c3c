"""The times of several runs over one another: a panel for each arm, a line for each run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from experiments.show.page.distributions import Distribution
from topologies.cartography import COLOURS
from topologies.map import INK

MOST_ARMS = 9
_COLUMNS = 3
_LINES = ("-", "--", ":", "-.")


def draw(runs: Mapping[str, Sequence[Distribution]], path: Path) -> Path:
    """How the times of each run are distributed. ``runs`` by label; arms are told apart by name."""
    arms = list(dict.fromkeys(one.arm for run in runs.values() for one in run))[:MOST_ARMS]
    columns = min(_COLUMNS, len(arms))
    rows = ceil(len(arms) / columns)
    figure = Figure(figsize=(4.2 * columns, 3.1 * rows + 0.5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for panel in panels.flat[len(arms) :]:
        panel.set_visible(False)
    for panel, arm in zip(panels.flat, arms, strict=False):
        for number, (label, run) in enumerate(runs.items()):
            for one in run:
                if one.arm == arm:
                    panel.step(
                        [*one.values[:1], *one.values],
                        [0.0, *one.shares],
                        where="post",
                        color=COLOURS[number % len(COLOURS)],
                        linestyle=_LINES[number % len(_LINES)],
                        label=f"{label} ({one.counted:,} times)",
                    )
        panel.set_xlim(left=0)
        panel.yaxis.set_major_formatter(PercentFormatter(1.0))
        panel.set_title(arm, loc="left", fontsize=9.5, color=INK)
        panel.set_xlabel("round-trip time, ms", fontsize=8.5)
        panel.tick_params(labelsize=8, colors=INK)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(fontsize=7, frameon=False, loc="lower right")
    figure.savefig(path)
    return path
