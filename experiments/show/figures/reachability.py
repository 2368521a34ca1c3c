"""The figure of study reachability."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib import colormaps

from experiments.show.figures.canvas import (
    INK,
    figure_of,
    saved,
    title,
)
from topologies.plan import HostRole, Plan

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def draw(samples: pd.DataFrame, plan: Plan, path: Path) -> Path:
    """Median RTT of each client by each method, and of each server to each origin."""
    tall = max(len(plan.hosts_of(HostRole.CLIENT)), len(plan.hosts_of(HostRole.SERVER)))
    origins = len(plan.hosts_of(HostRole.ORIGIN))
    width = 5.4 + 0.75 * (3 + origins)
    figure, (ingress, egress) = figure_of(
        width, 1.6 + 0.26 * max(tall, 4), 2, width_ratios=[3, max(origins, 2)]
    )
    methods = ("icmp", "tcp", "http")
    asked = samples[samples["method"].isin(methods)]
    _matrix(ingress, asked.assign(column=asked["method"].str.upper()), tall)
    title(ingress, "Clients to the service")
    fetched = samples[samples["method"] == "egress"]
    _matrix(egress, fetched.assign(column=fetched["target"]), tall)
    title(egress, "Servers to origins, as borrowers")
    figure.supxlabel("median round-trip time, ms; black: no answer", fontsize=9, color=INK)
    return saved(
        figure,
        path,
        "Median round-trip times: each client by each method, each server to each origin.",
    )


def _matrix(axes: Axes, tries: pd.DataFrame, rows: int) -> None:
    """A cell per source and column; ``rows`` is the height, so that neighbours have equal cells."""
    good = tries[tries["outcome"] == "ok"]
    table = good.pivot_table(index="source", columns="column", values="rtt_ms", aggfunc="median")
    table = table.reindex(
        index=tries["source"].drop_duplicates(), columns=tries["column"].drop_duplicates()
    )
    colours = colormaps["Blues"].with_extremes(bad="black")
    axes.imshow(table.to_numpy(float), cmap=colours, vmin=0, aspect="auto", alpha=0.75)
    axes.set_xticks(range(table.shape[1]), list(table.columns), fontsize=8.5)
    axes.set_yticks(range(table.shape[0]), list(table.index), fontsize=8)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_xticks([x - 0.5 for x in range(1, table.shape[1])], minor=True)
    axes.set_yticks([y - 0.5 for y in range(1, table.shape[0])], minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="both", length=0)
    axes.xaxis.tick_top()
    axes.spines[:].set_visible(False)
    largest = float(table.max().max())
    for y, row in enumerate(table.to_numpy(float)):
        for x, value in enumerate(row):
            lost = value != value
            colour = "white" if lost or value > 0.7 * largest else INK
            text = "lost" if lost else f"{value:.1f}"
            axes.text(x, y, text, ha="center", va="center", fontsize=8, color=colour)
