"""Switch rules as plain, comparable data: what the pipeline makes and the reconciler compares.

Field names are those of OpenFlow 1.3 OXM (``in_port``, ``eth_dst``, ``ipv4_src``, ``tcp_dst``
...). Values are unsigned integers, MAC and IP addresses included, so that equal rules are equal
objects and a mask is just another integer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

COOKIE_OWNER = 0x706F70 << 40
"""'pop' in the upper 24 bits marks every rule that is ours."""

COOKIE_OWNER_MASK = 0xFFFFFF << 40


class Table(IntEnum):
    """The stages of the pipeline, in order. Transit switches use ADMISSION and ROUTE only."""

    ADMISSION = 0
    SERVICE = 10
    BALANCE = 15
    BORROWED = 20
    ROUTE = 40

    __hash__ = int.__hash__  # an Enum's own is slow, and tables are part of every rule's key


class Duty(IntEnum):
    """What a rule is for: bits 32-39 of its cookie. Counters are reported by duty."""

    DEFAULT = 0
    ADMIT = 1  # a host's legitimate source
    ADMIT_LEASE = 2  # a server's borrowed (address, port set)
    SPOOF = 3  # a source nobody lent to this port: dropped
    PUNT = 4  # DHCP, handed to the controller
    ARP = 5
    SERVICE = 6  # pick a server
    STEER = 7  # first switch: label with a PoP
    LABEL = 8  # core: forward on the label
    RETURN = 9  # (address, port set) -> borrower
    HOME = 10  # address borrowed in another PoP: send it home
    UNLENT = 11  # reply to a port set that nobody holds: dropped
    ROUTE = 12
    FABRIC = 13  # from another switch: already admitted
    ICMP = 15  # the controller reads which port an ICMP message is about
    ABROAD = 14  # (address, port set) whose borrower is not where the address is at home
    DETOUR = 16  # round a dead link: the label carries its number
    BALANCE = 17  # a slot's server
    HEALTH = 19  # the controller sees whether a server answers
    BGP = 20  # between a PoP's speaker and its city's router
    HANDED_ON = 18  # what a server does not know goes to who may
    EXCEEDED = 21  # where a packet's hops have run out, the controller tells its sender


def cookie(duty: Duty, number: int = 0) -> int:
    """A cookie of ours: owner, duty, and a number (a port, an address...) in the low 32 bits."""
    return COOKIE_OWNER | duty << 32 | (number & 0xFFFFFFFF)


def duty_of(value: int) -> Duty | None:
    """The duty in a cookie, None if the rule is not ours."""
    if value & COOKIE_OWNER_MASK != COOKIE_OWNER:
        return None
    return Duty(value >> 32 & 0xFF)


def mac(text: str) -> int:
    """A MAC address as the number that matches and actions hold: ``mac("02:00:00:00:00:01")``."""
    return int(text.replace(":", ""), 16)


FROM_CONTROLLER = 0xFFFFFFFD
"""The port by which comes what the controller sends through a switch's tables (OFPP_CONTROLLER)."""

FIELD_BITS: Mapping[str, int] = {
    "in_port": 32,
    "reg0": 32,
    "eth_dst": 48,
    "eth_src": 48,
    "eth_type": 16,
    "vlan_vid": 13,
    "ip_proto": 8,
    "ipv4_src": 32,
    "ipv4_dst": 32,
    "ipv6_src": 128,
    "ipv6_dst": 128,
    "tcp_src": 16,
    "tcp_dst": 16,
    "udp_src": 16,
    "udp_dst": 16,
    "icmpv4_type": 8,
    "icmpv4_code": 8,
    "icmpv6_type": 8,
    "arp_op": 16,
    "arp_spa": 32,
    "arp_tpa": 32,
    "arp_sha": 48,
    "arp_tha": 48,
}
"""The fields that we use and their widths in bits."""


class FieldMatch(NamedTuple):
    """One field's value under a mask (all ones when exact); a tuple, as it is hashed so often."""

    field: str
    value: int
    mask: int


Match = tuple[FieldMatch, ...]
"""Sorted by field name; empty matches everything."""

RuleKey = tuple[Table, int, Match]
"""What makes two rules the same entry in a switch: table, priority, match."""


def match(**fields: int | tuple[int, int]) -> Match:
    """Build a canonical match: ``match(eth_type=0x800, tcp_dst=(0x0800, 0xF800))``.

    A zero mask matches everything, so the field is left out. Raises KeyError for a field that
    we do not know and ValueError for value bits outside the mask or the field.
    """
    parts = []
    for name, given in fields.items():
        full = (1 << FIELD_BITS[name]) - 1
        value, mask = given if isinstance(given, tuple) else (given, full)
        if value & ~mask or mask & ~full:
            raise ValueError(f"{name}: value {value:#x} does not fit mask {mask:#x}")
        if mask:
            parts.append(FieldMatch(name, value, mask))
    return tuple(sorted(parts))


@dataclass(frozen=True, slots=True)
class Output:
    """Send out of a port."""

    port: int


@dataclass(frozen=True, slots=True)
class OutputInPort:
    """Send back out of the port it came in by."""


@dataclass(frozen=True, slots=True)
class ToController:
    """Hand the whole packet to the controller."""


@dataclass(frozen=True, slots=True)
class SetField:
    """Rewrite a field."""

    field: str
    value: int


@dataclass(frozen=True, slots=True)
class SetBits:
    """Rewrite those bits of a field that ``mask`` has, a run of ones (Nicira register load)."""

    field: str
    value: int
    mask: int


@dataclass(frozen=True, slots=True)
class Copy:
    """Copy one whole field into another of equal width (Nicira register move)."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class CountHop:
    """Take one from an IP packet's TTL or hop limit.

    Where none would be left the controller gets the packet, and nothing more is done with it.
    """


@dataclass(frozen=True, slots=True)
class Hash:
    """Hash addresses and ports into register 0, as a slot: a number below ``slots``.

    Nicira's multipath action, modulo; the hash is symmetric and looks at no MAC address.
    """

    slots: int


@dataclass(frozen=True, slots=True)
class ToGroup:
    """Hand over to a group."""

    group_id: int


Action = (
    Output | OutputInPort | ToController | SetField | SetBits | Copy | CountHop | Hash | ToGroup
)


class Rule(NamedTuple):
    """One flow entry. No actions and no ``goto`` means drop. Key: (table, priority, match)."""

    table: Table
    priority: int
    match: Match
    actions: tuple[Action, ...] = ()
    goto: Table | None = None
    cookie: int = COOKIE_OWNER

    @property
    def key(self) -> RuleKey:
        """What makes two rules the same entry in a switch."""
        return (self.table, self.priority, self.match)


@dataclass(frozen=True, slots=True)
class Bucket:
    """One choice of a group. ``watch_port`` makes a fast-failover bucket live or dead."""

    actions: tuple[Action, ...]
    weight: int = 1
    watch_port: int | None = None


class GroupKind(IntEnum):
    """OpenFlow group types."""

    SELECT = 1
    FAST_FAILOVER = 3


@dataclass(frozen=True, slots=True)
class Group:
    """A group entry. Key: ``group_id``."""

    group_id: int
    kind: GroupKind
    buckets: tuple[Bucket, ...]


Entry = Rule | Group


@dataclass(frozen=True, slots=True)
class Program:
    """All that one switch should hold."""

    rules: frozenset[Rule]
    groups: frozenset[Group] = frozenset()

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Program:
        """The program of these rules and groups, which may come more than once."""
        found = frozenset(entries)
        groups = frozenset(entry for entry in found if isinstance(entry, Group))
        return cls(frozenset(entry for entry in found if isinstance(entry, Rule)), groups)
