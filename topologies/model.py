"""The network as people think of it: cities, PoPs, clients, origins, links.

Everything here is frozen plain data with every default resolved. Nothing imports Mininet,
opens a file or touches the kernel. Units are in the names: ``_ns`` nanoseconds (one way),
``_bit_s`` bits per second. ``loss`` is a probability between 0 and 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from ipaddress import IPv4Address, IPv4Network

__all__ = [
    "COMMON_TAG",
    "MAX_PREPEND",
    "MAX_WEIGHT",
    "NOBODY",
    "SYSTEM_PORTS",
    "Attachment",
    "Balancing",
    "City",
    "Line",
    "Link",
    "Names",
    "Network",
    "Policy",
    "Pool",
    "Pop",
    "Scope",
    "Timers",
    "Upstream",
    "first_port_set",
]

COMMON_TAG = "any"
"""The tag of the pools from which a server borrows that asks for none."""

SYSTEM_PORTS = 1024
"""The ports below are for programs with privileges (RFC 6335 section 6)."""


MAX_WEIGHT = 0xFFFF
"""Weights travel in 16 bits (OpenFlow 1.3.5 section 7.3.4.2)."""

MAX_PREPEND = 16
"""Many networks refuse longer AS paths, and these move nothing more."""

NOBODY = "nobody"
"""The customer of a link on which neither end pays the other: they are peers."""


class Policy(StrEnum):
    """How cities choose their PoP; see ``controller.core.steering``."""

    NEAREST = "nearest"
    BGP = "bgp"
    REGIONAL = "regional"
    WEIGHTED = "weighted"
    CAPACITY = "capacity"


class Upstream(StrEnum):
    """What carries packets between cities."""

    SDN = "sdn"  # switches of our controller, by the shortest way to the PoP that it chose
    BGP = "bgp"  # routers of their own networks, who decide for themselves (docs/bgp.md)


class Balancing(StrEnum):
    """How a PoP spreads flows over its servers; see ``controller.core.balancing``."""

    MAGLEV = "maglev"
    RENDEZVOUS = "rendezvous"
    MODULO = "modulo"
    GROUP = "group"  # the switch's own select group


class Names(StrEnum):
    """Which service address a name has; see ``topologies.binding``."""

    RANDOM = "random"  # another one for each query
    STATIC = "static"  # by a hash of the name
    ONE = "one"  # the first, for all


class Scope(StrEnum):
    """To whom the network of a PoP's city passes on the route to the PoP (policy bgp)."""

    ALL = "all"  # customers, peers and providers, as a route of its own customer
    CUSTOMERS = "customers"
    NOBODY = "nobody"  # a local node: the city's own network alone (NO_EXPORT, RFC 1997)


@dataclass(frozen=True, slots=True)
class Timers:
    """Of BGP, in seconds: RFC 4271 section 10 has 60, 180 and 30; FRR sends at once.

    ``advertisement_s`` lies at least between two updates of one session (MRAI).
    """

    keepalive_s: int = 60
    hold_s: int = 180
    advertisement_s: int = 0


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
    """A place on the Internet: one transit switch, or a router if the upstream is BGP.

    ``code`` is a short unique name (an IATA code where there is one), ``country`` an
    ISO 3166-1 alpha-2 code or empty, coordinates in degrees. ``region`` is the part of the world
    that policy regional serves by itself, ``operator`` whose network the city belongs to (empty:
    one of its own, named by its code).
    """

    code: str
    name: str
    lat: float
    lon: float
    country: str = ""
    region: str = ""
    operator: str = ""

    @property
    def network(self) -> str:
        """The name of the network (autonomous system) that the city belongs to."""
        return self.operator or self.code


@dataclass(frozen=True, slots=True)
class Link:
    """A long-haul link between two cities, or a private backbone link between two PoPs.

    ``customer`` is the end that pays the other for transit, NOBODY between peers, None if the
    network does not say (``topologies.business`` works it out).
    """

    a: str
    b: str
    line: Line
    customer: str | None = None


@dataclass(frozen=True, slots=True)
class Pop:
    """A point of presence in a city: an edge switch, its servers, an uplink to the transit.

    ``weight`` is its share of the cities (policy weighted), ``capacity_packets_s`` how much service
    traffic it takes (policy capacity; None: any), ``prepend`` how many times its announcements
    name us once more, and ``scope`` how far they go (policy bgp).
    """

    city: str
    servers: int
    uplink: Line = Line(delay_ns=250_000)
    weight: int = 1
    capacity_packets_s: int | None = None
    prepend: int = 0
    scope: Scope = Scope.ALL


@dataclass(frozen=True, slots=True)
class Attachment:
    """``count`` clients, or origins, that hang off a city's transit switch."""

    city: str
    count: int = 1
    access: Line = Line(delay_ns=1_000_000)


@dataclass(frozen=True, slots=True)
class Pool:
    """A prefix whose addresses are lent to servers; ``tag`` is what a borrower asks for.

    Every PoP announces all of it. With ``more_specifics``, the length of a longer prefix, it is cut
    into pieces, and the one PoP where a piece's addresses are at home announces that piece too.
    """

    prefix: IPv4Network
    tag: str = COMMON_TAG
    country: str = ""
    more_specifics: int | None = None

    def piece(self, address: IPv4Address) -> IPv4Network | None:
        """The piece that an address of it belongs to; None if it is not cut."""
        if self.more_specifics is None:
            return None
        return IPv4Network((address, self.more_specifics), strict=False)


@dataclass(frozen=True, slots=True)
class Network:
    """A whole network. Equal networks give equal plans, rules and schedules.

    Every server has every address of ``service_prefixes``, which are anycast, and answers for the
    names of the DNS zone ``zone``, bound to these addresses as ``names`` says.
    ``port_set_bits`` is the PSID length k of RFC 7597 (offset 0): an address is cut into 2^k
    aligned port sets. Every server borrows one of each tag in ``borrow``, and up to
    ``borrow_up_to`` as its ports run short. ``path_stretch`` says how much longer fibre is than
    the great circle. With ``second_chance`` a server hands on what belongs to a connection that it
    does not know, for ``linger_ns`` after a change, so that connections survive it; so do flows
    to the UDP ports ``second_chance_udp``, whose services keep a socket for each, when the servers
    of their PoP change. Switches, and routers that speak BGP, tell each other every ``bfd_ns``
    that a link lives (RFC 5880), or trust the carrier and BGP's own timers (None); with
    ``failover`` switches go round a dead link by themselves. The controller asks every server each
    ``health_ns`` whether it serves (0: never). Half of the cities hear of a change of steering
    within ``convergence_ns`` (0: all at once), as BGP would have it. With ``upstream`` BGP there is
    nothing to stand in for it: speakers with these ``timers``.
    """

    name: str
    cities: tuple[City, ...]
    links: tuple[Link, ...]
    pops: tuple[Pop, ...]
    clients: tuple[Attachment, ...]
    origins: tuple[Attachment, ...]
    backbone: tuple[Link, ...] = ()
    service_prefixes: tuple[IPv4Network, ...] = (IPv4Network("198.51.100.1/32"),)
    pools: tuple[Pool, ...] = field(default=(Pool(IPv4Network("203.0.113.0/24")),))
    borrow: tuple[str, ...] = (COMMON_TAG,)
    borrow_up_to: int = 1
    port_set_bits: int = 5
    path_stretch: float = 1.5
    bfd_ns: int | None = None
    failover: bool = True
    description: str = ""
    steering: Policy = Policy.NEAREST
    upstream: Upstream = Upstream.SDN
    timers: Timers = Timers()
    balancing: Balancing = Balancing.MAGLEV
    second_chance: bool = True
    second_chance_udp: tuple[int, ...] = ()
    linger_ns: int = 600 * 10**9
    health_ns: int = 10**9
    convergence_ns: int = 0
    zone: str = "poplab.test"
    names: Names = Names.RANDOM

    @property
    def services(self) -> tuple[IPv4Address, ...]:
        """The service addresses: all of every prefix, its first and its last too."""
        return _addresses(self.service_prefixes)

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


@cache
def _addresses(prefixes: tuple[IPv4Network, ...]) -> tuple[IPv4Address, ...]:
    return tuple(address for prefix in prefixes for address in prefix)


def sets_per_address(port_set_bits: int) -> int:
    """How many sets of this size an address has, if none of them is the whole address."""
    return (1 << port_set_bits) - first_port_set(port_set_bits)


def first_port_set(port_set_bits: int) -> int:
    """The lowest PSID that is lent: sets below it hold system ports, which Linux gives nobody.

    At least 1, because switches see port 0 in fragments. There may be no such set.
    """
    return max(1, SYSTEM_PORTS >> (16 - port_set_bits))
