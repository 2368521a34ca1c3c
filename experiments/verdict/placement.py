"""Which server of which PoP a flow goes to, worked out from the world and the packet alone.

The PoP is the first of its city's ranking; there the flow's hash names a slot, and the spread the
slot's server. Only the hash is another's: Open vSwitch's, as its packages for x86 and Arm without
CRC instructions compute it. What a run observes tells whether that is so.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from controller.core.balancing import Slots, size, spread
from controller.core.steering import rank
from controller.core.world import World
from topologies.family import Address

_WORD = 0xFFFFFFFF
_TCP = 6


@dataclass(frozen=True, slots=True)
class Flow:
    """A TCP connection: from whom, to whom, in either direction."""

    source: Address
    destination: Address
    source_port: int
    destination_port: int = 80


@functools.lru_cache(maxsize=1 << 14)
def slot(flow: Flow, slots: int) -> int:
    """The slot of a flow among so many: Nicira's ``multipath(symmetric_l3l4+udp, 0, modulo_n)``.

    After ``flow_hash_symmetric_l3l4`` (lib/flow.c) and ``mhash`` (lib/hash.h) of Open vSwitch 3.1,
    on a little-endian machine.
    """
    return _finished(functools.reduce(_added, _words(flow), 0)) % slots


def _words(flow: Flow) -> Iterator[int]:
    """What is hashed: addresses, protocol, ports; both directions give the same."""
    ends = (flow.source.packed, flow.destination.packed)
    both = bytes(a ^ b for a, b in zip(*ends, strict=True))
    yield from struct.unpack(f"<{len(both) // 4}I", both)
    yield _TCP
    (ports,) = struct.unpack("<H", struct.pack(">H", flow.source_port ^ flow.destination_port))
    yield ports


def _added(state: int, word: int) -> int:
    """MurmurHash3's step (A. Appleby)."""
    word = _rotated(word * 0xCC9E2D51 & _WORD, 15) * 0x1B873593 & _WORD
    return _rotated(state ^ word, 13) * 5 + 0xE6546B64 & _WORD


def _finished(state: int) -> int:
    state = (state ^ state >> 16) * 0x85EBCA6B & _WORD
    state = (state ^ state >> 13) * 0xC2B2AE35 & _WORD
    return state ^ state >> 16


def _rotated(word: int, bits: int) -> int:
    return (word << bits | word >> 32 - bits) & _WORD


class Placement:
    """Where flows go in one world."""

    def __init__(self, world: World) -> None:
        """Rank the PoPs; the rest is worked out when it is asked for."""
        self._world = world
        self._ranking = rank(world)
        self._slots = functools.cache(self._slots_of)

    def pop(self, city: str) -> str:
        """The PoP that serves a city; empty if none does."""
        return next(iter(self._ranking[city]), "")

    def server(self, city: str, flow: Flow) -> str | None:
        """The server that gets a flow from a city; None if none does, or the switch chooses."""
        pop = self.pop(city)
        owners = self._slots(pop) if pop else ()
        return owners[slot(flow, len(owners))] if owners else None

    def _slots_of(self, pop: str) -> Slots:
        return spread(self._world.spread(pop), size(len(self._world.plan.servers_of(pop))))
