"""Draws a network on a map, as a PNG file.

PoPs are squares with their name, every other city is a dot. With a catchment the clients of
each PoP share its colour and a marker of their own, so that the map can be read without colour.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

from topologies.cartography import COLOURS, Point, View, great_circle, land
from topologies.model import Network

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = "o^Dv<P>ph"
"""One per PoP for its clients; with the colours they repeat after 72 PoPs."""

SEA, LAND, SHORE = "#F4F7FA", "#E3E3DE", "#B9BDB9"
INK, QUIET = "#222222", "#6B7280"
HALO = [withStroke(linewidth=2, foreground="white")]

WIDTH, TITLE, LEGEND = 10.0, 0.35, 0.55
"""Inches."""

TRANSIT: dict[str, Any] = {"color": QUIET, "linewidth": 0.9}
BACKBONE: dict[str, Any] = {"color": INK, "linewidth": 1.5, "linestyle": (0, (4, 2)), "alpha": 0.8}


def draw(network: Network, path: str | Path, catchment: Mapping[str, str] | None = None) -> Path:
    """Draws the network into a PNG file and returns its path; ``catchment`` as for ``figure``."""
    path = Path(path)
    figure(network, catchment).savefig(path, format="png")
    return path


def figure(network: Network, catchment: Mapping[str, str] | None = None) -> Figure:
    """Draws the network.

    ``catchment`` says for a city's code which PoP (its city's code) serves the clients there.
    """
    view = View.of(network)
    width, height = WIDTH, WIDTH * view.shape + TITLE + LEGEND
    drawn = Figure(figsize=(width, height), dpi=150, facecolor="white")
    FigureCanvasAgg(drawn)
    axes = drawn.add_axes((0.0, LEGEND / height, 1.0, 1 - (TITLE + LEGEND) / height))
    axes.set(xlim=view.x, ylim=view.y, aspect=view.aspect, xticks=[], yticks=[], facecolor=SEA)
    axes.set_title(
        f"{network.name}: {network.description}", fontsize=10, color=INK, parse_math=False
    )
    for spine in axes.spines.values():
        spine.set_visible(False)
    _land(axes, view)
    _links(axes, view, network)
    _places(axes, view, network, catchment or {})
    _legend(drawn, network, catchment or {})
    _labels(axes, view, network)
    return drawn


def _land(axes: Axes, view: View) -> None:
    """Land, and the lakes in it: one collection, which is drawn sooner than many artists."""
    shapes, colours = [], []
    for rings in land():
        for ring, colour in zip(rings, (LAND, *[SEA] * len(rings)), strict=False):
            for turn in view.turns([lon for lon, _ in ring]):
                shapes.append([(lon + turn, lat) for lon, lat in ring])
                colours.append(colour)
    drawn = PolyCollection(shapes, facecolors=colours, edgecolors=SHORE, linewidths=0.5, zorder=1)
    axes.add_collection(drawn, autolim=False)


def _links(axes: Axes, view: View, network: Network) -> None:
    for links, style, above in ((network.links, TRANSIT, 2), (network.backbone, BACKBONE, 3)):
        for link in links:
            arc = great_circle(network.city(link.a), network.city(link.b))
            lons, lats = zip(*arc, strict=True)
            for turn in view.turns(lons):
                axes.plot([lon + turn for lon in lons], lats, zorder=above, **style)


def _style(network: Network, pop: str) -> tuple[str, str]:
    number = [pop.city for pop in network.pops].index(pop)
    return COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]


def _places(axes: Axes, view: View, network: Network, catchment: Mapping[str, str]) -> None:
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


def _labels(axes: Axes, view: View, network: Network) -> None:
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
        arc = great_circle(network.city(link.a), network.city(link.b))
        lon, lat = arc[len(arc) // 2] if len(arc) > 2 else _middle(*arc)
        for turn in view.turns([lon]):
            ms = f"{link.line.delay_ns / 1e6:.3g}"
            writer.write(ms, (lon + turn, lat), 6.5, 0, color=QUIET, zorder=4)


def _middle(a: Point, b: Point) -> Point:
    return (a[0] + b[0]) / 2, (a[1] + b[1]) / 2
