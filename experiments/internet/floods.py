"""An attack from many ASes on an anycast prefix: how much of it the sites take."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from controller.core.steering.vectorised import Routes, Sites, loads
from topologies.internet.graph import Floats

BOTS_SHARE = 0.1
"""Of all ASes, those with machines that attack."""

TAIL = 1.1
"""Attackers have a Pareto distribution over these ASes: a few have most of them."""

PACKETS = 1_000_000


def bots(ases: int, rng: np.random.Generator) -> Floats:
    """Every AS's share of the attack."""
    weights = rng.pareto(TAIL, ases) * (rng.random(ases) < BOTS_SHARE)
    shares: Floats = weights / weights.sum()
    return shares


def absorbed(shares: Sequence[float], volume: float) -> float:
    """The closed form: the part of an attack that sites of equal capacity take.

    ``volume`` is the attack over the capacity of all sites together: sum of min(w V, C) over V.
    """
    return sum(min(share, 1 / (len(shares) * volume)) for share in shares)


def counted(
    found: Routes, sites: Sites, attack: Floats, volume: float, rng: np.random.Generator
) -> float:
    """The same by packets: each comes from an AS by chance; a site drops what is too much."""
    came = loads(found, sites, rng.multinomial(PACKETS, attack).astype(np.float64))
    room = PACKETS / (volume * len(sites.at))
    return float(np.minimum(came, room).sum() / PACKETS)
