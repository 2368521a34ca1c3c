"""Draws a network on a map, as a PNG file.

PoPs are squares with their name, every other city is a dot. With a catchment the clients of
each PoP share its colour and a marker of their own, so that the map can be read without colour.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise
from math import atan2, cos, degrees, radians, sin, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

from topologies.geography import EARTH_RADIUS_KM, distance_km
from topologies.model import City, Network

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F3C8D", "#8C6D31")
"""Okabe and Ito's colours, which colour-blind people can tell apart, and two more."""

MARKERS = "o^Dv<P>ph"
"""One per PoP for its clients; with the colours they repeat after 72 PoPs."""

SEA, LAND, SHORE = "#F4F7FA", "#E3E3DE", "#B9BDB9"
INK, QUIET = "#222222", "#6B7280"
HALO = [withStroke(linewidth=2, foreground="white")]

WIDTH, TITLE, LEGEND = 10.0, 0.35, 0.55
"""Inches."""

TRANSIT: dict[str, Any] = {"color": QUIET, "linewidth": 0.9}
BACKBONE: dict[str, Any] = {"color": INK, "linewidth": 1.5, "linestyle": (0, (4, 2)), "alpha": 0.8}

Point = tuple[float, float]


def draw(network: Network, path: str | Path, catchment: Mapping[str, str] | None = None) -> Path:
    """Draws the network into a PNG file and returns its path.

    ``catchment`` says for a city's code which PoP (its city's code) serves the clients there.
    """
    view = _View.of(network)
    width, height = WIDTH, WIDTH * view.shape + TITLE + LEGEND
    figure = Figure(figsize=(width, height), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, LEGEND / height, 1.0, 1 - (TITLE + LEGEND) / height))
    axes.set(xlim=view.x, ylim=view.y, aspect=view.aspect, xticks=[], yticks=[], facecolor=SEA)
    axes.set_title(
        f"{network.name}: {network.description}", fontsize=10, color=INK, parse_math=False
    )
    for spine in axes.spines.values():
        spine.set_visible(False)
    _land(axes, view)
    _links(axes, view, network)
    _places(axes, view, network, catchment or {})
    _legend(figure, network, catchment or {})
    _labels(axes, view, network)
    path = Path(path)
    figure.savefig(path, format="png")
    return path


@dataclass(frozen=True)
class _View:
    """The window on the world: longitudes run on across the 180th meridian where needed."""

    x: Point
    y: Point

    @classmethod
    def of(cls, network: Network) -> _View:
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


def _land(axes: Axes, view: _View) -> None:
    data = json.loads((files("topologies") / "data" / "land.json").read_text(encoding="utf-8"))
    for rings in data["polygons"]:
        for ring, colour in zip(rings, (LAND, *[SEA] * len(rings)), strict=False):
            lons, lats = zip(*ring, strict=True)
            for turn in view.turns(lons):
                shifted = [lon + turn for lon in lons]
                axes.fill(shifted, lats, facecolor=colour, edgecolor=SHORE, linewidth=0.5)


def _arc(a: City, b: City) -> list[Point]:
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


def _links(axes: Axes, view: _View, network: Network) -> None:
    for links, style, above in ((network.links, TRANSIT, 2), (network.backbone, BACKBONE, 3)):
        for link in links:
            arc = _arc(network.city(link.a), network.city(link.b))
            lons, lats = zip(*arc, strict=True)
            for turn in view.turns(lons):
                axes.plot([lon + turn for lon in lons], lats, zorder=above, **style)


def _style(network: Network, pop: str) -> tuple[str, str]:
    number = [pop.city for pop in network.pops].index(pop)
    return COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]


def _places(axes: Axes, view: _View, network: Network, catchment: Mapping[str, str]) -> None:
    pops = {pop.city for pop in network.pops}
    clients = {at.city for at in network.clients}
    origins = {at.city for at in network.origins}
    for city in network.cities:
        x, y = view.point(city)
        if city.code in pops:
            colour, _ = _style(network, city.code)
            axes.plot(x, y, "s", color=colour, markersize=11, markeredgecolor=INK, zorder=6)
        if city.code in catchment:
            colour, marker = _style(network, catchment[city.code])
            inside = city.code in pops
            size, edge = (4.5, "white") if inside else (7, INK)
            face = "white" if inside and catchment[city.code] == city.code else colour
            axes.plot(
                x,
                y,
                marker,
                color=face,
                markersize=size,
                markeredgecolor=edge,
                zorder=7,
                markeredgewidth=0.7,
            )
        elif city.code not in pops:
            face = QUIET if city.code in clients else "white"
            axes.plot(x, y, "o", color=face, markersize=5, markeredgecolor=INK, zorder=5)
        if city.code in origins:
            axes.plot(
                x,
                y,
                "o",
                fillstyle="none",
                markersize=16,
                markeredgecolor=INK,
                zorder=5,
                markeredgewidth=1.2,
            )


def _legend(figure: Figure, network: Network, catchment: Mapping[str, str]) -> None:
    entries = [Line2D([], [], **TRANSIT, label="link, one-way delay in ms")]
    if network.backbone:
        entries.append(Line2D([], [], **BACKBONE, label="backbone"))
    entries.append(_sample("s", COLOURS[0], "PoP", 10))
    if catchment:
        for pop in network.pops:
            colour, marker = _style(network, pop.city)
            entries.append(_sample(marker, colour, f"clients of {pop.city}"))
    elif len(network.pops) < len(network.cities):
        entries.append(_sample("o", QUIET, "city with clients", 5))
    if network.origins:
        entries.append(_sample("o", "none", "origin", 12))
    columns = min(len(entries), 8)
    figure.legend(
        handles=entries,
        loc="lower center",
        ncols=columns,
        fontsize=8,
        frameon=False,
        handletextpad=0.4,
        columnspacing=1.2,
    )


def _sample(marker: str, colour: str, label: str, size: float = 7) -> Line2D:
    return Line2D(
        [],
        [],
        linestyle="",
        marker=marker,
        color=colour,
        markeredgecolor=INK,
        markersize=size,
        label=label,
    )


def _aspect(lats: Point) -> float:
    return 1 / max(0.3, cos(radians(sum(lats) / 2)))


class _Writer:
    """Writes labels where none hides another, or a marker."""

    def __init__(self, axes: Axes, markers: Iterable[Point]) -> None:
        axes.apply_aspect()  # the transformation below is final only now
        self.axes = axes
        self.to_pixels = axes.transData
        self.taken = [self._box(*self.pixels(point), 16, 16) for point in markers]
        self.frame = axes.get_window_extent()

    def pixels(self, point: Point) -> Point:
        """Where a place is on the canvas."""
        x, y = self.to_pixels.transform(point)
        return float(x), float(y)

    @staticmethod
    def _box(x: float, y: float, width: float, height: float) -> Bbox:
        return Bbox.from_bounds(x - width / 2, y - height / 2, width, height)

    def write(self, text: str, point: Point, size: float, gap: float, **style: Any) -> bool:
        """Writes at the first free place around a point, ``gap`` pixels away; False if none is."""
        label = self.axes.text(
            *point,
            text,
            fontsize=size,
            ha="center",
            va="center",
            path_effects=HALO,
            parse_math=False,
            **style,
        )
        extent = label.get_window_extent()
        x, y = self.pixels(point)
        across, up = extent.width / 2 + gap, extent.height / 2 + gap
        around = [(1, 0), (-1, 0), (0, 1), (0, -1), (0.8, 0.8), (-0.8, 0.8), (0.8, -0.8)]
        for right, above in [(0, 0)] if gap == 0 else around:
            at = (x + right * across, y + above * up)
            box = self._box(*at, extent.width, extent.height)
            inside = self.frame.containsx(box.x0) and self.frame.containsx(box.x1)
            if inside and not any(box.overlaps(other) for other in self.taken):
                lon, lat = self.to_pixels.inverted().transform(at)
                label.set_position((lon, lat))
                self.taken.append(box)
                return True
        label.remove()
        return False


def _labels(axes: Axes, view: _View, network: Network) -> None:
    """PoPs first, then other cities, then delays: what finds no room is left out."""
    points = {city.code: view.point(city) for city in network.cities}
    writer = _Writer(axes, points.values())
    full = len(network.cities) <= 12
    pops = {pop.city for pop in network.pops}
    ringed = {at.city for at in network.origins}
    for city in sorted(network.cities, key=lambda city: city.code not in pops):
        text = f"{city.code} {city.name}" if full and city.name != city.code else city.code
        gap = 20 if city.code in ringed else 16 if city.code in pops else 10
        if city.code in pops:
            writer.write(text, points[city.code], 10, gap, color=INK, weight="bold", zorder=9)
        else:
            writer.write(text, points[city.code], 7.5, gap, color=INK, zorder=8)
    for link in (*network.links, *network.backbone):
        arc = _arc(network.city(link.a), network.city(link.b))
        lon, lat = arc[len(arc) // 2] if len(arc) > 2 else _middle(*arc)
        for turn in view.turns([lon]):
            ms = f"{link.line.delay_ns / 1e6:.3g}"
            writer.write(ms, (lon + turn, lat), 6.5, 0, color=QUIET, zorder=4)


def _middle(a: Point, b: Point) -> Point:
    return (a[0] + b[0]) / 2, (a[1] + b[1]) / 2
