"""Which service address a name has, asked query by query: pure, and equal for equal seeds.

Any server serves any name on any service address, so a name may have another one in every answer
(Fayed et al., "The Ties that un-Bind", SIGCOMM 2021).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address

from topologies.hashing import hashed
from topologies.model import Names

Binding = Callable[[str], IPv4Address]
"""The address for a name, which is in lower case."""


def binding(how: Names, addresses: Sequence[IPv4Address], seed: str) -> Binding:
    """A binding of names to ``addresses``, of which there is at least one.

    Only ``Names.RANDOM`` looks at ``seed``; its answers depend on how often it was asked before.
    """
    match how:
        case Names.RANDOM:
            chance = random.Random(seed)
            return lambda _name: chance.choice(addresses)
        case Names.STATIC:
            return lambda name: addresses[hashed(name) % len(addresses)]
        case Names.ONE:
            return lambda _name: addresses[0]
