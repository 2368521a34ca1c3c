"""Give a server's namespace the address that it borrowed, and take it away again.

AnyIP (``topologies.emulation.anyip``) lets programs bind the address; the namespace's
``ip_local_port_range`` becomes the port set, so an unmodified program that binds the address with
port 0 can only get ports of the lease.
"""

from __future__ import annotations

import errno
from ipaddress import IPv4Address
from pathlib import Path

from topologies.emulation import anyip, netns

__all__ = ["claim", "unclaim", "usual_ports"]

# sysctls under /proc/sys/net are those of the thread that opens them.
PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def usual_ports() -> tuple[int, int]:
    """The ports that programs get who borrow nothing, lowest and highest: those of this namespace.

    A server's own may be narrowed still, by an agent that was killed.
    """
    lowest, highest = PORT_RANGE.read_text().split()
    return int(lowest), int(highest)


def claim(server: str, address: IPv4Address, ports: tuple[int, int]) -> None:
    """Accept ``address`` and hand out only ``ports`` (lowest, highest). Raises OSError."""
    anyip.accept(server, address)
    with netns.inside(server):
        _set_ports(ports)


def unclaim(server: str, address: IPv4Address, ports: tuple[int, int]) -> None:
    """Stop accepting ``address``, hand out ``ports`` again. An address not there is no error."""
    anyip.refuse(server, address)
    with netns.inside(server):
        _set_ports(ports)


def _set_ports(ports: tuple[int, int]) -> None:
    lowest, highest = ports
    try:
        PORT_RANGE.write_text(f"{lowest} {highest}")
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise ValueError(f"{lowest}-{highest} is no range of ports") from error
        raise
