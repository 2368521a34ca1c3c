"""The figure of study latency."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import stats
from experiments.show.figures.canvas import (
    BLUE,
    GRID,
    INK,
    ORANGE,
    figure_of,
    saved,
    shares_axis,
    steps,
    title,
)

if TYPE_CHECKING:
    import pandas as pd


def draw(clients: pd.DataFrame, one_site: str, path: Path) -> Path:
    """How many clients are within which RTT: anycast, one site for all, the best for each.

    ``clients`` has a row per client with ``anycast_rtt_ms``, ``unicast_rtt_ms``, ``best_rtt_ms``.
    """
    figure, (axes,) = figure_of(7.2, 4.4, 1)
    looks: Sequence[tuple[str, str, dict[str, Any]]] = (
        ("unicast", f"one site for all ({one_site})", {"color": ORANGE, "linestyle": "--"}),
        ("anycast", "anycast, as measured", {"color": BLUE, "linewidth": 2.6}),
        ("best", "best PoP for each client", {"color": INK, "linestyle": ":"}),
    )
    for arm, label, look in looks:
        values, shares = stats.cdf(clients[f"{arm}_rtt_ms"], of=len(clients))
        middle = stats.median(clients[f"{arm}_rtt_ms"])
        label = label if middle is None else f"{label}: median {middle:.1f} ms"
        steps(axes, values, shares, label=label, **{"linewidth": 1.8} | look)  # fmt: skip
    axes.axhline(0.5, color=GRID, linewidth=1, zorder=0)
    axes.set_xlabel("round-trip time to the service, ms (median of each client)")
    axes.set_xlim(left=0)
    shares_axis(axes, f"share of the {len(clients)} clients")
    axes.legend(loc="lower right", frameon=True, framealpha=0.95, fontsize=9)
    title(axes, "How many clients are how near to the service")
    return saved(
        figure,
        path,
        "Share of clients within each round-trip time: anycast, one site, the best PoP for each.",
    )
