"""The map of a page: cities, PoPs, links, and who is served where, as shapes for an SVG."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise, product

from topologies import cartography
from topologies.cartography import Point, View
from topologies.model import City, Link, Network

WIDTH = 1000.0
"""Of the map, in its own units; people see it at about so many pixels."""

LARGE, SMALL = 17.0, 13.0
"""Type of a PoP's label, and of a city's."""

LETTER = 0.72
"""The width of a letter, of its height."""

ZOOMS = (1, 2, 4, 8, 16)
"""How much larger a map may be drawn, where it can be enlarged."""

SHAPES = (
    "M-1,0 a1,1 0 1,0 2,0 a1,1 0 1,0 -2,0 Z",
    "M0,-1.2 L1.1,.8 L-1.1,.8 Z",
    "M0,-1.3 L1,0 L0,1.3 L-1,0 Z",
    "M0,1.2 L1.1,-.8 L-1.1,-.8 Z",
    "M-1.2,0 L.8,1.1 L.8,-1.1 Z",
    "M-.4,-1.1 H.4 V-.4 H1.1 V.4 H.4 V1.1 H-.4 V.4 H-1.1 V-.4 H-.4 Z",
    "M1.2,0 L-.8,1.1 L-.8,-1.1 Z",
)
"""Outlines about a point: with the colours they tell the PoPs' clients apart."""


@dataclass(frozen=True, slots=True)
class Look:
    """How the clients of a PoP are marked."""

    colour: str
    outline: str


@dataclass(frozen=True, slots=True)
class Line:
    """A link: its outline, what it is, the cities at its ends, and a sentence about it."""

    outline: str
    kind: str
    ends: tuple[str, str]
    title: str


@dataclass(frozen=True, slots=True)
class Place:
    """A city by its code.

    ``pop`` and ``served`` are the looks of the PoP in it, and of the one that serves it; either is
    None where there is none.
    """

    code: str
    x: float
    y: float
    title: str
    pop: Look | None
    served: Look | None
    origin: bool


@dataclass(frozen=True, slots=True)
class Label:
    """The code of a city on the map: the city's place, how far from it, and the size.

    It finds room on a map that is so many times larger.
    """

    city: Point
    away: Point
    text: str
    size: float
    pop: bool
    zoom: int

    @property
    def at(self) -> Point:
        """Its middle, where the map is not enlarged."""
        return round(self.city[0] + self.away[0], 1), round(self.city[1] + self.away[1], 1)


@dataclass(frozen=True, slots=True)
class Atlas:
    """All that is drawn, in the order of drawing."""

    width: float
    height: float
    land: Sequence[str]
    lines: Sequence[Line]
    places: Sequence[Place]
    labels: Sequence[Label]

    @property
    def first_labels(self) -> list[Label]:
        """Those that find room on a map that is not enlarged."""
        return [label for label in self.labels if label.zoom == 1]


def looks(network: Network) -> dict[str, Look]:
    """The look of each PoP, by its city."""
    colours, shapes = cartography.COLOURS, SHAPES
    return {
        pop.city: Look(colours[number % len(colours)], shapes[number % len(shapes)])
        for number, pop in enumerate(network.pops)
    }


def atlas(network: Network, served: Mapping[str, str]) -> Atlas:
    """The map of a network; ``served`` says for a city which PoP serves its clients, if any."""
    sheet = _Sheet(View.of(network))
    marked = looks(network)
    origins = {at.city for at in network.origins}
    places = []
    for city in network.cities:
        pop = served.get(city.code, "")
        title = f"{city.code} {city.name}"
        title += ", PoP" if city.code in marked else ""
        title += f", served by {pop}" if pop else ""
        title += ", origin" if city.code in origins else ""
        here, there = marked.get(city.code), marked.get(pop)
        origin = city.code in origins
        places.append(Place(city.code, *sheet.at(city), title, here, there, origin))
    links = [(link, "link") for link in network.links]
    links += [(link, "backbone") for link in network.backbone]
    lines = [line for link, kind in links for line in _line(sheet, network, link, kind)]
    labels = _labels(network, sheet, set(marked))
    return Atlas(WIDTH, sheet.height, list(_land(sheet)), lines, places, labels)


class _Sheet:
    """From longitude and latitude to the map's units, x to the right and y down."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.scale = WIDTH / (view.x[1] - view.x[0])
        self.height = round(WIDTH * view.shape, 1)

    def point(self, lon: float, lat: float) -> Point:
        """Where a point of the window is drawn."""
        x = (lon - self.view.x[0]) * self.scale
        y = (self.view.y[1] - lat) * self.scale * self.view.aspect
        return round(x, 1), round(y, 1)

    def at(self, city: City) -> Point:
        """Where a city is drawn."""
        return self.point(*self.view.point(city))

    def outline(self, points: Iterable[Point]) -> str:
        """A line through points that are given in degrees."""
        drawn = (self.point(*point) for point in points)
        return "M" + " ".join(f"{x:g},{y:g}" for (x, y), _ in groupby(drawn))


def _land(sheet: _Sheet) -> Iterator[str]:
    """Each polygon as far as it lies in the window; a lake is a hole in it."""
    view = sheet.view
    for rings in cartography.land():
        for turn in view.turns([lon for lon, _ in rings[0]]):
            shifted = ([(lon + turn, lat) for lon, lat in ring] for ring in rings)
            seen = [part for ring in shifted if (part := _clipped(ring, view))]
            if seen:
                yield " ".join(f"{sheet.outline(part)} Z" for part in seen)


def _clipped(ring: Sequence[Point], view: View) -> list[Point]:
    """A polygon's part inside the window, by Sutherland and Hodgman's algorithm (1974)."""
    inside = list(ring)
    for axis, limits in ((0, view.x), (1, view.y)):
        for limit, sign in zip(limits, (1, -1), strict=True):
            inside = list(_beyond(inside, axis, limit, sign))
    return inside


def _beyond(ring: Sequence[Point], axis: int, limit: float, sign: int) -> Iterator[Point]:
    """A polygon's part on one side of a line of longitude or latitude."""
    for a, b in pairwise([*ring[-1:], *ring]):
        before, after = sign * (a[axis] - limit), sign * (b[axis] - limit)
        if (before < 0) != (after < 0):
            part = before / (before - after)
            yield a[0] + part * (b[0] - a[0]), a[1] + part * (b[1] - a[1])
        if after >= 0:
            yield b


def _line(sheet: _Sheet, network: Network, link: Link, kind: str) -> Iterator[Line]:
    """A link along the great circle; twice where it crosses the edge of the world."""
    arc = cartography.great_circle(network.city(link.a), network.city(link.b))
    title = f"{kind} {link.a} - {link.b}, {link.line.delay_ns / 1e6:.3g} ms one way"
    for turn in sheet.view.turns([lon for lon, _ in arc]):
        outline = sheet.outline((lon + turn, lat) for lon, lat in arc)
        yield Line(outline, kind, (link.a, link.b), title)


Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


def _labels(network: Network, sheet: _Sheet, pops: set[str]) -> list[Label]:
    """The codes of PoPs, then of other cities, each from the zoom on where it finds room.

    Marks and letters are as large on an enlarged map, and so is the way from a city to its label.
    A label must have room on all maps that are larger still: cities part, labels may yet meet.
    """
    waiting = sorted(network.cities, key=lambda city: city.code not in pops)
    rooms = {zoom: _Room(zoom, sheet.height) for zoom in ZOOMS}
    for zoom, room in rooms.items():
        for city in network.cities:
            room.take(_box(_times(sheet.at(city), zoom), 16, 16))
    found: list[Label] = []
    for zoom in ZOOMS:
        larger = [room for room in rooms.values() if room.zoom >= zoom]
        placed = [_label(city, sheet.at(city), city.code in pops, larger) for city in waiting]
        found += [label for label in placed if label]
        waiting = [city for city, label in zip(waiting, placed, strict=True) if not label]
    return found


def _label(city: City, at: Point, pop: bool, rooms: Sequence[_Room]) -> Label | None:
    """The label of a city beside it, if there is room for it in all of these."""
    size = LARGE if pop else SMALL
    width, height = LETTER * size * len(city.code), size
    for right, down in ((1, 0), (-1, 0), (0, -1), (0, 1)):
        away = round(right * (width / 2 + 13), 1), round(down * (height / 2 + 13), 1)
        boxes = [_box(_plus(_times(at, room.zoom), away), width, height) for room in rooms]
        if all(room.is_free(box) for room, box in zip(rooms, boxes, strict=True)):
            for room, box in zip(rooms, boxes, strict=True):
                room.take(box)
            return Label(at, away, city.code, size, pop, rooms[0].zoom)
    return None


def _times(at: Point, zoom: int) -> Point:
    return at[0] * zoom, at[1] * zoom


def _plus(at: Point, away: Point) -> Point:
    return at[0] + away[0], at[1] + away[1]


class _Room:
    """What is taken of an enlarged sheet. A box lies in all squares of a grid that it touches."""

    SIDE = 64.0

    def __init__(self, zoom: int, height: float) -> None:
        """A sheet of so much ``height`` where it is not enlarged."""
        self.zoom = zoom
        self._sizes = zoom * WIDTH, zoom * height
        self._taken: defaultdict[tuple[int, int], list[Box]] = defaultdict(list)

    def take(self, box: Box) -> None:
        """Nothing else has room there."""
        for square in self._squares(box):
            self._taken[square].append(box)

    def is_free(self, box: Box) -> bool:
        """Whether a box lies on the sheet, and nothing of it has been taken."""
        return _within(box, self._sizes) and not any(
            _overlap(box, other) for square in self._squares(box) for other in self._taken[square]
        )

    def _squares(self, box: Box) -> Iterator[tuple[int, int]]:
        left, top, right, bottom = (int(edge // self.SIDE) for edge in box)
        return product(range(left, right + 1), range(top, bottom + 1))


def _box(middle: Point, width: float, height: float) -> Box:
    x, y = middle
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _within(box: Box, sizes: Point) -> bool:
    return box[0] >= 0 and box[1] >= 0 and box[2] <= sizes[0] and box[3] <= sizes[1]


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
