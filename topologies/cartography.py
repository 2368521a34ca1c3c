"""What every map of a network needs, whoever draws it: window, land, arcs and colours."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise
from math import atan2, cos, degrees, radians, sin, sqrt

from topologies.geography import EARTH_RADIUS_KM, distance_km
from topologies.model import City, Network

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F3C8D", "#8C6D31")
"""Okabe and Ito's colours, which colour-blind people can tell apart, and two more."""

Point = tuple[float, float]
"""Longitude and latitude in degrees."""


def land() -> list[list[list[Point]]]:
    """The world's land: polygons, each a coast and the shores of its lakes."""
    text = (files("topologies") / "data" / "land.json").read_text(encoding="utf-8")
    polygons: list[list[list[Point]]] = json.loads(text)["polygons"]
    return polygons


@dataclass(frozen=True)
class View:
    """A window on the world, in degrees; longitudes run on across the 180th meridian."""

    x: Point
    y: Point

    @classmethod
    def of(cls, network: Network) -> View:
        """A window around all cities whose seam lies in the widest empty stretch."""
        lons = sorted({city.lon for city in network.cities})
        gap, west = max((b - a, b) for a, b in pairwise([*lons, lons[0] + 360]))
        lats = [city.lat for city in network.cities]
        margin = max(1.5, 0.07 * max(360 - gap, 1.6 * (max(lats) - min(lats))))
        # Without Antarctica and the empty far north, unless somebody lives there.
        south = min(min(lats) - 1.5, max(-60.0, min(lats) - margin))
        north = max(max(lats) + 1.5, min(84.0, max(lats) + margin))
        y = south, north
        # Wider than high, so that labels and legend find room.
        least = 1.2 * (y[1] - y[0]) * _aspect(y)
        width = min(360.0, max(360 - gap + 2 * margin, least))
        middle = (west if west < 180 else west - 360) + (360 - gap) / 2
        return cls((middle - width / 2, middle + width / 2), y)

    @property
    def aspect(self) -> float:
        """How much longer a degree of latitude is drawn than one of longitude."""
        return _aspect(self.y)

    @property
    def shape(self) -> float:
        """Height over width of the window as drawn."""
        return self.aspect * (self.y[1] - self.y[0]) / (self.x[1] - self.x[0])

    def turns(self, lons: Iterable[float]) -> list[int]:
        """The whole turns (degrees) that bring any of these longitudes into the window."""
        low, high = min(lons), max(lons)
        return [
            turn for turn in (-360, 0, 360) if low + turn <= self.x[1] and high + turn >= self.x[0]
        ]

    def point(self, city: City) -> Point:
        """Where a city stands in the window."""
        return self.x[0] + (city.lon - self.x[0]) % 360, city.lat


def great_circle(a: City, b: City) -> list[Point]:
    """Points along the great circle, longitudes running on without a jump."""
    angle = distance_km(a, b) / EARTH_RADIUS_KM
    if angle < 0.02:
        return [(a.lon, a.lat), (a.lon + (b.lon - a.lon + 180) % 360 - 180, b.lat)]
    points: list[Point] = []
    steps = max(2, round(angle * 40))
    (ax, ay, az), (bx, by, bz) = _vector(a), _vector(b)
    for i in range(steps + 1):
        p, q = sin(angle * (1 - i / steps)) / sin(angle), sin(angle * i / steps) / sin(angle)
        x, y, z = p * ax + q * bx, p * ay + q * by, p * az + q * bz
        lon = degrees(atan2(y, x))
        if points:
            lon = points[-1][0] + (lon - points[-1][0] + 180) % 360 - 180
        points.append((lon, degrees(atan2(z, sqrt(x * x + y * y)))))
    return points


def _vector(city: City) -> tuple[float, float, float]:
    lat, lon = radians(city.lat), radians(city.lon)
    return cos(lat) * cos(lon), cos(lat) * sin(lon), sin(lat)


def _aspect(lats: Point) -> float:
    return 1 / max(0.3, cos(radians(sum(lats) / 2)))
