"""Flood a target: ``python -m experiments.measure.flooding ADDRESS PORT BIT_S SEED HOST ...``.

All hosts together send so many bits a second, each as much as any other, until SIGTERM. A process
of its own, so that whoever measures is not slowed.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from ipaddress import ip_address

from experiments.measure.barrage import barrage
from topologies.family import Address

__all__ = ["PAYLOAD", "flood", "rate_per_s"]

PAYLOAD = 1400
"""Bytes in a datagram: large ones, so that a link is full before the machine is busy."""

_HEADERS = {4: 14 + 20 + 8, 6: 14 + 40 + 8}
"""Ethernet, IP and UDP, bytes."""


def rate_per_s(bit_s: float, version: int) -> float:
    """Datagrams a second that make so many bits a second on a wire."""
    return bit_s / (8 * (PAYLOAD + _HEADERS[version]))


def flood(target: Address, port: int, bit_s: float, seed: int, hosts: Sequence[str]) -> None:
    """Never returns. Raises FileNotFoundError if a host does not exist."""
    each = rate_per_s(bit_s, target.version) / len(hosts)
    rates = dict.fromkeys(hosts, each)
    barrage(rates, target, seconds=math.inf, size=PAYLOAD, seed=seed, port=port)


if __name__ == "__main__":
    address, port, bit_s, seed, *hosts = sys.argv[1:]
    flood(ip_address(address), int(port), float(bit_s), int(seed), hosts)
