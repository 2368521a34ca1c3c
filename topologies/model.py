"""The network as people think of it: cities, PoPs, clients, origins, links.

Everything here is frozen plain data with every default resolved. Nothing imports Mininet,
opens a file or touches the kernel. Units are in the names: ``_ns`` nanoseconds (one way),
``_bit_s`` bits per second. ``loss`` is a probability between 0 and 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

__all__ = [
    "COMMON_TAG",
    "SYSTEM_PORTS",
    "Attachment",
    "City",
    "Line",
    "Link",
    "Network",
    "Pool",
    "Pop",
    "first_port_set",
]

COMMON_TAG = "any"
"""The tag of the pools from which a server borrows that asks for none."""

SYSTEM_PORTS = 1024
"""The ports below are for programs with privileges (RFC 6335 section 6)."""


@dataclass(frozen=True, slots=True)
class Line:
    """What a link does to packets, the same in both directions."""

    delay_ns: int = 0
    jitter_ns: int = 0
    loss: float = 0.0
    rate_bit_s: int | None = None
    limit_packets: int | None = None


@dataclass(frozen=True, slots=True)
class City:
    """A place on the Internet: one transit switch.

    ``code`` is a short unique name (an IATA code where there is one), ``country`` an
    ISO 3166-1 alpha-2 code or empty, coordinates in degrees.
    """

    code: str
    name: str
    lat: float
    lon: float
    country: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    """A long-haul link between two cities, or a private backbone link between two PoPs."""

    a: str
    b: str
    line: Line


@dataclass(frozen=True, slots=True)
class Pop:
    """A point of presence in a city: an edge switch, its servers, an uplink to the transit."""

    city: str
    servers: int
    uplink: Line = Line(delay_ns=250_000)


@dataclass(frozen=True, slots=True)
class Attachment:
    """``count`` clients, or origins, that hang off a city's transit switch."""

    city: str
    count: int = 1
    access: Line = Line(delay_ns=1_000_000)


@dataclass(frozen=True, slots=True)
class Pool:
    """A prefix whose addresses are lent to servers; ``tag`` is what a borrower asks for."""

    prefix: IPv4Network
    tag: str = COMMON_TAG
    country: str = ""


@dataclass(frozen=True, slots=True)
class Network:
    """A whole network. Equal networks give equal plans, rules and schedules.

    ``port_set_bits`` is the PSID length k of RFC 7597 (offset 0): an address is cut into 2^k
    aligned port sets. Every server borrows one of each tag in ``borrow``, and up to
    ``borrow_up_to`` as its ports run short. ``path_stretch`` says how much longer fibre is than
    the great circle. Switches tell each other every ``bfd_ns`` that a link lives (RFC 5880), or
    trust the carrier alone (None); with ``failover`` they go round a dead link by themselves.
    """

    name: str
    cities: tuple[City, ...]
    links: tuple[Link, ...]
    pops: tuple[Pop, ...]
    clients: tuple[Attachment, ...]
    origins: tuple[Attachment, ...]
    backbone: tuple[Link, ...] = ()
    services: tuple[IPv4Address, ...] = (IPv4Address("198.51.100.1"),)
    pools: tuple[Pool, ...] = field(default=(Pool(IPv4Network("203.0.113.0/24")),))
    borrow: tuple[str, ...] = (COMMON_TAG,)
    borrow_up_to: int = 1
    port_set_bits: int = 5
    path_stretch: float = 1.5
    bfd_ns: int | None = None
    failover: bool = True
    description: str = ""

    @property
    def sets_per_address(self) -> int:
        """How many port sets of one address can be lent."""
        return sets_per_address(self.port_set_bits)

    def city(self, code: str) -> City:
        """The city with this code; KeyError if there is none."""
        for city in self.cities:
            if city.code == code:
                return city
        raise KeyError(code)


def sets_per_address(port_set_bits: int) -> int:
    """How many sets of this size an address has, if none of them is the whole address."""
    return (1 << port_set_bits) - first_port_set(port_set_bits)


def first_port_set(port_set_bits: int) -> int:
    """The lowest PSID that is lent: sets below it hold system ports, which Linux gives nobody.

    At least 1, because switches see port 0 in fragments. There may be no such set.
    """
    return max(1, SYSTEM_PORTS >> (16 - port_set_bits))
