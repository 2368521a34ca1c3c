"""Which of a server's borrowed ports are in use: what its kernel says."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping
from ipaddress import IPv4Address

from controller.agent.client import Held
from controller.agent.usage import Place, Towards
from topologies.emulation import netns
from topologies.emulation.sockdiag import TCP, UDP, Flow, SocketDiag
from topologies.plan import HostPlan

__all__ = ["PortsInUse", "busiest"]

LOG = logging.getLogger("agent")


class PortsInUse:
    """The sockets of one server. Raises OSError outside of a lab."""

    def __init__(self, host: HostPlan) -> None:
        self._host = host
        self._shown = {TCP: "tcp", UDP: "udp"}
        with netns.inside(host.name):
            self._diag = SocketDiag()

    def look(self, leases: Collection[Held]) -> tuple[Counter[Towards], Counter[Place]]:
        """Ports that are in use towards each destination, and that are held. Raises OSError."""
        held: Counter[Place] = Counter()
        for lease in leases:
            held[Place(self._host.city, lease.address)] += lease.size
        used: Counter[Towards] = Counter()
        for protocol, name in tuple(self._shown.items()) if held else ():
            for (source, target, port), many in self._count(protocol).items():
                place = Place(self._host.city, source)
                if place in held:
                    origin = f"{target}:{port}" if protocol == TCP else "any"
                    used[Towards(place, origin, name)] += many
        return used, held

    def is_idle(self, lease: Held) -> bool:
        """Whether nothing uses a lease's ports. Raises OSError."""
        first, last = lease.range
        return not any(
            address == lease.address and first <= port <= last
            for protocol in self._shown
            for address, port in self._diag.sources(protocol)
        )

    def _count(self, protocol: int) -> Counter[Flow]:
        """The kernel's sockets; none, said once, of a protocol that it does not show."""
        try:
            return self._diag.count(protocol)
        except FileNotFoundError as error:
            LOG.warning("%s: %s not counted: %s", self._host.name, self._shown.pop(protocol), error)
            return Counter()


def busiest(used: Mapping[Towards, int], addresses: Collection[IPv4Address]) -> int:
    """The most ports of these addresses that are in use towards one destination."""
    totals: Counter[tuple[str, str]] = Counter()
    for towards, many in used.items():
        if towards.place.address in addresses:
            totals[towards.origin, towards.protocol] += many
    return max(totals.values(), default=0)
