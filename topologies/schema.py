"""The shape of a network file: its keys and types, and their JSON Schema.

What values mean is worked out in ``topologies.files``. Short forms: a city is an IATA code, a
link is ``[LHR, CDG]``, a PoP or an attachment is a city's code, ``clients: every city`` is one
in each, a pool is a prefix.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from topologies.model import COMMON_TAG, Balancing, Names, Policy, Scope, Upstream

EVERY_CITY = "every city"
"""Stands for a city's code in ``clients`` and ``origins``."""


def _quantity(description: str, example: str) -> WithJsonSchema:
    return WithJsonSchema(
        {"type": ["string", "number"], "description": description, "examples": [example]}
    )


def _short(key: str, full: type[BaseModel], short: Any = str) -> BeforeValidator:
    """Accept just the value of ``key`` in place of the ``full`` mapping."""
    kind = list if short is not str else str

    def expand(value: object) -> object:
        return {key: value} if isinstance(value, kind) else value

    return BeforeValidator(expand, json_schema_input_type=short | full)


def _one_as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


Time = Annotated[Any, _quantity("A number and a unit: ns, us, ms, s.", "10 ms")]
Rate = Annotated[Any, _quantity("Per second; units bit, kbit, Mbit, Gbit, Tbit.", "1 Gbit")]
Share = Annotated[Any, _quantity("Per cent, or a probability between 0 and 1.", "0.1 %")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class LineFile(_Part):
    """What a link does to packets, the same in both directions."""

    delay: Time = Field(None, description="One way. Default: from the distance of the cities.")
    jitter: Time = 0
    loss: Share = 0
    rate: Rate = Field(None, description="Default: no limit.")
    limit_packets: int | None = Field(None, description="Length of the queue.")


class CityFile(_Part):
    """A city. What is left out is looked up by its code, an IATA airport code."""

    code: str = Field(description="1 to 7 letters and digits.")
    name: str | None = None
    lat: float | None = Field(None, description="Degrees north.")
    lon: float | None = Field(None, description="Degrees east.")
    country: str | None = Field(None, description="ISO 3166-1, two letters.")
    region: str | None = Field(None, description="For policy regional. Default: the continent.")
    operator: str = Field("", description="Whose network it is in. Default: one of its own.")


class LinkFile(LineFile):
    """A link of the backbone between the PoPs of two cities."""

    between: Annotated[list[str], Field(min_length=2, max_length=2)]


class LongHaulFile(LinkFile):
    """A link between two cities."""

    customer: str | None = Field(
        None, description="The end that pays the other, or nobody. Default: who is further out."
    )


class PopFile(_Part):
    """A PoP: its city, its servers, its link to the city's transit switch."""

    city: str
    servers: int = 2
    uplink: LineFile = Field(LineFile(), description="Default delay: 0.25 ms.")
    weight: int = Field(1, description="Its share of the cities under policy weighted.")
    capacity: int | None = Field(
        None, description="Packets a second that it takes under policy capacity."
    )
    prepend: int = Field(0, description="How often its announcements name us once more.")
    scope: Annotated[Scope, Field(strict=False)] = Field(
        Scope.ALL, description="To whom its city's network passes on its announcements."
    )


class AttachmentFile(_Part):
    """Clients or origins in one city, or (``every city``) in each."""

    city: str
    count: int = 1
    access: LineFile = Field(LineFile(), description="Default delay: 1 ms.")


class PoolFile(_Part):
    """A prefix to lend addresses from."""

    prefix: str
    tag: str = Field(COMMON_TAG, description="What a borrower asks for.")
    country: str = Field("", description="ISO 3166-1, two letters, for the geofeed.")
    more_specifics: int | None = Field(
        None, description="Length of the pieces that their home PoP announces too (upstream bgp)."
    )


class TimersFile(_Part):
    """How BGP's speakers pace themselves, in whole seconds."""

    keepalive: Time = Field("60 s", description="How often a session says that it lives.")
    hold: Time = Field("180 s", description="A session that is silent for so long is over.")
    advertisement: Time = Field(0, description="Between two updates of a session (MRAI).")


CityEntry = Annotated[CityFile, _short("code", CityFile)]
LinkEntry = Annotated[LongHaulFile, _short("between", LongHaulFile, list[str])]
PrivateEntry = Annotated[LinkFile, _short("between", LinkFile, list[str])]
PopEntry = Annotated[PopFile, _short("city", PopFile)]
AttachmentEntry = Annotated[AttachmentFile, _short("city", AttachmentFile)]
Attachments = Annotated[
    list[AttachmentEntry],
    BeforeValidator(_one_as_list, json_schema_input_type=str | list[str | AttachmentFile]),
]
PoolEntry = Annotated[PoolFile, _short("prefix", PoolFile)]


class NetworkFile(_Part):
    """A poplab network."""

    name: str = Field(description="Letters, digits, dots, dashes: it becomes part of file names.")
    description: str = ""
    steering: Annotated[Policy, Field(strict=False)] = Field(
        Policy.NEAREST, description="How cities choose their PoP. Under upstream bgp: bgp."
    )
    upstream: Annotated[Upstream, Field(strict=False)] = Field(
        Upstream.SDN, description="What carries packets between cities: switches or BGP routers."
    )
    bgp: TimersFile = Field(TimersFile(), description="Timers of upstream bgp.")
    balancing: Annotated[Balancing, Field(strict=False)] = Field(
        Balancing.MAGLEV, description="How a PoP spreads flows over its servers."
    )
    second_chance: bool = Field(
        True, description="Servers hand on what belongs to connections that they do not know."
    )
    second_chance_udp: list[int] = Field(
        [], description="UDP ports whose services have a socket per flow: flows survive as well."
    )
    convergence: Time = Field(
        0, description="Half of the cities follow a change within this; 0: all at once."
    )
    health: Time = Field("1 s", description="How often servers are asked whether they serve.")
    linger: Time = Field("10 min", description="For so long after a change.")
    path_stretch: float = Field(1.5, description="Length of fibre over that of the great circle.")
    cities: list[CityEntry]
    links: list[LinkEntry] = []
    pops: list[PopEntry]
    clients: Attachments = []
    origins: Attachments = []
    backbone: list[PrivateEntry] = Field([], description="Private links between PoPs.")
    services: list[str] = Field(
        ["198.51.100.1"], description="Anycast addresses of all servers, or prefixes of them."
    )
    zone: str = Field("poplab.test", description="The DNS zone for which servers answer.")
    names: Annotated[Names, Field(strict=False)] = Field(
        Names.RANDOM, description="How a name of the zone gets one of the service addresses."
    )
    pools: list[PoolEntry] = [PoolFile(prefix="203.0.113.0/24")]
    borrow: list[str] = Field([COMMON_TAG], description="Tags of which each server borrows a set.")
    borrow_up_to: int = Field(
        1, description="So many sets of a tag a server borrows as its ports run short, 1 to 8."
    )
    bfd: Time = Field(
        None,
        description="How often switches, and routers, tell each other that they live (BFD), in ms;"
        " three in a row may be lost. Default: never, they trust the carrier.",
    )
    failover: bool = Field(
        True,
        description="Whether switches go round a dead link before the controller reroutes.",
    )
    port_set_bits: int = Field(5, description="An address is cut into 2^k port sets (RFC 7597).")


PARTS: dict[tuple[str, ...], type[BaseModel]] = {
    (): NetworkFile,
    ("cities",): CityFile,
    ("pops",): PopFile,
    ("pops", "uplink"): LineFile,
    ("links",): LongHaulFile,
    ("clients",): AttachmentFile,
    ("clients", "access"): LineFile,
    ("origins",): AttachmentFile,
    ("origins", "access"): LineFile,
    ("backbone",): LinkFile,
    ("pools",): PoolFile,
    ("bgp",): TimersFile,
}
"""Which mapping stands where in a file (list indices left out)."""


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a network file (``topologies/network.schema.json``)."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **NetworkFile.model_json_schema(),
        "title": "poplab network",
    }


if __name__ == "__main__":
    import json
    import sys

    json.dump(json_schema(), sys.stdout, indent=2)
    sys.stdout.write("\n")
