"""The figure of study workloads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.ticker import ScalarFormatter

from experiments import stats
from experiments.show.figures.canvas import (
    BLUE,
    GREEN,
    GRID,
    INK,
    ORANGE,
    PINK,
    QUIET,
    YELLOW,
    figure_of,
    plain,
    saved,
    title,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def _range(values: Sequence[float]) -> tuple[float, float]:
    """The least and the most of what a logarithmic axis shows; some range if that is nothing."""
    shown = [value for value in values if value > 0]
    return (min(shown), max(shown)) if shown else (1.0, 10.0)


LOOKS: Mapping[str, tuple[str, str, str]] = {
    "even": (BLUE, "-", "open loop, even"),
    "poisson": (GREEN, "-", "open loop, at random"),
    "trace": (PINK, "-", "open loop, from a trace"),
    "udp": (YELLOW, "-", "open loop, UDP"),
    "closed": (ORANGE, "--", "closed loop"),
    "closed, corrected": (INK, ":", "closed loop, corrected"),
    "connect": (QUIET, "-.", "connects alone"),
}
"""Colour, line and label of each workload."""


def draw(
    times: Mapping[str, pd.Series[float]], goodputs: Mapping[str, float], model: float, path: Path
) -> Path:
    """The share of requests that take longer than so many ms, and what a bulk transfer gets.

    ``times`` are in ms, by arm; ``goodputs`` in Mbit/s, with a rate and without, ``model`` is what
    the rate leaves.
    """
    figure, (left, right) = figure_of(10.5, 4.4, 2, width_ratios=(2.2, 1))
    for arm, (colour, line, label) in LOOKS.items():
        values, shares = stats.cdf(times[arm])
        longer = [1 - share + 1 / len(values) for share in shares]
        left.step(values, longer, where="pre", color=colour, linestyle=line, label=label,
                  linewidth=4 if arm == "even" else 1.8)  # fmt: skip
    left.axhline(0.01, color=GRID, linewidth=1.2, zorder=0)
    left.annotate("1 in 100", (0.6, 0.01), xycoords=("axes fraction", "data"), fontsize=8,
                  color=INK, va="bottom")  # fmt: skip
    least, most = _range([x for one in times.values() for x in one.dropna()])
    left.set(xscale="log", yscale="log", xlabel="time of a request, ms",
             xlim=(0.8 * least, 1.3 * most), ylim=(1e-4, 1.5),
             ylabel="share of requests that take as long or longer")  # fmt: skip
    left.xaxis.set_major_formatter(ScalarFormatter())
    plain(left)
    title(left, "What workloads see of the same stall")
    _bulk_bars(right, goodputs, model)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4,
                  frameon=False, fontsize=9)  # fmt: skip
    return saved(
        figure,
        path,
        "Share of requests that take so long or longer, by workload; goodput of a bulk transfer.",
    )


def _bulk_bars(axes: Axes, goodputs: Mapping[str, float], model: float) -> None:
    for place, goodput in enumerate(goodputs.values()):
        axes.bar(place, goodput, width=0.6, color=(BLUE, ORANGE)[place],
                 hatch=("", "//")[place], edgecolor="white")  # fmt: skip
        axes.annotate(f"{goodput:.4g}", (place, goodput), ha="center", va="bottom", fontsize=9)
    axes.plot([-0.4, 0.4], [model, model], color=INK, linewidth=2, label="closed form")
    axes.set_xticks(range(len(goodputs)), ["with a rate", "without"])
    axes.set(yscale="log", ylabel="goodput, Mbit/s", ylim=(1, 4 * max(model, *goodputs.values())))
    axes.legend(loc="upper left", frameon=False, fontsize=9)
    plain(axes)
    title(axes, "Bulk")
