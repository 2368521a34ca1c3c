"""What clients see of a set of sites, as one row: reach, paths, round trips, inflation, loads.

Every AS counts by its share of all clients. Inflation is the round trip along the AS path less
that straight to the nearest site (Koch et al., "Anycast in Context", SIGCOMM 2021).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from controller.core.steering.valleys import strangers, valleys
from controller.core.steering.vectorised import Routes, Sites, loads, rtt_ms
from experiments.internet.placements import nearest_ms
from topologies.internet.graph import Floats, Internet

NEAR_MS, FAR_MS = 1.0, 100.0
"""Beyond these an inflation is felt, or is bad."""


def view(internet: Internet, sites: Sites, found: Routes) -> dict[str, Any]:
    """The row. What nobody sees, because nobody is reached, is None."""
    reached, weights = found.reached, internet.clients
    if not reached.any():
        return {"reached_share": 0.0, **lawfulness(internet, found)}
    mine = weights[reached]
    times, nearest = rtt_ms(internet, found)[reached], nearest_ms(internet, sites.at[sites.up])
    inflation = times - nearest[reached]
    shares = loads(found, sites, weights)
    return {
        "reached_share": float(mine.sum()),
        "hops_mean": float(np.average(found.hops[reached], weights=mine)),
        "rtt_mean_ms": float(np.average(times, weights=mine)),
        "rtt_p50_ms": quantile(times, mine, 0.5),
        "rtt_p95_ms": quantile(times, mine, 0.95),
        "nearest_p50_ms": quantile(nearest[reached], mine, 0.5),
        "inflation_least_ms": float(inflation.min()),
        "inflation_p50_ms": quantile(inflation, mine, 0.5),
        "inflation_p95_ms": quantile(inflation, mine, 0.95),
        "inflated_share": float(mine[inflation > NEAR_MS].sum() / mine.sum()),
        "far_share": float(mine[inflation > FAR_MS].sum() / mine.sum()),
        "largest_share": float(shares.max()),
        "used_sites": int((shares > 0).sum()),
        **lawfulness(internet, found),
    }


def lawfulness(internet: Internet, found: Routes) -> dict[str, int]:
    """How many ASes have a route that nobody may have told them, or that cannot be."""
    return {
        "valleys": len(valleys(internet, found)),
        "strangers": len(strangers(internet, found)),
    }


def quantile(values: Floats, weights: Floats, q: float) -> float:
    """The least value that at least a share ``q`` of all weight does not exceed."""
    order = np.argsort(values, kind="stable")
    upto = np.cumsum(weights[order])
    place = int(np.searchsorted(upto, q * upto[-1]))
    return float(values[order][min(place, len(values) - 1)])
