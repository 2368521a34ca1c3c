"""The label: a destination MAC address that names a PoP, so the core can forward on it.

Layout ``02:70:TT:TT:LL:LL``, locally administered: TT is the number of the PoP that the packet
shall reach, LL the number of the PoP where it landed first (0: it has not landed yet). PoPs are
numbered from 1 (``SwitchPlan.number`` of the edge). A MAC address and not a VLAN or MPLS tag: the
packet keeps its size, and every datapath matches it under any mask.
"""

from __future__ import annotations

from typing import NamedTuple

PREFIX = 0x0270 << 32
PREFIX_MASK = 0xFFFF << 32
TARGET_SHIFT = 16
NUMBER_MASK = 0xFFFF
TARGET_MASK = PREFIX_MASK | NUMBER_MASK << TARGET_SHIFT
"""The prefix and the target, whatever the landing."""

ANY = (PREFIX, PREFIX_MASK)
"""Value and mask that match every label."""


class Label(NamedTuple):
    """A PoP to reach, and the PoP where the packet landed (0: none yet)."""

    target: int
    landing: int = 0


def encode(target: int, landing: int = 0) -> int:
    """The label as a MAC address. Raises ValueError for a number that does not fit 16 bits."""
    if not 1 <= target <= NUMBER_MASK or not 0 <= landing <= NUMBER_MASK:
        raise ValueError(f"target {target}, landing {landing}: PoPs are numbered 1 to 65535")
    return PREFIX | target << TARGET_SHIFT | landing


def decode(address: int) -> Label | None:
    """The label in a MAC address, None if it is not a label."""
    if address & PREFIX_MASK != PREFIX:
        return None
    return Label(address >> TARGET_SHIFT & NUMBER_MASK, address & NUMBER_MASK)


def towards(target: int) -> tuple[int, int]:
    """Value and mask that match every label with this target."""
    return encode(target), TARGET_MASK


def landed(target: int, pops: int) -> tuple[tuple[int, int], ...]:
    """Values and masks that together match every label to ``target`` with a landing.

    "Not zero" is no match in OpenFlow, so there is one match per bit that a landing number
    can have when there are ``pops`` PoPs.
    """
    value = encode(target)
    return tuple((value | 1 << bit, TARGET_MASK | 1 << bit) for bit in range(pops.bit_length()))
