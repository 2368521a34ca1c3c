"""The figure of the emulator's own error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import stats
from experiments.show.figures.canvas import (
    BLUE,
    INK,
    ORANGE,
    figure_of,
    saved,
    shares_axis,
    title,
)

if TYPE_CHECKING:
    import pandas as pd


ERROR_FLOOR_US = 0.001
"""The least error that is shown on a logarithmic axis: the kernel's stamps are whole ns."""


def draw(errors_us: Mapping[str, pd.Series[float]], path: Path) -> Path:
    """How far round-trip times are from the model, us, one step line for each series of pings."""
    figure, (axes,) = figure_of(7.2, 4.4, 1)
    looks: Sequence[dict[str, Any]] = (
        {"color": ORANGE},
        {"color": BLUE, "linewidth": 3.4},
        {"color": ORANGE, "linestyle": "--"},
        {"color": INK, "linestyle": ":"},
    )
    for (label, series), look in zip(errors_us.items(), looks, strict=False):
        values, shares = stats.cdf(series.clip(lower=ERROR_FLOOR_US))
        middle, most = stats.median(series), stats.quantile(series, 1.0)
        label = f"{label}\nmedian {_us(middle)}, max {_us(most)}"
        axes.step(values, shares, where="post", label=label, **{"linewidth": 1.8} | look)
    axes.set_xscale("log")
    axes.set_xlabel("|measured - modelled round-trip time|, us (logarithmic)")
    shares_axis(axes, "share of the pings")
    axes.legend(loc="center", frameon=False, fontsize=8.5, labelspacing=0.9)
    title(axes, "How true is an emulated round-trip time?")
    return saved(
        figure,
        path,
        "Distribution of measured minus modelled round-trip times, a line for each series.",
    )


def _us(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f} us" if value >= 10 else f"{value:.2g} us"
