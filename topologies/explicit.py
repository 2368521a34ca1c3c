"""A network as JSON with nothing left to work out: what the processes of one lab share.

Written and read many times, so it needs no look-up and no validation library. The field names
and units are those of ``topologies.model``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from ipaddress import IPv4Network
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar

from topologies.model import (
    COMMON_TAG,
    Attachment,
    Balancing,
    City,
    Line,
    Link,
    Names,
    Network,
    Policy,
    Pool,
    Pop,
    Scope,
    Timers,
    Upstream,
)

FORMAT = "poplab-network-1"

Part = TypeVar("Part", Network, Line, Pop, Attachment, Timers)

_WHOLE: Mapping[object, tuple[type, ...]] = {"int": (int,), "int | None": (int, NoneType)}
"""How fields that hold whole numbers are annotated, and what their values may be."""


def dump_json(network: Network) -> str:
    """The network as JSON text; ``parse_json`` gives an equal network back."""
    return json.dumps({"format": FORMAT, **asdict(network)}, default=str, indent=1) + "\n"


def is_explicit(text: str) -> bool:
    """Whether a text was written by ``dump_json``."""
    return f'"format": "{FORMAT}"' in text[:100]


def parse_json(text: str) -> Network:
    """The network that ``dump_json`` wrote. Raises ValueError, KeyError or TypeError on damage."""
    return parse(json.loads(text))


def parse(data: Mapping[str, Any]) -> Network:
    """The network in what ``dump_json`` wrote, read as JSON. Raises as ``parse_json``."""
    if data["format"] != FORMAT:
        raise ValueError(f"not in the format {FORMAT}")
    given = {name: value for name, value in data.items() if name not in ("format", "services")}
    services = data["services"] if "services" in data else data["service_prefixes"]  # as of old
    network = Network(
        **given
        | {
            "cities": tuple(City(**city) for city in data["cities"]),
            "links": tuple(_link(link) for link in data["links"]),
            "pops": tuple(map(_pop, data["pops"])),
            "steering": Policy(data.get("steering", Policy.NEAREST)),
            "upstream": Upstream(data.get("upstream", Upstream.SDN)),
            "timers": _whole(Timers(**data.get("timers", {}))),
            "balancing": Balancing(data.get("balancing", Balancing.MAGLEV)),
            "clients": tuple(_attachment(at) for at in data["clients"]),
            "origins": tuple(_attachment(at) for at in data["origins"]),
            "backbone": tuple(_link(link) for link in data["backbone"]),
            "service_prefixes": tuple(map(IPv4Network, services)),
            "second_chance_udp": tuple(data.get("second_chance_udp", ())),
            "names": Names(data.get("names", Names.RANDOM)),
            "borrow": tuple(data.get("borrow", (COMMON_TAG,))),
            "pools": tuple(
                Pool(**pool | {"prefix": IPv4Network(pool["prefix"])}) for pool in data["pools"]
            ),
        }
    )
    return _whole(network)


def read_json(path: Path) -> Network:
    """The network in a file that ``dump_json`` wrote. Raises as ``parse_json``, and OSError."""
    return parse_json(path.read_text())


def _whole(part: Part) -> Part:
    """A part of a network as it is. Raises TypeError if one of its whole numbers is none."""
    for field in fields(part):
        kinds, value = _WHOLE.get(field.type), getattr(part, field.name)
        if kinds and type(value) not in kinds:
            raise TypeError(f"{field.name} is {value!r}, not a whole number")
    return part


def _line(data: dict[str, Any]) -> Line:
    return _whole(Line(**data))


def _link(data: dict[str, Any]) -> Link:
    return Link(**data | {"line": _line(data["line"])})


def _pop(data: dict[str, Any]) -> Pop:
    scope = Scope(data.get("scope", Scope.ALL))
    return _whole(Pop(**data | {"uplink": _line(data["uplink"]), "scope": scope}))


def _attachment(data: dict[str, Any]) -> Attachment:
    return _whole(Attachment(**data | {"access": _line(data["access"])}))
