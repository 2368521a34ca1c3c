"""Networks that others published as plain graphs: topohub's repository and GraphML files.

Such a graph knows places and links only. It gets a client in every city, three origins and,
unless told otherwise, five PoPs, both spread by k-centre.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from importlib.resources import files
from math import pi
from pathlib import Path
from typing import Any

from topologies.geography import EARTH_RADIUS_KM, distance_km, fibre_delay_ns
from topologies.model import Attachment, City, Line, Link, Network
from topologies.placement import spread
from topologies.units import UnitError, parse_time
from topologies.validate import NetworkError, Problem, problems, suggest

ORIGINS = 3
GROUPS = ("backbone", "caida", "gabriel", "sndlib", "topozoo")

_STRETCH = Network("", (), (), (), (), ()).path_stretch


@dataclass(frozen=True)
class Edge:
    """A link of a graph; ``km`` along its known route, ``delay_ns`` if it says so itself."""

    a: int
    b: int
    km: float | None = None
    delay_ns: int | None = None


def topohub_keys() -> list[str]:
    """Every network that the installed topohub package brings, like ``topozoo/Abilene``."""
    data = Path(str(files("topohub"))) / "data"
    return sorted(
        path.relative_to(data).with_suffix("").as_posix()
        for group in GROUPS
        for path in (data / group).rglob("*.json")
    )


def from_topohub(key: str) -> Network:
    """The network with this topohub key, without PoPs. Raises NetworkError."""
    import topohub

    try:
        graph = topohub.get(key)
    except KeyError:
        cause = f"topohub has no network {key!r}"
        raise NetworkError([Problem((), cause, suggest(key, topohub_keys()))]) from None
    edges = [
        (edge["source"], edge["target"], edge["dist"] if edge.get("type") == "seacable" else None)
        for edge in graph["edges"]
    ]
    waypoints = {n["id"] for n in graph["nodes"] if n.get("type") == "Seacable Waypoint"}
    kept = _without_waypoints(edges, waypoints)
    used = {end for a, b, _ in kept for end in (a, b)}
    nodes = [node for node in graph["nodes"] if node["id"] in used or len(graph["nodes"]) == 1]
    index = {node["id"]: i for i, node in enumerate(nodes)}
    names = [str(node.get("name") or f"N{node['id']}") for node in nodes]
    positions = [(node["pos"][1], node["pos"][0]) for node in nodes]
    described = f"{key} from topohub"
    if any(abs(lat) > 90 or abs(lon) > 180 for lat, lon in positions):
        positions = _from_flat(positions)
        described += "; its coordinates, which are no degrees, taken for kilometres"
    places = [(name, *at, "") for name, at in zip(names, positions, strict=True)]
    found = [Edge(index[a], index[b], km) for a, b, km in kept]
    return _network(key.rsplit("/", 1)[-1], described, places, found)


def _from_flat(positions: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Kilometres on a flat map to degrees, around the point where the map is truest: 0, 0."""
    middles = [(min(axis) + max(axis)) / 2 for axis in zip(*positions, strict=True)]
    km_per_degree = EARTH_RADIUS_KM * pi / 180
    return [
        ((y - middles[0]) / km_per_degree, (x - middles[1]) / km_per_degree) for y, x in positions
    ]


def _without_waypoints(
    edges: list[tuple[Any, Any, float | None]], waypoints: set[Any]
) -> list[tuple[Any, Any, float | None]]:
    """Joins the pieces of a sea cable: points in the sea that do not fork are no places.

    Loose ends of cables go; of several links between two places the shortest stays.
    """
    near: dict[Any, dict[Any, float | None]] = {}

    def add(a: Any, b: Any, km: float | None) -> None:
        old = near.setdefault(a, {}).get(b)
        if a != b and (b not in near[a] or (km or 0) < (old or 0)):
            near[a][b] = km
            near.setdefault(b, {})[a] = km

    for a, b, km in edges:
        add(a, b, km)
    queue = sorted(waypoints & near.keys())
    while queue:
        point = queue.pop()
        if point not in near or len(near[point]) > 2:
            continue
        ends = near.pop(point)
        for end in ends:
            del near[end][point]
        if len(ends) == 2:
            (a, first), (b, second) = ends.items()
            add(a, b, (first or 0) + (second or 0))
        queue += [end for end in ends if end in waypoints]  # it may fork no longer
    order = {node: i for i, node in enumerate(near)}
    return [(a, b, km) for a in near for b, km in near[a].items() if order[a] < order[b]]


def from_graphml(text: str, path: Path) -> Network:
    """The network in a GraphML file's text, without PoPs. Raises NetworkError.

    Nodes need a latitude and a longitude (``Latitude``/``lat``, ``Longitude``/``lon``); a name
    (``label``/``name``) and ``Country`` are welcome. Edges may have a ``delay`` (``10 ms``).
    """
    import networkx

    try:
        graph = networkx.parse_graphml(text)
    except Exception as error:  # the XML parser and networkx raise whatever they like
        mend = "write it with networkx.write_graphml or a GraphML editor"
        problem = Problem((), f"not GraphML: {error}", mend, str(path))
        raise NetworkError([problem]) from error
    wrong: list[Problem] = []
    places = [_place(str(node), attributes, wrong) for node, attributes in graph.nodes(data=True)]
    index = {node: i for i, node in enumerate(graph.nodes)}
    edges: dict[frozenset[Any], Edge] = {}
    for a, b, attributes in graph.edges(data=True):
        if a != b:
            delay = _delay(f"{a} - {b}", attributes, wrong)
            edges.setdefault(frozenset((a, b)), Edge(index[a], index[b], delay_ns=delay))
    if wrong:
        raise NetworkError(replace(problem, file=str(path)) for problem in wrong)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-.") or "network"
    try:
        return _network(name, f"from {path.name}", places, edges.values())
    except NetworkError as error:
        raise NetworkError(replace(p, file=str(path)) for p in error.problems) from error


def _place(
    node: str, attributes: dict[str, Any], wrong: list[Problem]
) -> tuple[str, float, float, str]:
    at = {str(key).lower(): value for key, value in attributes.items()}
    position = []
    for full, short in (("latitude", "lat"), ("longitude", "lon")):
        value = at.get(full, at.get(short))
        degrees = _number(value)
        if degrees is None:
            cause = f"has no {full}" if value is None else f"{value!r} is no {full}"
            wrong.append(Problem(("node", node), cause, f"give it {full.title()} in degrees"))
        position.append(degrees or 0.0)
    country = str(at.get("country", ""))
    name = str(at.get("label") or at.get("name") or node)
    return name, position[0], position[1], country if re.fullmatch("[A-Z]{2}", country) else ""


def _number(value: Any) -> float | None:
    """A number as a graph has it, text or not; None if it is none, or endless."""
    try:
        found = float(str(value))
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _delay(edge: str, attributes: dict[str, Any], wrong: list[Problem]) -> int | None:
    if "delay" not in attributes:
        return None
    try:
        return parse_time(attributes["delay"])
    except UnitError as error:
        wrong.append(Problem(("edge", edge, "delay"), error.cause, error.mend))
        return None


def _network(
    name: str,
    description: str,
    places: list[tuple[str, float, float, str]],
    edges: Iterable[Edge],
) -> Network:
    codes = list(_codes(place[0] for place in places))
    cities = tuple(City(code, *place) for code, place in zip(codes, places, strict=True))
    links = tuple(
        Link(codes[edge.a], codes[edge.b], Line(_edge_delay(edge, cities))) for edge in edges
    )
    clients = tuple(Attachment(code) for code in codes)
    network = Network(name, cities, links, (), clients, (), description=description)
    wrong = [problem for problem in problems(network) if problem.path != ("pops",)]
    if wrong:
        raise NetworkError(wrong)
    origins = tuple(Attachment(city) for city in spread(network, min(ORIGINS, len(cities))))
    return replace(network, origins=origins)


def _edge_delay(edge: Edge, cities: tuple[City, ...]) -> int:
    if edge.delay_ns is not None:
        return edge.delay_ns
    if edge.km is not None:
        return fibre_delay_ns(edge.km)  # the cable's own route: nothing left to stretch
    return fibre_delay_ns(distance_km(cities[edge.a], cities[edge.b]), _STRETCH)


def _codes(names: Iterable[str]) -> Iterator[str]:
    """A short code for each name, unique and always the same: Paris PAR, Parma PAM, ..."""
    taken: set[str] = set()
    for name in names:
        plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().upper()
        letters = re.sub(r"[^A-Z0-9]", "", plain) or "X"
        code = next(code for code in _candidates(letters) if code not in taken)
        taken.add(code)
        yield code


def _candidates(letters: str) -> Iterator[str]:
    yield letters[:3]
    yield from (letters[:2] + letter for letter in letters[3:])
    number = 2
    while True:
        yield f"{letters[:3]}{number}"
        number += 1
