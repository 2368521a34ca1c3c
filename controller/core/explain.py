"""The pipeline in words: a page of flow tables, made from the rules themselves.

Rules that differ only in numbers (which port, which host, which PoP) are one line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Address
from typing import assert_never

from controller.core import labels
from controller.core.events import CityMoved, WeightSet
from controller.core.groups import Repair, kind_of
from controller.core.lending import Book
from controller.core.matching import ARP, GATEWAY, ICMP, ICMP6, IPV4, IPV6, MULTICAST, TCP, UDP
from controller.core.pipeline import programs
from controller.core.rules import (
    FIELD_BITS,
    FROM_CONTROLLER,
    Action,
    Copy,
    CountHop,
    Duty,
    FieldMatch,
    Hash,
    Output,
    OutputInPort,
    Program,
    Rule,
    SetBits,
    SetField,
    Table,
    ToController,
    ToGroup,
    duty_of,
    mac,
)
from controller.core.service import HANDED_BACK, HANDED_ON, SECOND_CHANCE
from controller.core.world import World
from topologies.model import Network, Policy, Upstream
from topologies.plan import HANDED_ON_MAC, HostRole, Plan, SwitchRole, plan

TABLES: Mapping[Table, str] = {
    Table.ADMISSION: "Who sent it? What is not a host's own is dropped at its port.",
    Table.SERVICE: "To a service address: find its slot. All else: on to the leases.",
    Table.BALANCE: "A server for every slot; what a server hands back, to the one before it.",
    Table.BORROWED: "To a lendable address: to the borrower, to the address's home, or nowhere.",
    Table.ROUTE: "On towards its destination.",
}
"""What each table is for."""

ROUTED = (
    "There are no transit switches then, and the uplink ends at a router, whose frames are all for"
    " the PoP's BGP speaker. This comes on top, and no label comes by the uplink."
)

DUTIES: Mapping[Duty, str] = {
    Duty.DEFAULT: "nothing else matched",
    Duty.ADMIT: "a host's legitimate source",
    Duty.ADMIT_LEASE: "a server's borrowed (address, port set)",
    Duty.SPOOF: "a source that nobody lent to this port: dropped and counted",
    Duty.PUNT: "DHCP: the controller lends in band, the port is the identity",
    Duty.ARP: "answer for the gateway",
    Duty.SERVICE: "hash to a slot; with no server, drop",
    Duty.BALANCE: "the server that has the slot",
    Duty.HEALTH: "whether a server answers, the controller sees",
    Duty.HANDED_ON: "a server knows no such connection: to the server, or the PoP, before it",
    Duty.STEER: "first switch: label with this city's PoP",
    Duty.LABEL: "forward on the label",
    Duty.RETURN: "(address, port set) to its borrower",
    Duty.HOME: "address at home in another PoP: label it home, with where it landed",
    Duty.UNLENT: "nobody holds this port set: dropped and counted",
    Duty.ROUTE: "forward on the prefix",
    Duty.ICMP: "the controller reads in an ICMP message which port it is about",
    Duty.ABROAD: "(address, port set) whose borrower is not at its address's home: label it there",
    Duty.DETOUR: "round a dead link, by the label that carries its number",
    Duty.BGP: "between a PoP's speaker and its city's router",
    Duty.EXCEEDED: "hops have run out here: what the controller tells the sender",
    Duty.FABRIC: "from another switch, where it was admitted",
}
"""What each duty is for; counters are reported under these names in lower case."""

NOTES = (
    "`exactly` copies a field onto itself. No packet changes, but a switch caches what it decides "
    "for the whole value, so that no two cached decisions overlap where leases come and go: see "
    "[decision 008](decisions/008-cached-decisions-do-not-overlap.md).",
    "A label is a destination MAC address, `02:6T:TT:LL:LD:DD`: TTT is the number of the PoP to "
    "reach, LLL the number of the PoP where the packet landed, 0 before it has, DDD the number of "
    "a link that it has found dead, 0 for none. To a city it is `02:7T:TT:LL:LD:DD`. Hosts cannot "
    "send one: ADMISSION asks for the gateway's MAC address.",
    "A label never loops: routes are shortest paths towards the target, and transit switches go "
    "down to no PoP but the target while there is another way. A landed packet that finds no "
    "borrower is dropped, not sent on. A packet that lands by the uplink and goes home by the "
    "uplink turns around: a switch sends nothing out of the port it came in by unless it forgets "
    "which that was.",
    "A failover group does the first of two things whose port is live, so a dead link is gone "
    "round before the controller knows of it: see "
    "[decision 010](decisions/010-a-packet-carries-the-link-it-found-dead.md). What carries a dead "
    "link is sent on by plain outputs, never by a group.",
    "Fragments after the first have no ports; the switch shows them as port 0, which is in the "
    "port set that is never lent. They are dropped and counted, at the borrower's port as spoof, "
    "towards it as unlent.",
    "ICMP has no ports either. Errors about what a borrower sent, echoes that it sends and their "
    "replies are handed to the controller, which reads the quoted port, or the identifier, and "
    "sends them on to the holder of that port, from the switch where they were. Other ICMP to a "
    "borrowed address is dropped and counted as unlent, from one as spoof. To and from service "
    "addresses ICMP passes like TCP and UDP, but that an error goes to every server of the PoP: "
    "the kernel whose socket it is about takes it.",
    "Every switch that admits a packet counts a hop of it (TTL, hop limit). Where none is left the "
    "controller gets it instead and answers for the switch, by the last address of its prefix "
    "(time exceeded), so traceroute sees each switch as a router. What a server hands back, and "
    "BGP, is not counted.",
    "A server answers the service addresses and its own borrowed addresses inside itself (AnyIP), "
    "so such packets never reach the switch. That also means that it cannot reach a neighbour "
    "which holds another port set of the same address.",
)
"""What the tables alone do not say."""

_NAMES: Mapping[str, Mapping[int, str]] = {
    "eth_type": {IPV4: "IPv4", IPV6: "IPv6", ARP: "ARP"},
    "ip_proto": {ICMP: "ICMP", TCP: "TCP", UDP: "UDP", ICMP6: "ICMPv6"},
    "icmpv4_type": {0: "echo reply", 3: "unreachable", 8: "echo", 11: "time exceeded"}
    | {12: "bad header"},
    "icmpv6_type": {1: "unreachable", 2: "too big", 3: "time exceeded", 4: "bad header"},
}
_OBVIOUS = frozenset({"udp_src", "udp_dst", "arp_op"})
"""Exact values of these fields are shown as they are."""


_REPAIRS: Mapping[Repair, str] = {
    Repair.DETOUR: "detour",
    Repair.STAND_IN: "stand-in",
    Repair.PREFIX: "prefix",
    Repair.EGRESS: "egress",
}


def pipeline_table(network: Network) -> str:
    """The flow tables of a network in which every server holds a lease, as Markdown."""
    p = plan(network)
    found = programs(_world(p))
    routed = plan(replace(network, upstream=Upstream.BGP, steering=Policy.BGP))
    lines = [
        "# Flow tables",
        "",
        "Made from the rules themselves (`controller/core/explain.py`); a test keeps it current.",
        "Rules that differ only in numbers are one line. Higher priorities are looked at first.",
    ]
    for role in SwitchRole:
        programs_of = [found[s.name] for s in p.switches if s.role is role]
        for table in Table:
            rows = list(_rows(programs_of, table))
            if rows:
                lines += ["", f"## {role.value.capitalize()} switch, table {table.value}:"]
                lines[-1] += f" {table.name.lower()}"
                lines += ["", TABLES[table], "", *_header(), *rows]
        lines += ["", f"## {role.value.capitalize()} switch: failover groups", ""]
        lines += ["| group | while its port is live | else |", "|---|---|---|"]
        lines += _group_rows(programs_of)
    usual = set(_rows(found.values(), Table.ADMISSION))
    more = [x for x in _rows(programs(_world(routed)).values(), Table.ADMISSION) if x not in usual]
    lines += ["", "## Edge switch where the upstream is BGP, table 0: admission", "", ROUTED, ""]
    lines += [*_header(), *more]
    lines += ["", "## Duties", "", "| duty | what for |", "|---|---|"]
    lines += [f"| {duty.name.lower()} | {text} |" for duty, text in DUTIES.items()]
    lines += ["", "## Notes", "", *(f"- {note}" for note in NOTES)]
    return "\n".join(lines) + "\n"


def _world(p: Plan) -> World:
    book = Book(p.network.pools, p.network.port_set_bits)
    for server in p.hosts_of(HostRole.SERVER):
        book.apply(book.acquire(server.name, server.city, 0, p.network.pools[0].tag))
    one, *_, other = p.hosts_of(HostRole.SERVER)
    abroad = book.acquire(one.name, one.city, 0, p.network.pools[0].tag, client_id="abroad")
    book.apply(abroad)
    book.apply(book.move(*abroad.after.key, other.name, other.city, 0))
    # A server's share and a city's PoP have changed.
    changed = (WeightSet(one.name, 2), CityMoved(p.transits[0].city, other.city))
    return World.lent(p, book.entries()).after(*changed)


def _header() -> list[str]:
    return ["| priority | duty | match | actions | then |", "|---|---|---|---|---|"]


def _rows(programs_of: Iterable[Program], table: Table) -> Iterator[str]:
    """One line for each kind of rule in a table."""
    rules = {r for program in programs_of for r in program.rules if r.table is table}
    rows = {(-rule.priority, *_describe(rule)) for rule in rules}
    for priority, duty, match, actions, then in sorted(rows):
        yield f"| {-priority} | {duty} | {match} | {actions} | {then} |"


def _group_rows(programs_of: Iterable[Program]) -> list[str]:
    """One line for each kind of failover group, in the order of their numbers."""
    groups = {group for program in programs_of for group in program.groups}
    rows = {
        (kind, " | ".join(", ".join(map(_action, bucket.actions)) for bucket in group.buckets))
        for group in groups
        if (kind := kind_of(group.group_id)) is not None
    }
    return [f"| {_REPAIRS[kind]} | {buckets} |" for kind, buckets in sorted(rows)]


def _describe(rule: Rule) -> tuple[str, str, str, str]:
    duty = duty_of(rule.cookie)
    assert duty is not None
    fields = sorted(rule.match, key=_reading_order)
    match = ", ".join(_field(m, rule.table) for m in fields) or "anything"
    actions = ", ".join(dict.fromkeys(map(_action, rule.actions)))
    dead_end = "drop" if all(isinstance(action, Copy) for action in rule.actions) else ""
    then = dead_end if rule.goto is None else rule.goto.name.lower()
    return duty.name.lower(), match, actions, then


def _reading_order(m: FieldMatch) -> int:
    """As the fields stand in the packet."""
    return list(FIELD_BITS).index(m.field)


def _field(m: FieldMatch, table: Table) -> str:
    """A field's name, and its value where that is the same in every network."""
    exact = m.mask == (1 << FIELD_BITS[m.field]) - 1
    if m.field in _NAMES:
        return _NAMES[m.field][m.value]
    if (m.field, m.value) == ("in_port", FROM_CONTROLLER):
        return "from the controller"
    if m.field == "eth_src" and not exact:
        return f"`eth_src` {_marks(m.value, m.mask)}"
    if m.field == "eth_dst":
        return f"`eth_dst` = {_mac(m.value, m.mask, 'this ' * (table is Table.ADMISSION))}"
    if m.field in _OBVIOUS and exact:
        return f"`{m.field}` = {m.value}"
    if (m.field, m.value) == ("ipv6_dst", int(MULTICAST.network_address)):
        return "any group"
    if m.field == "vlan_vid":
        return "any VLAN tag"
    if m.field == "arp_tpa":
        return f"`arp_tpa` = {IPv4Address(m.value)}"
    return f"`{m.field}`" if exact else f"`{m.field}`/mask"


def _mac(value: int, mask: int | None = None, which: str = "") -> str:
    """A MAC address that is set, or under a mask one that is matched."""
    if value == GATEWAY:
        return "gateway"
    if value == mac(HANDED_ON_MAC):
        return "gateway of what was handed on"
    label = labels.decode(value)
    if label is None:
        return "host"
    if mask == labels.PREFIX_MASK:
        return "any label"
    if mask is None and label.landing:
        which = "its "
    parts = [f"{which}city" if label.target & labels.CITY else f"{which}PoP"]
    if not label.target & labels.CITY:
        parts.append(_landing(label, mask))
    if label.dead:
        parts.append("a dead link")
    elif mask is not None and mask & labels.DEAD_MASK:
        parts.append("no dead link")
    return f"label({', '.join(parts)})"


def _landing(label: labels.Label, mask: int | None) -> str:
    seen = labels.LANDING_MASK if mask is None else mask & labels.LANDING_MASK
    if seen == labels.LANDING_MASK:
        return "landing here" if label.landing else "not landed"
    return "landed" if seen else "any landing"


def _marks(value: int, mask: int) -> str:
    """The bits that a source MAC address is given, or matched by, in words."""
    bits = (
        ("handed back", HANDED_BACK),
        ("second chance", SECOND_CHANCE),
        ("handed on", HANDED_ON),
    )
    said = [("" if value & bit else "not ") + name for name, bit in bits if mask & bit]
    return ", ".join(said)


def _action(action: Action) -> str:
    match action:
        case SetField("eth_dst" | "eth_src" | "arp_sha" as field, value):
            return f"`{field}` := {_mac(value)}"
        case SetField("arp_spa" as field, value):
            return f"`{field}` := {IPv4Address(value)}"
        case SetField(field, value):
            return f"`{field}` := {value}"
        case SetBits("in_port"):
            return "forget `in_port`"
        case SetBits("eth_src", value, mask):
            return f"mark `eth_src`: {_marks(value, mask)}"
        case SetBits(field):
            return f"`{field}` := the same label with this dead link"
        case CountHop():
            return "count a hop"
        case Copy(source, target) if source == target:
            return f"exactly `{source}`"
        case Copy(source, target):
            return f"`{target}` := `{source}`"
        case Output():
            return "output"
        case OutputInPort():
            return "output to the port it came in by"
        case ToController():
            return "to the controller"
        case Hash():
            return "hash addresses and ports to a slot"
        case ToGroup(group_id):
            kind = kind_of(group_id)
            return f"{_REPAIRS[kind]} group" if kind else "select group: a server by weight"
        case _:
            assert_never(action)
