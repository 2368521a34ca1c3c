"""Where ASes are: drawn from cities with large exchanges, by parts of the world.

How many ASes a part has, and how unequal cities and ASes are, is a choice of ours: a map to compute
on, no census.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topologies.geography import airport
from topologies.internet.graph import Floats

SHARES: Mapping[str, float] = {
    "Europe": 0.36,
    "North America": 0.24,
    "Asia": 0.21,
    "South America": 0.13,
    "Africa": 0.03,
    "Oceania": 0.03,
}
"""The share of all ASes in each part of the world."""

CITIES: Mapping[str, str] = {
    "Europe": "FRA AMS LHR CDG WAW OTP MXP MAD KBP ARN VIE SOF IST ATH SVO LED",
    "North America": "IAD EWR ORD LAX DFW MIA SJC ATL SEA YYZ DEN YUL MEX",
    "Asia": "SIN HKG NRT BOM CGK DEL ICN DXB BKK KUL MAA TPE KIX MNL PEK PVG",
    "South America": "GRU EZE GIG BOG SCL FOR POA LIM",
    "Africa": "JNB NBO LOS CAI CPT ACC",
    "Oceania": "SYD MEL AKL PER",
}
"""Cities of each part of the world, by the codes of their airports; the first has most ASes."""

SCATTER_DEG = 0.5
"""ASes lie around their city, with this standard deviation in either direction."""

TAIL = 1.2
"""Clients of ASes have a Pareto distribution with this exponent: few ASes have most clients."""


@dataclass(frozen=True)
class Places:
    """By AS: ``city`` (of ``codes``), ``region`` (of ``SHARES``), and coordinates in degrees."""

    codes: tuple[str, ...]
    city: NDArray[np.int16]
    region: NDArray[np.int8]
    lat: Floats
    lon: Floats


def drawn(count: int, rng: np.random.Generator) -> Places:
    """Places of ``count`` ASes: the n-th city of a part has 1/n times the ASes of its first."""
    codes = tuple(code for part in SHARES for code in CITIES[part].split())
    part_of = np.repeat(np.arange(len(SHARES)), [len(CITIES[part].split()) for part in SHARES])
    chance = np.concatenate([_zipf(len(CITIES[p].split())) * share for p, share in SHARES.items()])
    city = rng.choice(len(codes), count, p=chance / chance.sum()).astype(np.int16)
    found = [airport(code) for code in codes]
    spread = rng.normal(0.0, SCATTER_DEG, (2, count))
    lat = np.array([one.lat for one in found])[city] + spread[0]
    lon = np.array([one.lon for one in found])[city] + spread[1]
    return Places(codes, city, part_of[city].astype(np.int8), lat, lon)


def clients(count: int, rng: np.random.Generator) -> Floats:
    """Every AS's share of all clients."""
    weights = rng.pareto(TAIL, count) + 1e-3
    shares: Floats = weights / weights.sum()
    return shares


def _zipf(count: int) -> Floats:
    weights = 1 / np.arange(1, count + 1)
    shares: Floats = weights / weights.sum()
    return shares
