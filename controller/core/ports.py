"""The free ports of one address: aligned blocks that are split and grow together again.

A buddy allocator (Knowlton, CACM 8(10), 1965) whose whole state is one integer: bit n says that the
n-th unit of 16 ports is free. Which blocks there are is worked out from it, so nothing can fall
out of step, and returned neighbours are one block again by themselves.

A block of *order* j is 2^j units, aligned: with k PSID bits the order is 12 - k.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from topologies.model import SYSTEM_PORTS

LEAST_BITS: Final = 0
"""PSID bits of the largest set: all ports of an address."""
MOST_BITS: Final = 12
"""PSID bits of the smallest set: 16 ports."""
UNIT: Final = 16
"""Ports in a unit."""
WHOLE_ORDER: Final = MOST_BITS

_UNITS: Final = 65536 // UNIT
WHOLE: Final = (1 << _UNITS) - 1
"""All units of an address."""
UNTOUCHED: Final = WHOLE & ~((1 << SYSTEM_PORTS // UNIT) - 1)
"""What can be lent of an address in parts: system ports go with a whole address only."""

_ALIGNED: Final = tuple(
    sum(1 << at for at in range(0, _UNITS, 1 << order)) for order in range(WHOLE_ORDER + 1)
)


def order_of(psid_bits: int) -> int:
    """The order of a set with so many PSID bits."""
    return MOST_BITS - psid_bits


@lru_cache(maxsize=1 << MOST_BITS)
def block(first_port: int, order: int) -> int:
    """The units of a block, as a mask."""
    return ((1 << (1 << order)) - 1) << first_port // UNIT


@lru_cache(maxsize=1024)  # a change asks it of an address thrice: what to take, before, after
def blocks(free: int) -> tuple[int, ...]:
    """By order: where free blocks begin that are in no larger free block, as masks of units."""
    found, here = [], free
    for order in range(WHOLE_ORDER + 1):
        size = 1 << order
        larger = here & (here >> size) & _ALIGNED[order + 1] if order < WHOLE_ORDER else 0
        found.append(here & ~(larger | larger << size))
        here = larger
    return tuple(found)


@lru_cache(maxsize=1024)
def count(free: int, order: int) -> int:
    """How many blocks of an order can be taken out of what is free."""
    found = blocks(free)
    return sum(found[at].bit_count() << at - order for at in range(order, WHOLE_ORDER + 1))


def best_fit(free: int, order: int) -> int | None:
    """The first port of a block for this order: out of the smallest that is large enough, lowest.

    None if there is none. Splitting the smallest keeps large blocks whole.
    """
    if order == WHOLE_ORDER:
        return 0 if free == UNTOUCHED else None
    for starts in blocks(free)[order:]:
        if starts:
            return lowest(starts) * UNIT
    return None


@lru_cache(maxsize=1024)
def profile(free: int) -> int:
    """Which orders have a free block of just that order, as a mask of orders."""
    return sum(1 << order for order, starts in enumerate(blocks(free)) if starts)


def lowest(mask: int) -> int:
    """The number of the lowest bit that is set in a mask that is not 0."""
    return (mask & -mask).bit_length() - 1
