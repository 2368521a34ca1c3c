"""The figure of a sweep: each metric over the first axis, with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from topologies import cartography
from topologies import map as network_map

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from experiments.sweeps.axes import Axis

MOST_METRICS = 12
MOST_LINES = 5
"""More combinations of the other axes than that are not told apart in grey."""

_MARKERS, _LINES = "osv^D", ("-", "--", ":", "-.", (0, (5, 1, 1, 1)))
_COLUMNS = 3


def draw(summary: pd.DataFrame, axes: Sequence[Axis], path: Path) -> Path | None:
    """A small chart for every metric that is not the same in all arms; None without one.

    ``summary`` is that of ``experiments.sweeps.rows``. Bars are 95 % intervals over trials; where
    trials are too few for one there is none, and the axis label says how many there are.
    """
    told = summary.dropna(subset=["median"])
    varied = told.groupby("metric", sort=False)["median"].nunique()
    metrics = list(varied[varied > 1].index)[:MOST_METRICS]
    if not axes or not metrics:
        return None
    rows = ceil(len(metrics) / _COLUMNS)
    size = (3.6 * min(_COLUMNS, len(metrics)), 2.9 * rows)
    figure = Figure(figsize=size, dpi=150, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    places = figure.subplots(rows, min(_COLUMNS, len(metrics)), squeeze=False).flat
    for place, metric in zip(places, metrics, strict=False):
        _metric(place, told[told["metric"] == metric], axes)
    for place in list(places):
        place.set_visible(False)
    figure.savefig(path)
    return path


def _metric(place: Axes, rows: pd.DataFrame, axes: Sequence[Axis]) -> None:
    first, others = axes[0], [axis.name for axis in axes[1:]]
    numeric = all(isinstance(value, int | float) or _is_number(value) for value in first.values)
    lines = list(rows.groupby(others, sort=False)) if others else [((), rows)]
    for number, (which, mine) in enumerate(lines[:MOST_LINES]):
        spots = [float(x) if numeric else first.values.index(x) for x in mine[first.name]]
        error = [mine["median"] - mine["low"], mine["high"] - mine["median"]]
        label = ", ".join(f"{n} {v}" for n, v in zip(others, which, strict=True))
        place.errorbar(
            spots,
            mine["median"],
            yerr=None if error[0].isna().all() else error,
            color=cartography.COLOURS[number],
            marker=_MARKERS[number],
            linestyle=_LINES[number],
            markersize=4,
            capsize=3,
            label=label or None,
        )
    if (rows["median"] >= 0).all():
        place.set_ylim(bottom=0)
    place.xaxis.set_major_locator(MaxNLocator(integer=True))
    if not numeric:
        place.set_xticks(range(len(first.values)), [str(value) for value in first.values])
    unit = rows["unit"].iloc[0]
    place.set_title(str(rows["metric"].iloc[0]), loc="left", fontsize=9, color=network_map.INK)
    place.set_ylabel("" if unit == "1" else unit, fontsize=8)
    fewest, most = rows["trials"].min(), rows["trials"].max()
    count = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    place.set_xlabel(f"{first.name} ({count} trials each)", fontsize=8)
    place.tick_params(labelsize=8, colors=network_map.INK)
    place.spines[["top", "right"]].set_visible(False)
    if others:
        more = len(lines) - MOST_LINES
        place.legend(fontsize=7, frameon=False, title=f"and {more} more" if more > 0 else None,
                     title_fontsize=7)  # fmt: skip


def _is_number(value: object) -> bool:
    return isinstance(value, str) and value.replace(".", "", 1).isdecimal()
