"""ASes and the relations between them: one router each, known by its place in the arrays.

AS number i of the arrays is called i here; ``number`` has the names that people know. Lower means
named first, and so wins the last tie of policy bgp.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from topologies.geography import EARTH_RADIUS_KM, FIBRE_KM_PER_S
from topologies.validate import NetworkError, Problem

WIDE_CUSTOMERS = 100
"""An AS with so many customers, or one that pays nobody, has routers wherever it is met."""

Ints = NDArray[np.int32]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

STRETCH = 1.5
"""Fibre is so many times as long as the great circle: the default of networks, too."""


@dataclass(frozen=True, eq=False)
class Neighbours:
    """By AS: its neighbours of one kind, in ``ends`` from ``first[i]`` up to ``first[i + 1]``."""

    first: NDArray[np.int64]
    ends: Ints

    @classmethod
    def of(cls, count: int, here: Ints, there: Ints) -> Neighbours:
        """Those of ``count`` ASes, from pairs of one and its neighbour."""
        order = np.lexsort((there, here))
        return cls(np.searchsorted(here[order], np.arange(count + 1)), there[order])

    def __getitem__(self, node: int) -> Ints:
        return self.ends[self.first[node] : self.first[node + 1]]

    def has(self, here: Ints, there: Ints) -> Bools:
        """Pair by pair, whether the second is a neighbour of the first."""
        keys, count = self._keys, len(self.first) - 1
        wanted = here.astype(np.int64) * count + there
        places = np.minimum(np.searchsorted(keys, wanted), max(0, len(keys) - 1))
        found: Bools = keys[places] == wanted if len(keys) else np.zeros(len(here), dtype=np.bool_)
        return found

    @cached_property
    def _keys(self) -> NDArray[np.int64]:
        """Every pair as one number, in rising order."""
        count = len(self.first) - 1
        return np.repeat(np.arange(count) * count, self.degrees()) + self.ends

    def degrees(self) -> NDArray[np.int64]:
        """How many neighbours each has."""
        return np.diff(self.first)

    def pairs(self, nodes: Ints) -> tuple[Ints, Ints]:
        """These ASes, each as often as it has neighbours, in their order; and those neighbours."""
        counts = self.first[nodes + 1] - self.first[nodes]
        before = np.cumsum(counts) - counts
        places = np.repeat(self.first[nodes] - before, counts) + np.arange(counts.sum())
        return np.repeat(nodes, counts), self.ends[places]


@dataclass(frozen=True, eq=False)
class Internet:
    """Equal Internets have equal ``fingerprint``.

    ``customer[k]`` pays ``provider[k]``; ``peer_a[k]`` and ``peer_b[k]`` peer, the lower first. By
    AS: its ``number``, place (``lat``, ``lon``, degrees), ``region`` (of ``regions``), its share of
    all ``clients``, and whether it is ``wide``: with routers everywhere, so that it carries packets
    from where it gets them and adds no detour of its own.
    """

    name: str
    number: NDArray[np.int64]
    provider: Ints
    customer: Ints
    peer_a: Ints
    peer_b: Ints
    lat: Floats
    lon: Floats
    region: NDArray[np.int8]
    regions: tuple[str, ...]
    clients: Floats
    wide: Bools

    @property
    def size(self) -> int:
        """How many ASes there are."""
        return len(self.number)

    @property
    def relations(self) -> int:
        """How many pairs of neighbours there are."""
        return len(self.customer) + len(self.peer_a)

    @cached_property
    def providers(self) -> Neighbours:
        """By AS: whom it pays."""
        return Neighbours.of(self.size, self.customer, self.provider)

    @cached_property
    def customers(self) -> Neighbours:
        """By AS: who pays it."""
        return Neighbours.of(self.size, self.provider, self.customer)

    @cached_property
    def peers(self) -> Neighbours:
        """By AS: with whom it peers."""
        here = np.concatenate([self.peer_a, self.peer_b])
        there = np.concatenate([self.peer_b, self.peer_a])
        return Neighbours.of(self.size, here, there)

    def fingerprint(self) -> str:
        """A hash over all arrays and names: 32 hexadecimal digits."""
        state = blake2b(digest_size=16)
        for field in fields(self):
            value = getattr(self, field.name)
            state.update(field.name.encode())
            state.update(value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
        return state.hexdigest()

    def rtt_ms(self, here: Ints, there: Ints | int, stretch: float = STRETCH) -> Floats:
        """The round trip of light between ASes, pair by pair (ms), fibre ``stretch`` as long."""
        km = distance_km(self.lat[here], self.lon[here], self.lat[there], self.lon[there])
        return 2000 * stretch * km / FIBRE_KM_PER_S


def distance_km(
    lat_a: Floats, lon_a: Floats, lat_b: Floats | float, lon_b: Floats | float
) -> Floats:
    """``topologies.geography.distance_km`` for arrays."""
    half_lat, half_lon = np.radians(lat_b - lat_a) / 2, np.radians(lon_b - lon_a) / 2
    cosines = np.cos(np.radians(lat_a)) * np.cos(np.radians(lat_b))
    chord = np.sin(half_lat) ** 2 + cosines * np.sin(half_lon) ** 2
    km: Floats = 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.clip(chord, 0, 1)))
    return km


def wide(count: int, provider: Ints, customer: Ints) -> Bools:
    """By AS: whether it is paid by many, or by some and pays nobody."""
    paid_by, pays = (np.bincount(side, minlength=count) for side in (provider, customer))
    found: Bools = (paid_by >= WIDE_CUSTOMERS) | ((paid_by > 0) & (pays == 0))
    return found


def check(internet: Internet) -> None:
    """Raise NetworkError if two ASes have two relations, one has one with itself, or pays in a
    circle: then nobody can say where BGP comes to rest (see ``topologies.business``).
    """
    here = np.concatenate([internet.customer, internet.peer_a]).astype(np.int64)
    there = np.concatenate([internet.provider, internet.peer_b]).astype(np.int64)
    keys = np.minimum(here, there) * internet.size + np.maximum(here, there)
    found, counts = np.unique(keys, return_counts=True)
    for at in np.flatnonzero(here == there)[:1]:
        raise _refused(f"AS{internet.number[here[at]]} neighbours itself", "remove that relation")
    for key in found[counts > 1][:1]:
        a, b = (f"AS{internet.number[x]}" for x in divmod(int(key), internet.size))
        raise _refused(f"{a} and {b} have two relations", "keep one of them")
    for node in circle(internet)[:1]:
        cause = f"AS{internet.number[node]} pays in a circle that comes back to it"
        raise _refused(cause, "remove a relation of the circle, or make peers of two")


def circle(internet: Internet) -> Ints:
    """The ASes of one circle of customers, or more that touch it; empty if there is none."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pays = np.ones(len(internet.customer), dtype=np.int8)
    shape = (internet.size, internet.size)
    graph = coo_array((pays, (internet.customer, internet.provider)), shape=shape)
    _, part = connected_components(graph, connection="strong")
    largest = int(np.argmax(np.bincount(part)))
    members = np.flatnonzero(part == largest).astype(np.int32)
    return members if len(members) > 1 else members[:0]


def _refused(cause: str, mend: str) -> NetworkError:
    return NetworkError([Problem(("relations",), cause, mend)])
