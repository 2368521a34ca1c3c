"""Second chance: a server hands back what belongs to no connection of its own.

A switch marks the packets of a slot that changed hands (``controller.core.service``) by a bit in
their source MAC address. Of these, TCP that is no opening SYN and finds no socket but a listening
one goes back to the gateway as it came, where the switch knows who may have the connection. So does
UDP to ports whose services keep a connected socket for each flow, if it finds none; all else is
taken as usual. What another PoP has handed on (another bit) goes back to a gateway of its
own, so the switch can tell. The server's own sockets are the only connection table, so nothing is
forgotten when a switch or a controller restarts, and what is not marked costs one comparison.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable

from topologies.emulation import netns
from topologies.emulation.processes import LabError
from topologies.family import Family
from topologies.plan import (
    GATEWAY_ADDRESS,
    GATEWAY_ADDRESS6,
    HANDED_ON_ADDRESS,
    HANDED_ON_ADDRESS6,
    HANDED_ON_BIT,
    SECOND_CHANCE_BIT,
    HostPlan,
)

PROGRAM = "nft"

_TABLE = """
table {family} second_chance {{
    set flow_ports {{ type inet_service; {ports} }}
    chain arriving {{
        type filter hook prerouting priority raw;
        ether saddr & {marked} == 00:00:00:00:00:00 accept
        udp dport @flow_ports goto datagram
        meta l4proto != tcp accept
        tcp flags & (syn | ack) == syn accept
        socket wildcard 0 accept comment "a connection of this server"
        socket wildcard 1 goto hand_back
        socket transparent 0 accept comment "one that opens or closes"
        socket transparent 1 accept
        goto hand_back
    }}
    chain datagram {{
        socket wildcard 0 accept comment "a flow of this server"
        goto hand_back
    }}
    chain hand_back {{
        counter
        ether saddr & {handed_on} != 00:00:00:00:00:00 dup to {onward} device "eth0" drop
        dup to {gateway} device "eth0" drop
    }}
}}
"""

_COUNTED = re.compile(r"counter packets (\d+)")

_FAMILIES = {
    4: ("ip", GATEWAY_ADDRESS, HANDED_ON_ADDRESS),
    6: ("ip6", GATEWAY_ADDRESS6, HANDED_ON_ADDRESS6),
}


def is_possible() -> bool:
    """Whether this machine has the program that sets a kernel's packet filter."""
    return shutil.which(PROGRAM) is not None


def ruleset(family: Family, flow_ports: Iterable[int] = ()) -> str:
    """What the kernel does with marked packets of a family, in the words of nft(8).

    ``flow_ports`` are the UDP ports whose services keep a connected socket for each flow.
    """
    listed = ", ".join(map(str, flow_ports))
    ports = f"elements = {{ {listed} }}" if listed else ""
    name, gateway, onward = _FAMILIES[family]
    bits = {"marked": SECOND_CHANCE_BIT, "handed_on": HANDED_ON_BIT}
    return _TABLE.format(family=name, ports=ports, gateway=gateway, onward=onward, **bits)


def give(
    servers: Iterable[HostPlan], families: Iterable[Family], flow_ports: Iterable[int]
) -> None:
    """Have servers hand back what they do not know. Raises LabError."""
    text = "".join(ruleset(family, flow_ports) for family in families)
    for server in servers:
        _nft(server, "--file", "-", text=text)


def handed_back(servers: Iterable[HostPlan]) -> int:
    """Packets that servers have handed back so far, by their kernels' count. Raises LabError."""
    told = [_nft(server, "list", "ruleset") for server in servers]
    return sum(int(packets) for text in told for packets in _COUNTED.findall(text))


def _nft(server: HostPlan, *words: str, text: str = "") -> str:
    """What nft(8) prints in a server's namespace. Raises LabError."""
    with netns.inside(server.name):
        done = subprocess.run(
            [PROGRAM, *words], input=text, capture_output=True, text=True, check=False
        )
    if done.returncode:
        said = done.stderr.strip()
        raise LabError(f"The packet filter of {server.name} does not do as it is told: {said}")
    return done.stdout
