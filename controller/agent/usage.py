"""How much of the borrowed ports is in use, by PoP, address and destination, over time.

One port serves as many TCP connections as there are destinations, so an address is full towards one
destination and empty towards another: shares are of each alone. The view, averages and maxima of
five minutes by PoP, egress address and origin, is the one that a CDN gives the customers of its
dedicated egress addresses.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any, NamedTuple

__all__ = ["BUCKET_S", "Place", "Towards", "Usage"]

BUCKET_S = 300
KEPT = 12
"""Buckets: an hour."""


class Place(NamedTuple):
    """Where an address is used."""

    pop: str
    address: IPv4Address


class Towards(NamedTuple):
    """From where to what: an origin's address and port of TCP, or ``any`` of UDP, whose ports
    serve all destinations at once.
    """

    place: Place
    origin: str
    protocol: str


@dataclass(slots=True)
class _Sum:
    """Of the looks in one bucket."""

    used: int = 0
    ports: int = 0
    most_used: int = 0
    most: float = 0.0

    def add(self, used: int, ports: int) -> None:
        self.used += used
        self.ports += ports
        self.most_used = max(self.most_used, used)
        self.most = max(self.most, used / ports if ports else 0.0)


@dataclass(slots=True)
class _Bucket:
    begin_s: int
    looks: int = 0
    ports: Counter[Place] = field(default_factory=Counter)
    sums: dict[Towards, _Sum] = field(default_factory=dict)


class Usage:
    """What was in use, bucket by bucket; times are seconds since the epoch."""

    def __init__(self) -> None:
        self.now: Mapping[Towards, int] = {}
        """Ports in use when it was looked last."""
        self.ports: Mapping[Place, int] = {}
        """Ports that were held then."""
        self._buckets: deque[_Bucket] = deque(maxlen=KEPT)

    def look(self, at_s: float, used: Mapping[Towards, int], ports: Mapping[Place, int]) -> None:
        """Note what is in use, and what is held. What is not named is not in use."""
        self.now, self.ports = dict(used), dict(ports)
        begin_s = int(at_s // BUCKET_S * BUCKET_S)
        if not self._buckets or self._buckets[-1].begin_s != begin_s:
            self._buckets.append(_Bucket(begin_s))
        bucket = self._buckets[-1]
        bucket.looks += 1
        bucket.ports.update(ports)
        for towards, many in used.items():
            bucket.sums.setdefault(towards, _Sum()).add(many, ports.get(towards.place, 0))

    def rows(self) -> list[dict[str, Any]]:
        """Every bucket of the last hour, oldest first; shares are of the ports that were held."""
        return [
            _row(bucket, towards, found)
            for bucket in self._buckets
            for towards, found in sorted(bucket.sums.items())
        ]


def _row(bucket: _Bucket, towards: Towards, found: _Sum) -> dict[str, Any]:
    """A line of the table. An average is over all looks, those that saw nothing too."""
    held = bucket.ports[towards.place]
    return {
        "begin_s": bucket.begin_s,
        "pop": towards.place.pop,
        "address": str(towards.place.address),
        "origin": towards.origin,
        "protocol": towards.protocol,
        "ports": round(held / bucket.looks),
        "used_avg": round(found.used / bucket.looks, 3),
        "used_max": found.most_used,
        "share_avg": round(found.used / held, 6) if held else 0.0,
        "share_max": round(found.most, 6),
    }
