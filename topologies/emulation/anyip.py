"""AnyIP: a host takes an address as its own although no interface carries it.

So it answers from it and its programs may bind it (``ip route add local ADDRESS dev lo``).
"""

from __future__ import annotations

from dataclasses import replace

from topologies.emulation import netns, rtnetlink
from topologies.family import Address

__all__ = ["accept", "refuse"]


def accept(host: str, address: Address) -> bool:
    """Take an address from now on; False if the host did so already. Raises OSError."""
    request = replace(rtnetlink.local_route(address), flags=rtnetlink.CREATE_NEW)
    with netns.inside(host), rtnetlink.Netlink() as kernel:
        try:
            kernel.send([request])
        except FileExistsError:
            return False
    return True


def refuse(host: str, address: Address) -> bool:
    """Stop taking an address; False if the host did not take it. Raises OSError."""
    with netns.inside(host), rtnetlink.Netlink() as kernel:
        try:
            kernel.send([rtnetlink.no_local_route(address)])
        except ProcessLookupError:  # ESRCH: no such route
            return False
    return True
