"""Give a server's namespace the addresses that it borrowed, and the ports.

AnyIP (``topologies.emulation.anyip``) lets programs bind an address. The namespace's
``ip_local_port_range`` is the port set of a server's only lease, so an unmodified program that
binds the address with port 0 can only get ports of the lease. A server with several leases has a
wide range, and programs choose (``controller.agent.borrowed``), because a socket's own range counts
only within the namespace's (ip(7), IP_LOCAL_PORT_RANGE).
"""

from __future__ import annotations

import errno
from collections.abc import Collection
from pathlib import Path

from topologies.emulation import netns

__all__ = ["Ports", "choose", "set_ports", "usual_ports"]

# sysctls under /proc/sys/net are those of the thread that opens them.
PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")

Ports = tuple[int, int]
"""Lowest and highest."""

WIDE: Ports = (1024, 65535)
"""All that are no system ports."""


def usual_ports() -> Ports:
    """The ports that programs get who borrow nothing: those of this namespace.

    A server's own may be narrowed still, by an agent that was killed.
    """
    lowest, highest = PORT_RANGE.read_text().split()
    return int(lowest), int(highest)


def choose(leases: Collection[Ports], usual: Ports) -> Ports:
    """The range of a namespace with these leases."""
    if not leases:
        return usual
    if len(leases) > 1:
        return WIDE
    ((lowest, highest),) = leases
    return max(lowest, WIDE[0]), highest


def set_ports(server: str, ports: Ports) -> None:
    """Hand out only these ports. Raises OSError, ValueError."""
    lowest, highest = ports
    with netns.inside(server):
        try:
            PORT_RANGE.write_text(f"{lowest} {highest}")
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise ValueError(f"{lowest}-{highest} is no range of ports") from error
            raise
