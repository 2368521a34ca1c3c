"""Figures of who is served where: of the studies latency, catchment and inflation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib import colormaps

from experiments import stats
from experiments.show.figures.canvas import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PINK,
    figure_of,
    saved,
    shares_axis,
    steps,
    title,
)
from topologies import map as network_map
from topologies.plan import HostRole, Plan

if TYPE_CHECKING:
    import pandas as pd


def catchment_map(plan: Plan, landed: Mapping[str, str], path: Path) -> Path:
    """Which PoP answered the clients of each city; ``landed`` is by client, of those answered."""
    clients = plan.hosts_of(HostRole.CLIENT)
    cities = {host.city: landed[host.name] for host in clients if host.name in landed}
    figure = network_map.figure(plan.network, cities)
    return saved(
        figure,
        path,
        "Map of the network, with the PoP that answered the clients of each city.",
    )


LOOKS: Mapping[str, Mapping[str, Any]] = {
    "nearest": {"color": BLUE, "linewidth": 2.8},
    "bgp": {"color": ORANGE, "linestyle": "--"},
    "regional": {"color": GREEN, "linestyle": "-."},
    "weighted": {"color": PINK},
}


def policy_cdf(
    catchments: pd.DataFrame,
    policies: Sequence[str],
    path: Path,
    looks: Mapping[str, Mapping[str, Any]] | None = None,
) -> Path:
    """How many clients are within which RTT of the service, a step line for each policy.

    ``catchments`` is the table of the study ``catchment``, ``looks`` are those of other arms.
    """
    figure, (axes,) = figure_of(7.2, 4.4, 1)
    for policy in policies:
        rtt_ms = catchments[catchments["arm"] == policy]["rtt_ms"]
        values, shares = stats.cdf(rtt_ms)
        middle = stats.median(rtt_ms)
        label = policy if middle is None else f"{policy}: median {middle:.1f} ms"
        steps(axes, values, shares, label=label,
                  **{"linewidth": 1.8, **(looks or LOOKS)[policy]})  # fmt: skip
    axes.set_xlabel("round-trip time to the service, ms (median of each client)")
    axes.set_xlim(left=0)
    shares_axis(axes, "share of the clients")
    axes.legend(loc="lower right", frameon=True, framealpha=0.95, fontsize=9)
    title(axes, "How near the service is by policy")
    return saved(
        figure,
        path,
        "Share of the clients within each round-trip time of the service, a line for each policy.",
    )


def catchment_matrix(catchments: pd.DataFrame, policies: Sequence[str], path: Path) -> Path:
    """Which PoP every client lands in by every policy; the darker, the longer than need be.

    ``catchments`` is the table of the study ``catchment``.
    """
    shown = catchments[catchments["arm"].isin(policies)]
    by_home = shown[shown["arm"] == policies[0]].sort_values(["allowed", "client"])["client"]
    pops, inflation = (
        shown.pivot_table(index="client", columns="arm", values=column, aggfunc="first",
                          dropna=False).reindex(index=by_home, columns=list(policies))
        for column in ("pop", "latency_inflation_ms")
    )  # fmt: skip
    figure, (axes,) = figure_of(2.2 + 1.2 * len(policies), 1.3 + 0.24 * len(pops), 1)
    shades = colormaps["Oranges"].with_extremes(bad="black")
    most = max(1.0, float(inflation.max().max()))
    image = axes.imshow(inflation.clip(lower=0).to_numpy(float), cmap=shades, vmin=0, vmax=most,
                        aspect="auto")  # fmt: skip
    cells = zip(pops.to_numpy(str), inflation.to_numpy(float), strict=True)
    for y, (row, excesses) in enumerate(cells):
        for x, (pop, excess) in enumerate(zip(row, excesses, strict=True)):
            dark = excess != excess or excess > 0.6 * most
            axes.text(x, y, pop or "nobody", ha="center", va="center", fontsize=8,
                      color="white" if dark else INK)  # fmt: skip
    axes.set_xticks(range(len(policies)), list(policies), fontsize=9)
    axes.set_yticks(range(len(pops)), list(pops.index), fontsize=8)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, label="latency inflation, ms (black: no answer)", shrink=0.6)
    return saved(
        figure,
        path,
        "The PoP of every client by every policy; darker where the way is longer than need be.",
    )
