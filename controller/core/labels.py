"""The label: a destination MAC address that names where a packet goes, so switches forward on it.

Layout ``02:6T:TT:LL:LD:DD`` to a PoP, ``02:7T:TT:LL:LD:DD`` to a city, locally administered: TTT is
the number of the PoP or city to reach, LLL the number of the PoP where the packet landed first (0:
it has not landed yet), DDD the number of a link that the packet has found dead (0: none). PoPs,
cities and links are numbered from 1 (``SwitchPlan.number``, ``LinkPlan.number``). A MAC address and
not a VLAN or MPLS tag: the packet keeps its size, and every datapath matches it under any mask.
"""

from __future__ import annotations

from typing import NamedTuple

NUMBER_BITS = 12
NUMBER_MASK = (1 << NUMBER_BITS) - 1
"""PoPs, cities and links are numbered up to this."""

CITY = 1 << NUMBER_BITS
"""What is added to a city's number where a target is meant; a PoP's stands as it is."""

LANDING_SHIFT = NUMBER_BITS
TARGET_SHIFT = 2 * NUMBER_BITS
PREFIX = 0x026 << 3 * NUMBER_BITS
PREFIX_MASK = 0xFFE << 3 * NUMBER_BITS
TARGET_MASK = PREFIX_MASK | (CITY | NUMBER_MASK) << TARGET_SHIFT
"""The prefix and the target, whatever the landing and the dead link."""
LANDING_MASK = NUMBER_MASK << LANDING_SHIFT
DEAD_MASK = NUMBER_MASK

ANY = (PREFIX, PREFIX_MASK)
"""Value and mask that match every label."""


class Label(NamedTuple):
    """Where to go, the PoP where the packet landed, the link that it found dead (0: none)."""

    target: int
    landing: int = 0
    dead: int = 0


def encode(target: int, landing: int = 0, dead: int = 0) -> int:
    """The label as a MAC address. Raises ValueError for a number that does not fit 12 bits."""
    fits = all(0 <= number <= NUMBER_MASK for number in (target & ~CITY, landing, dead))
    if not fits or not target & NUMBER_MASK:
        raise ValueError(f"{target}, {landing}, {dead}: numbers in a label are 1 to {NUMBER_MASK}")
    return PREFIX | target << TARGET_SHIFT | landing << LANDING_SHIFT | dead


def decode(address: int) -> Label | None:
    """The label in a MAC address, None if it is not a label."""
    if address & PREFIX_MASK != PREFIX:
        return None
    target = (address & ~PREFIX_MASK) >> TARGET_SHIFT
    return Label(target, address >> LANDING_SHIFT & NUMBER_MASK, address & NUMBER_MASK)


def towards(target: int) -> tuple[int, int]:
    """Value and mask that match every label with this target."""
    return encode(target), TARGET_MASK


def around(target: int, dead: int) -> tuple[int, int]:
    """Value and mask that match every label with this target and dead link (0: with none)."""
    return encode(target, dead=dead), TARGET_MASK | DEAD_MASK


def landed(target: int, pops: int) -> tuple[tuple[int, int], ...]:
    """Values and masks that together match every label to ``target`` with a landing.

    "Not zero" is no match in OpenFlow, so there is one match per bit that a landing number
    can have when there are ``pops`` PoPs.
    """
    bits = (1 << LANDING_SHIFT + bit for bit in range(pops.bit_length()))
    return tuple((encode(target) | bit, TARGET_MASK | bit) for bit in bits)
