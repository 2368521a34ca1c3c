"""What is wrong with a network: every problem at once, each with its cause and its mend."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import IPv4Network

from topologies import business
from topologies.family import written
from topologies.model import (
    COMMON_TAG,
    MAX_PREPEND,
    MAX_WEIGHT,
    NOBODY,
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
from topologies.plan import CITY_PARTS, POP_PARTS, part
from topologies.units import format_rate, format_time

MAX_SWITCHES = 0xFFF
"""Most cities, and most PoPs: their datapath ids are 0x1000 and 0x2000 plus a number."""

NOT_HOSTS = 3
"""Addresses of a prefix that no host has: the first, the switch's, and the last."""

MAX_FABRIC_LINKS = 0xFFF
"""Most links between switches: a label that carries a dead one has 12 bits for its number."""

MAX_INTERFACE_NAME = 15
"""IFNAMSIZ - 1 of Linux."""

MAX_DELAY_NS = 60 * 10**9
"""Nothing on Earth is further away; a longer delay is a slip of the unit."""

MIN_HEALTH_NS = 100 * 10**6
MAX_LINGER_NS = 3600 * 10**9
MS = 10**6
S = 10**9
MAX_BFD_NS = 10_000 * MS
"""Who hears of a dead link half a minute later need not ask."""

MIN_ROUTERS_BFD_NS = 10 * MS
"""The least transmit-interval of FRR's bfdd."""

MIN_RATE_BIT_S, MAX_RATE_BIT_S = 1000, 10**13
MAX_LIMIT_PACKETS = 1 << 20
"""What the link emulators can keep."""

MAX_SAID = 200
"""Characters of a problem's cause that are shown: a file may hold anything."""

MAX_SERVICES = 4096
"""Most service addresses: a /20 once had the names of 20 million sites (docs/names.md)."""

MAX_SERVICE_PREFIXES = 256
"""Most entries of services: rules grow with them."""

MIN_HOLD_S, MAX_BGP_S, MAX_ADVERTISEMENT_S = 3, 3600, 600
"""What BGP's timers may be."""

MAX_PORT = 0xFFFF
MAX_FLOW_PORTS = 8
"""Most UDP ports whose flows survive changes: rules grow with them."""

MAX_ZONE = 189
"""Characters of the zone's name: the names below it have 63 more and a dot, and 253 at most."""

MAX_STRETCH = 10
"""No fibre is longer than so many times the straight way."""

RESERVED = {
    IPv4Network("0.0.0.0/8"): "'this network' (RFC 1122)",
    CITY_PARTS: "the own addresses of clients and origins",
    IPv4Network("127.0.0.0/8"): "loopback",
    IPv4Network("169.254.0.0/16"): "link-local, where the gateway is",
    POP_PARTS: "the own addresses of servers",
    IPv4Network("224.0.0.0/3"): "multicast and reserved addresses",
}
"""Prefixes that services and pools must stay out of, and what they are for."""

OF_ROUTERS = {IPv4Network("100.64.0.0/10"): "the routers' own addresses (RFC 6598)"}
"""The same if the upstream is BGP."""

_CODE = re.compile(r"[A-Za-z0-9]{1,7}")
_ZONE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


Path = tuple[str | int, ...]
"""Where in a network something stands: ``("pops", 2, "city")``."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where (a path into the network), why, and what mends it.

    ``file`` and ``line`` (from 1) are filled in by loaders that read a file.
    """

    path: tuple[str | int, ...]
    cause: str
    mend: str
    file: str = ""
    line: int | None = None

    @property
    def field(self) -> str:
        """The path as people write it: ``pops[2].city``."""
        parts = (f"[{key}]" if isinstance(key, int) else f".{key}" for key in self.path)
        return "".join(parts).removeprefix(".")

    def __str__(self) -> str:
        place = self.file + (f":{self.line}" if self.line else "")
        said = (place, shortened(self.field), f"{shortened(self.cause)}; {self.mend}")
        return ": ".join(printable(part) for part in said if part)


class NetworkError(Exception):
    """A network that cannot be used; ``problems`` holds everything that is wrong with it."""

    def __init__(self, found: Iterable[Problem]) -> None:
        self.problems = tuple(found)
        super().__init__("\n".join(map(str, self.problems)))


def shortened(text: str) -> str:
    """A text of any length as one that fits a terminal."""
    return text if len(text) <= MAX_SAID else f"{text[:MAX_SAID]}..."


def printable(text: str) -> str:
    """A text without what a terminal would obey, or could not write."""
    return "".join(x if x.isprintable() else ascii(x)[1:-1] for x in text)


def problems(network: Network) -> list[Problem]:
    """Everything that is wrong with a network, in the order of its fields; empty if nothing."""
    return [
        *_names(network),
        *_cities(network),
        *_links(network),
        *_pops(network),
        *_attachments("clients", network.clients, network),
        *_attachments("origins", network.origins, network),
        *_backbone(network),
        *_services(network),
        *_flows(network),
        *_addresses(network),
        *_numbers(network),
        *_business(network),
        *_upstream(network),
        *_bfd(network),
        *_capacity(network),
    ]


def suggest(word: str, known: Iterable[str]) -> str:
    """A mend for a word that is not among the known ones: the nearest, or all of them."""
    word = word[:MAX_SAID]
    known = list(dict.fromkeys(map(str, known)))
    folded = {name.casefold(): name for name in known}
    near = get_close_matches(word.casefold(), folded, n=1, cutoff=0.6)
    if near:
        return f"did you mean {folded[near[0]]!r}?"
    shown = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
    return f"use one of {shown}" if known else "there is none to choose from"


def _names(network: Network) -> Iterator[Problem]:
    if not _NAME.fullmatch(network.name):
        yield Problem(
            ("name",),
            f"{network.name!r} cannot name a folder",
            "use up to 63 letters, digits, dots, dashes and underscores",
        )
    if not network.description.replace("\n", " ").isprintable():
        yield Problem(("description",), "it cannot be printed", "use plain text")


def _cities(network: Network) -> Iterator[Problem]:
    if not network.cities:
        yield Problem(("cities",), "there is no city", "name at least one")
    seen: dict[str, int] = {}
    for i, city in enumerate(network.cities):
        at = ("cities", i)
        if not _CODE.fullmatch(city.code):
            yield Problem(
                (*at, "code"),
                f"{city.code!r} cannot be part of an interface name",
                "use 1 to 7 letters and digits",
            )
        first = seen.setdefault(city.code.casefold(), i)
        if first != i:
            yield Problem(
                (*at, "code"), f"{city.code!r} is also cities[{first}]", "give each city its own"
            )
        yield from _place(at, city)


def _place(at: tuple[str | int, ...], city: City) -> Iterator[Problem]:
    if not -90 <= city.lat <= 90:
        yield Problem((*at, "lat"), f"{city.lat} is no latitude", "use degrees from -90 to 90")
    if not -180 <= city.lon <= 180:
        yield Problem((*at, "lon"), f"{city.lon} is no longitude", "use degrees from -180 to 180")
    if not city.name.isprintable():
        yield Problem((*at, "name"), f"{city.name!r} cannot be printed", "use plain text")
    if city.country and not re.fullmatch("[A-Z]{2}", city.country):
        yield Problem(
            (*at, "country"),
            f"{city.country!r} is no country code",
            "use two capital letters (ISO 3166-1)",
        )
    if not city.region.isprintable():
        yield Problem((*at, "region"), f"{city.region!r} cannot be printed", "use plain text")
    if city.operator and not _NAME.fullmatch(city.operator):
        yield Problem(
            (*at, "operator"),
            f"{city.operator!r} is no operator's name",
            "use up to 63 letters, digits, dots, dashes and underscores",
        )


def _line(at: tuple[str | int, ...], line: Line) -> Iterator[Problem]:
    for name, value in (("delay", line.delay_ns), ("jitter", line.jitter_ns)):
        if value < 0:
            yield Problem((*at, name), f"{format_time(value)} is negative", "use 0 or more")
        if value > MAX_DELAY_NS:
            yield Problem(
                (*at, name),
                f"{format_time(value)} is over a minute",
                "check its unit",
            )
    if not 0 <= line.loss <= 1:
        yield Problem(
            (*at, "loss"), f"{line.loss:g} is no probability", "use 0 % to 100 %, or 0 to 1"
        )
    if line.rate_bit_s is not None and not MIN_RATE_BIT_S <= line.rate_bit_s <= MAX_RATE_BIT_S:
        least, most = format_rate(MIN_RATE_BIT_S), format_rate(MAX_RATE_BIT_S)
        yield Problem(
            (*at, "rate"),
            f"no link emulator keeps {line.rate_bit_s} bit/s",
            f"use {least} to {most}, or leave it out for no limit",
        )
    if line.limit_packets is not None and not 1 <= line.limit_packets <= MAX_LIMIT_PACKETS:
        yield Problem(
            (*at, "limit_packets"),
            f"no link emulator keeps a queue of {line.limit_packets} packets",
            f"use 1 to {MAX_LIMIT_PACKETS:,}, or leave it out for the emulator's own",
        )


def _pairs(field: str, links: tuple[Link, ...], known: list[str], what: str) -> Iterator[Problem]:
    """The ends of links: known, different, and no pair twice."""
    codes = set(known)
    seen: dict[frozenset[str], int] = {}
    for i, link in enumerate(links):
        at = (field, i)
        for end in dict.fromkeys((link.a, link.b)):
            if end not in codes:
                yield Problem(at, f"there is no {what} {end!r}", suggest(end, known))
        if link.a == link.b:
            yield Problem(at, f"{link.a!r} is linked to itself", f"link it to another {what}")
        first = seen.setdefault(frozenset((link.a, link.b)), i)
        if first != i:
            yield Problem(
                at, f"{link.a} and {link.b} are linked in {field}[{first}] too", "keep one of them"
            )
        yield from _line(at, link.line)


def _links(network: Network) -> Iterator[Problem]:
    codes = [city.code for city in network.cities]
    found = list(_pairs("links", network.links, codes, "city"))
    yield from found
    groups = _islands(codes, network.links)
    if len(groups) > 1:
        lost = ", ".join(groups[-1][:5]) + (", ..." if len(groups[-1]) > 5 else "")
        yield Problem(
            ("links",),
            f"the cities are in {len(groups)} parts; no path leads from {groups[0][0]} to {lost}",
            "add links that join them",
        )


def _islands(codes: list[str], links: tuple[Link, ...]) -> list[list[str]]:
    """Connected parts of the city graph, the largest first, each in the network's order."""
    near: dict[str, list[str]] = {code: [] for code in codes}
    for link in links:
        if link.a in near and link.b in near:
            near[link.a].append(link.b)
            near[link.b].append(link.a)
    order = {code: n for n, code in enumerate(codes)}
    left = dict.fromkeys(codes)
    groups = []
    while left:
        reached, stack = set[str](), [next(iter(left))]
        while stack:
            code = stack.pop()
            if code not in reached:
                reached.add(code)
                left.pop(code, None)
                stack += near[code]
        groups.append(sorted(reached, key=order.__getitem__))
    return sorted(groups, key=len, reverse=True)


def _business(network: Network) -> Iterator[Problem]:
    """Customers are ends of their links, and nobody is its own provider."""
    known = {city.code for city in network.cities}
    sound = len(_islands(list(known), network.links)) == 1
    for i, link in enumerate(network.links):
        sound = sound and {link.a, link.b} <= known
        if link.customer not in (None, NOBODY, link.a, link.b):
            yield Problem(
                ("links", i, "customer"),
                f"{link.customer!r} is not at this link",
                f"name {link.a}, {link.b} or {NOBODY}",
            )
            sound = False
    if sound and (circle := business.circle(network)):
        yield Problem(
            ("links",),
            f"each of these networks pays the next for transit, in a circle: {', '.join(circle)}",
            f"let one of their links have another customer, or {NOBODY}",
        )


def _upstream(network: Network) -> Iterator[Problem]:
    """What BGP between cities needs: its own policy, ways for everybody, a whole backbone."""
    if network.upstream is not Upstream.BGP:
        return
    if network.steering is not Policy.BGP:
        cause = f"routers that speak BGP are not steered by {network.steering}"
        yield Problem(("steering",), cause, "use bgp, or leave it out")
    if network.convergence_ns:
        cause = "BGP takes the time that it takes"
        yield Problem(("convergence",), cause, "leave it out; bgp: {advertisement: 30 s} slows it")
    yield from _timers(network.timers)
    pops = [pop.city for pop in network.pops]
    groups = _islands(list(dict.fromkeys(pops)), network.backbone)
    if len(groups) > 1:
        yield Problem(
            ("backbone",),
            f"no private way leads from {groups[0][0]} to {', '.join(groups[-1])}, and between"
            " PoPs BGP carries nothing for us",
            "add links that join all PoPs",
        )
    cities = {city.code for city in network.cities}
    known = cities >= {*pops, *(end for link in network.links for end in (link.a, link.b))}
    whole = len(_islands(list(cities), network.links)) == 1
    if known and whole and (lost := business.unreached(network)):
        yield Problem(
            ("links",),
            f"no PoP is heard of in {', '.join(lost)}: nobody on the way is paid to tell them",
            "give them a provider that hears of a PoP, or a PoP a wider scope",
        )


def _timers(timers: Timers) -> Iterator[Problem]:
    """What FRR takes, and RFC 4271 section 4.2 demands."""
    if not 1 <= timers.keepalive_s <= MAX_BGP_S:
        cause = f"sessions cannot say every {timers.keepalive_s} s that they live"
        yield Problem(("timers", "keepalive_s"), cause, f"use 1 s to {MAX_BGP_S} s")
    if not max(MIN_HOLD_S, timers.keepalive_s) <= timers.hold_s <= MAX_BGP_S:
        cause = f"{timers.hold_s} s of silence cannot end a session"
        mend = f"use {MIN_HOLD_S} s to {MAX_BGP_S} s, and no less than keepalive"
        yield Problem(("timers", "hold_s"), cause, mend)
    if not 0 <= timers.advertisement_s <= MAX_ADVERTISEMENT_S:
        cause = f"nobody waits {timers.advertisement_s} s between two updates"
        mend = f"use 0 to {MAX_ADVERTISEMENT_S} s"
        yield Problem(("timers", "advertisement_s"), cause, mend)


def _pops(network: Network) -> Iterator[Problem]:
    if not network.pops:
        yield Problem(("pops",), "there is no PoP", "name at least one city that has servers")
    codes = [city.code for city in network.cities]
    seen: dict[str, int] = {}
    for i, pop in enumerate(network.pops):
        if pop.city not in codes:
            yield Problem(
                ("pops", i, "city"), f"there is no city {pop.city!r}", suggest(pop.city, codes)
            )
        first = seen.setdefault(pop.city, i)
        if first != i:
            yield Problem(
                ("pops", i, "city"),
                f"{pop.city} has a PoP in pops[{first}] too",
                "give that one more servers",
            )
        if pop.servers < 1:
            yield Problem(
                ("pops", i, "servers"), f"{pop.servers} servers serve nobody", "use 1 or more"
            )
        yield from _line(("pops", i, "uplink"), pop.uplink)
        yield from _share(("pops", i), pop)


def _share(at: Path, pop: Pop) -> Iterator[Problem]:
    """How much of the traffic a PoP wants and takes."""
    if not 0 <= pop.weight <= MAX_WEIGHT:
        cause = f"{pop.weight} is no weight"
        yield Problem((*at, "weight"), cause, f"use 0 (no city) to {MAX_WEIGHT}")
    if pop.capacity_packets_s is not None and pop.capacity_packets_s < 1:
        cause = f"{pop.capacity_packets_s} packets a second serve nobody"
        yield Problem((*at, "capacity"), cause, "use 1 or more, or leave it out for any")
    if not 0 <= pop.prepend <= MAX_PREPEND:
        cause = f"nobody prepends {pop.prepend} times"
        yield Problem((*at, "prepend"), cause, f"use 0 to {MAX_PREPEND}")


def _attachments(
    field: str, attachments: tuple[Attachment, ...], network: Network
) -> Iterator[Problem]:
    codes = [city.code for city in network.cities]
    for i, at in enumerate(attachments):
        if at.city not in codes:
            yield Problem(
                (field, i, "city"), f"there is no city {at.city!r}", suggest(at.city, codes)
            )
        if at.count < 1:
            yield Problem(
                (field, i, "count"), f"there cannot be {at.count} {field}", "use 1 or more"
            )
        yield from _line((field, i, "access"), at.access)


def _backbone(network: Network) -> Iterator[Problem]:
    yield from _pairs("backbone", network.backbone, [pop.city for pop in network.pops], "PoP")


def _services(network: Network) -> Iterator[Problem]:
    """How many service addresses there are, and whose names they have."""
    count = sum(prefix.num_addresses for prefix in network.service_prefixes)
    if not count:
        yield Problem(
            ("services",), "there is no service address", "name at least one, like 198.51.100.1"
        )
    if count > MAX_SERVICES:
        cause = f"there are {count} service addresses"
        yield Problem(("services",), cause, f"use {MAX_SERVICES} or fewer in all")
    if len(network.service_prefixes) > MAX_SERVICE_PREFIXES:
        cause = f"there are {len(network.service_prefixes)} entries, each with rules of its own"
        yield Problem(("services",), cause, f"use {MAX_SERVICE_PREFIXES} prefixes or fewer")
    if not _ZONE.fullmatch(network.zone) or len(network.zone) > MAX_ZONE:
        cause = f"{network.zone!r} is no DNS zone"
        yield Problem(("zone",), cause, "use a name in lower case, like poplab.test")


def _flows(network: Network) -> Iterator[Problem]:
    """The UDP ports whose flows survive changes."""
    ports = network.second_chance_udp
    for i, port in enumerate(ports):
        if type(port) is not int or not 0 < port <= MAX_PORT:
            cause = f"{port!r} is no port"
            yield Problem(("second_chance_udp", i), cause, f"use 1 to {MAX_PORT}")
    if len(set(ports)) < len(ports) or len(ports) > MAX_FLOW_PORTS:
        cause = f"{len(ports)} ports, each with rules of its own"
        mend = f"name each once, and {MAX_FLOW_PORTS} at most"
        yield Problem(("second_chance_udp",), cause, mend)


def _addresses(network: Network) -> Iterator[Problem]:
    """Services and pools: none overlaps another, or a prefix that is taken."""
    taken = [*RESERVED.items()]
    if network.upstream is Upstream.BGP:
        taken += OF_ROUTERS.items()
    for i, prefix in enumerate(network.service_prefixes[:MAX_SERVICE_PREFIXES]):
        yield from _overlaps(("services", i), prefix, taken)
        taken.append((prefix, f"services[{i}]"))
    for i, pool in enumerate(network.pools):
        at = ("pools", i, "prefix")
        yield from _overlaps(at, pool.prefix, taken)
        taken.append((pool.prefix, f"pools[{i}]"))
        if pool.prefix.prefixlen < 16:
            yield Problem(
                at,
                f"{pool.prefix} has {pool.prefix.num_addresses} addresses to keep a book of",
                "use a /16 or longer",
            )
        if not _NAME.fullmatch(pool.tag):
            yield Problem(
                ("pools", i, "tag"),
                f"{pool.tag!r} is no tag",
                "use up to 63 letters, digits, dots, dashes and underscores",
            )
        if pool.country and not re.fullmatch("[A-Z]{2}", pool.country):
            yield Problem(
                ("pools", i, "country"),
                f"{pool.country!r} is no country code",
                "use two capital letters (ISO 3166-1)",
            )
        yield from _more_specifics(network, i, pool)
    yield from _lendable(network)


def _more_specifics(network: Network, i: int, pool: Pool) -> Iterator[Problem]:
    """Pieces of a pool are announced by speakers, and are pieces."""
    at, length = ("pools", i, "more_specifics"), pool.more_specifics
    if length is None:
        return
    if network.upstream is not Upstream.BGP:
        yield Problem(at, "only BGP draws what is for a longer prefix", "use upstream: bgp")
    if not pool.prefix.prefixlen < length <= pool.prefix.max_prefixlen:
        cause = f"{pool.prefix} has no pieces that are /{length}"
        yield Problem(at, cause, f"use {pool.prefix.prefixlen + 1} to {pool.prefix.max_prefixlen}")


def _lendable(network: Network) -> Iterator[Problem]:
    """Every server borrows one port set of each tag in ``borrow``, in its own PoP or abroad."""
    if not network.borrow or len(set(network.borrow)) < len(network.borrow):
        yield Problem(
            ("borrow",),
            "every server borrows at least one port set, and one of each tag",
            f"name each tag once, or leave it out: [{COMMON_TAG}]",
        )
    if not 1 <= network.borrow_up_to <= 8:
        yield Problem(
            ("borrow_up_to",),
            f"a server borrows 1 to 8 sets of a tag, not {network.borrow_up_to}",
            "leave it out: 1",
        )
    servers = sum(max(0, pop.servers) for pop in network.pops)
    for tag in dict.fromkeys(network.borrow):
        there = sum(x.prefix.num_addresses for x in network.pools if x.tag == tag)
        if not there:
            yield Problem(
                ("pools",),
                f"no pool is tagged {tag!r}, where every server borrows",
                "add one, or name another tag in borrow",
            )
        elif 1 <= network.port_set_bits <= 12 and there * network.sets_per_address < servers:
            yield Problem(
                ("pools",),
                f"the pools tagged {tag!r} have {there * network.sets_per_address} port sets, but"
                f" there are {servers} servers",
                "use a larger pool, or more port_set_bits",
            )


def _overlaps(
    at: tuple[str | int, ...], prefix: IPv4Network, taken: list[tuple[IPv4Network, str]]
) -> Iterator[Problem]:
    for other, use in taken:
        if prefix.overlaps(other):
            yield Problem(
                at,
                f"{written(prefix)} overlaps {other}: {use}",
                "use addresses that nothing else uses",
            )


def _numbers(network: Network) -> Iterator[Problem]:
    if not 0 <= network.convergence_ns <= MAX_LINGER_NS:
        yield Problem(
            ("convergence",),
            f"cities do not take {format_time(network.convergence_ns)} to follow a change",
            f"use up to {format_time(MAX_LINGER_NS)}; 0 is at once, 10 s what BGP takes",
        )
    if network.health_ns and not MIN_HEALTH_NS <= network.health_ns <= MAX_LINGER_NS:
        yield Problem(
            ("health",),
            f"servers cannot be asked every {format_time(network.health_ns)}",
            f"use {format_time(MIN_HEALTH_NS)} or more, or 0 for never",
        )
    if not 0 < network.linger_ns <= MAX_LINGER_NS:
        yield Problem(
            ("linger",),
            f"connections cannot be waited for so long: {format_time(network.linger_ns)}",
            f"use up to {format_time(MAX_LINGER_NS)}; 10 min is usual",
        )
    if not 1 <= network.port_set_bits <= 12:
        yield Problem(
            ("port_set_bits",),
            f"{network.port_set_bits} bits do not cut 65,536 ports into useful sets",
            "use 1 (two sets) to 12 (4,096 sets of 16 ports)",
        )
    if not 1 <= network.path_stretch <= MAX_STRETCH:
        yield Problem(
            ("path_stretch",),
            f"fibre cannot be {network.path_stretch:g} times as long as the straight way",
            f"use 1 to {MAX_STRETCH}; 1.5 is usual",
        )


def _bfd(network: Network) -> Iterator[Problem]:
    every = network.bfd_ns
    if every is not None and not (every % MS == 0 and MS <= every <= MAX_BFD_NS):
        yield Problem(
            ("bfd",),
            f"no switch speaks every {format_time(every)}",
            f"use whole milliseconds up to {format_time(MAX_BFD_NS)}, or leave it out for never",
        )
    elif every is not None and network.upstream is Upstream.BGP and every < MIN_ROUTERS_BFD_NS:
        yield Problem(
            ("bfd",),
            f"no router speaks every {format_time(every)}",
            f"use {format_time(MIN_ROUTERS_BFD_NS)} or more where the upstream is bgp",
        )


def _capacity(network: Network) -> Iterator[Problem]:
    """Numbers that must fit: datapath ids, addresses in a part, ports in an interface name."""
    cities, pops = len(network.cities), len(network.pops)
    for field, count in (("cities", cities), ("pops", pops)):
        if count > MAX_SWITCHES:
            yield Problem(
                (field,), f"{count} do not fit the datapath ids", f"use {MAX_SWITCHES} or fewer"
            )
    fabric = len(network.links) + pops + len(network.backbone)
    if fabric > MAX_FABRIC_LINKS:
        yield Problem(
            ("links",),
            f"{fabric} links, uplinks and backbone links do not fit the numbers in a label",
            f"use {MAX_FABRIC_LINKS} or fewer in all",
        )
    if max(cities, pops) > MAX_SWITCHES:
        return
    room = part(CITY_PARTS, 1, cities).num_addresses - NOT_HOSTS
    attached: Counter[str] = Counter()
    for at in (*network.clients, *network.origins):
        attached[at.city] += max(0, at.count)
    for i, city in enumerate(network.cities):
        if attached[city.code] > room:
            yield Problem(
                ("cities", i),
                f"{attached[city.code]} clients and origins do not fit"
                f" the {room} addresses of {city.code}",
                "put some in another city",
            )
    room = part(POP_PARTS, 1, pops).num_addresses - NOT_HOSTS
    for i, pop in enumerate(network.pops):
        if pop.servers > room:
            yield Problem(
                ("pops", i, "servers"),
                f"{pop.servers} servers do not fit the {room} addresses of the PoP",
                "use fewer servers, or fewer PoPs",
            )
    yield from _interfaces(network, attached)


def _interfaces(network: Network, attached: Counter[str]) -> Iterator[Problem]:
    transit, edge = attached.copy(), Counter({pop.city: pop.servers for pop in network.pops})
    for links, ports in ((network.links, transit), (network.backbone, edge)):
        for link in links:
            ports.update((link.a, link.b))
    for pop in network.pops:
        transit[pop.city] += 1
        edge[pop.city] += 2 if network.upstream is Upstream.BGP else 1  # uplink, speaker
    for i, city in enumerate(network.cities):
        count = max(transit[city.code], edge[city.code])
        name = f"t{city.code}-eth{count}"
        if _CODE.fullmatch(city.code) and len(name) > MAX_INTERFACE_NAME:
            yield Problem(
                ("cities", i, "code"),
                f"{city.code!r} is too long for a switch of {count} ports:"
                f" the interface name {name} has over {MAX_INTERFACE_NAME} characters",
                "use a shorter code",
            )
