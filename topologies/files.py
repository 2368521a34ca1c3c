"""Reads the network file that people write, YAML or JSON, into a ``Network``.

Shape (``topologies.schema``), meaning (airports, units, distances; here) and the rules of a
whole network (``topologies.validate``) are checked in one go: every problem is reported, each
with the line it stands in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Network
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from topologies import yaml_file
from topologies.geography import airport, distance_km, fibre_delay_ns
from topologies.model import (
    Attachment,
    City,
    Line,
    Link,
    Network,
    Policy,
    Pool,
    Pop,
    Timers,
    Upstream,
)
from topologies.schema import (
    EVERY_CITY,
    PARTS,
    AttachmentFile,
    CityFile,
    LineFile,
    LinkFile,
    LongHaulFile,
    NetworkFile,
    TimersFile,
)
from topologies.units import UnitError, parse_rate, parse_share, parse_time
from topologies.validate import MAX_STRETCH, MS, NetworkError, Path, Problem, S, problems, suggest

T = TypeVar("T")

_SHAPES = {
    "string_type": ("must be text", "put it in quotes"),
    "int_type": ("must be a whole number", "write it without quotes and unit"),
    "bool_type": ("must be true or false", "write it without quotes"),
    "float_type": ("must be a number", "write it without quotes and unit"),
    "finite_number": ("must be finite", "write an ordinary number"),
    "list_type": ("must be a list", "write one entry per line, each after a dash"),
    "model_type": ("must be a mapping", "write it as key: value"),
    "missing": ("is missing", "add it"),
    "too_short": ("has too few entries", "write two, like [LHR, CDG]"),
    "too_long": ("has too many entries", "write two, like [LHR, CDG]"),
}


def read(text: str, file: str) -> Network:
    """The network that a file's text describes. Raises NetworkError with every problem."""
    document = yaml_file.read(text, file)
    network, found = _understood(document.data)
    found = [*document.twice(), *found]
    if found or network is None:
        placed = [replace(p, file=file, line=document.line_of(p.path)) for p in found]
        raise NetworkError(sorted(placed, key=lambda p: p.line or 0))
    return network


def understand(data: dict[str, Any]) -> Network:
    """The network that plain data describes, as a file would. Raises NetworkError."""
    network, found = _understood(data)
    if found or network is None:
        raise NetworkError(found)
    return network


def _understood(data: dict[str, Any]) -> tuple[Network | None, list[Problem]]:
    """The network, as far as it can be worked out, and everything that is wrong with it."""
    model, found = _shape(data)
    if model is None:
        return None, found
    meaning = _Meaning(model)
    network = meaning.network()
    found += meaning.found
    vague = {problem.path for problem in found}
    found += [p for p in map(meaning.in_file, problems(network)) if p.path not in vague]
    return network, found


def _shape(data: dict[str, Any]) -> tuple[NetworkFile | None, list[Problem]]:
    """The file's model, if what is wrong is no more than keys that nobody knows."""
    try:
        return NetworkFile.model_validate(data), []
    except ValidationError as error:
        details = error.errors(include_url=False)
    found = [_shape_problem(detail) for detail in details]
    if any(detail["type"] != "extra_forbidden" for detail in details):
        return None, found
    data = deepcopy(data)
    for detail in details:
        node: Any = data
        for key in detail["loc"][:-1]:
            node = node[key]
        node.pop(detail["loc"][-1], None)  # an alias may stand for it twice
    return NetworkFile.model_validate(data), found


def _shape_problem(detail: ErrorDetails) -> Problem:
    path = detail["loc"]
    if detail["type"] == "extra_forbidden":
        where = tuple(key for key in path[:-1] if isinstance(key, str))
        return Problem(
            path, "nobody knows this key", suggest(str(path[-1]), PARTS[where].model_fields)
        )
    if detail["type"] == "enum":
        words = re.findall(r"'([^']+)'", detail["ctx"]["expected"])
        cause = f"{detail['input']!r} is none of its words"
        return Problem(path, cause, suggest(str(detail["input"]), words))
    cause, mend = _SHAPES.get(detail["type"], (detail["msg"], "mend it"))
    return Problem(path, cause, mend)


class _Meaning:
    """Works out what a file means; collects problems and goes on with harmless values."""

    def __init__(self, file: NetworkFile) -> None:
        self.file = file
        self.found: list[Problem] = []
        self.sources: dict[str, list[int]] = {"clients": [], "origins": []}
        self.cities: dict[str, City] = {}

    def network(self) -> Network:
        """The network, as far as it could be worked out."""
        file = self.file
        cities = tuple(self._city(("cities", i), city) for i, city in enumerate(file.cities))
        self.cities = {city.code: city for city in cities}
        default = Pop("", 1)
        return Network(
            name=file.name,
            description=file.description,
            path_stretch=file.path_stretch,
            steering=self._steering(),
            upstream=file.upstream,
            timers=self._timers(file.bgp),
            balancing=file.balancing,
            second_chance=file.second_chance,
            second_chance_udp=tuple(file.second_chance_udp),
            convergence_ns=self._try(("convergence",), parse_time, file.convergence, 0),
            health_ns=self._try(("health",), parse_time, file.health, 0),
            linger_ns=self._try(("linger",), parse_time, file.linger, 0),
            cities=cities,
            links=self._links("links", file.links),
            pops=tuple(
                Pop(
                    pop.city,
                    pop.servers,
                    self._line(("pops", i, "uplink"), pop.uplink, default.uplink),
                    pop.weight,
                    pop.capacity,
                    pop.prepend,
                    pop.scope,
                )
                for i, pop in enumerate(file.pops)
            ),
            clients=self._attachments("clients", file.clients),
            origins=self._attachments("origins", file.origins),
            backbone=self._links("backbone", file.backbone),
            service_prefixes=tuple(
                self._prefix(("services", i), text, "198.51.100.1 or 198.51.100.0/24")
                for i, text in enumerate(file.services)
            ),
            zone=file.zone,
            names=file.names,
            pools=tuple(
                Pool(
                    self._prefix(("pools", i, "prefix"), pool.prefix, "203.0.113.0/24"),
                    pool.tag,
                    pool.country,
                    pool.more_specifics,
                )
                for i, pool in enumerate(file.pools)
            ),
            borrow=tuple(file.borrow),
            borrow_up_to=file.borrow_up_to,
            failover=file.failover,
            port_set_bits=file.port_set_bits,
            bfd_ns=None if file.bfd is None else self._try(("bfd",), parse_time, file.bfd, MS),
        )

    def _steering(self) -> Policy:
        """What the file says; routers know one policy."""
        unsaid = "steering" not in self.file.model_fields_set
        return Policy.BGP if unsaid and self.file.upstream is Upstream.BGP else self.file.steering

    def _timers(self, timers: TimersFile) -> Timers:
        return Timers(
            keepalive_s=self._seconds("keepalive", timers.keepalive),
            hold_s=self._seconds("hold", timers.hold),
            advertisement_s=self._seconds("advertisement", timers.advertisement),
        )

    def _seconds(self, key: str, text: object) -> int:
        """A time that must be whole seconds."""
        path = ("bgp", key)
        whole, rest = divmod(self._try(path, parse_time, text, 0), S)
        if rest:
            self.found.append(Problem(path, f"{text} is no whole number of seconds", "use one"))
        return whole

    def in_file(self, problem: Problem) -> Problem:
        """The same problem where the file has it: ``every city`` is one entry there."""
        match problem.path:
            case ("timers", str(timer)):
                return replace(problem, path=("bgp", timer.removesuffix("_s")))
            case (str(field), int(i), *rest) if field in self.sources:
                return replace(problem, path=(field, self.sources[field][i], *rest))
        return problem

    def _try(self, path: Path, parse: Callable[[Any], T], text: object, instead: T) -> T:
        try:
            return parse(text)
        except UnitError as error:
            self.found.append(Problem(path, error.cause, error.mend))
            return instead

    def _city(self, path: Path, city: CityFile) -> City:
        lat, lon, name, country = city.lat, city.lon, city.name, city.country
        region = city.region
        if lat is None or lon is None:
            try:
                known = airport(city.code)
            except KeyError:
                mend = f"check it, or write {{code: {city.code}, name: ..., lat: ..., lon: ...}}"
                self.found.append(Problem(path, f"no airport has the code {city.code!r}", mend))
                known = City(city.code, "", 0.0, 0.0)
            lat = known.lat if lat is None else lat
            lon = known.lon if lon is None else lon
            name = known.name if name is None else name
            country = known.country if country is None else country
            region = known.region if region is None else region
        place = (float(lat), float(lon), country or "", region or "", city.operator)
        return City(city.code, name or city.code, *place)

    def _links(self, field: str, links: Sequence[LinkFile]) -> tuple[Link, ...]:
        found = []
        for i, link in enumerate(links):
            a, b = link.between
            far = Line(delay_ns=self._delay(a, b))
            customer = link.customer if isinstance(link, LongHaulFile) else None
            found.append(Link(a, b, self._line((field, i), link, far), customer))
        return tuple(found)

    def _delay(self, a: str, b: str) -> int:
        if a not in self.cities or b not in self.cities:
            return 0
        km = distance_km(self.cities[a], self.cities[b])
        return fibre_delay_ns(km, min(max(1.0, self.file.path_stretch), MAX_STRETCH))

    def _line(self, path: Path, line: LineFile, default: Line) -> Line:
        delay = default.delay_ns
        if line.delay is not None:
            delay = self._try((*path, "delay"), parse_time, line.delay, 0)
        rate = None
        if line.rate is not None:
            rate = self._try((*path, "rate"), parse_rate, line.rate, 1)
        return Line(
            delay_ns=delay,
            jitter_ns=self._try((*path, "jitter"), parse_time, line.jitter, 0),
            loss=self._try((*path, "loss"), parse_share, line.loss, 0.0),
            rate_bit_s=rate,
            limit_packets=line.limit_packets,
        )

    def _attachments(self, field: str, entries: Sequence[AttachmentFile]) -> tuple[Attachment, ...]:
        found = []
        for i, entry in enumerate(entries):
            default = Attachment("").access
            access = self._line((field, i, "access"), entry.access, default)
            for city in self.cities if entry.city == EVERY_CITY else [entry.city]:
                found.append(Attachment(city, entry.count, access))
                self.sources[field].append(i)
        return tuple(found)

    def _prefix(self, path: Path, text: str, like: str) -> IPv4Network:
        return self._try(path, partial(_parse_prefix, like=like), text, IPv4Network("0.0.0.0/32"))


def _parse_prefix(text: str, like: str) -> IPv4Network:
    try:
        return IPv4Network(text)
    except ValueError:
        pass
    try:
        whole = IPv4Network(text, strict=False)
    except ValueError:
        raise UnitError(f"{text!r} is no IPv4 prefix", f"write it like {like}") from None
    raise UnitError(f"{text} has bits behind its length", f"write {whole}")
