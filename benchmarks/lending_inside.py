"""A lab whose servers all borrow at once, by raw DHCP, and what came of it, as JSON.

``python -m benchmarks.lending_inside RATE SECONDS``: an open loop, every exchange by a client
identifier of its own.
"""

from __future__ import annotations

import json
import select
import socket
import statistics
import sys
import time
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network
from pathlib import Path

from controller.agent import borrowed
from controller.agent.server import client_socket
from controller.dhcp import Kind, Message, Option, PortParameters, build, client_identifier, parse
from controller.frames import octets
from experiments.runs.testbed import Testbed
from topologies.emulation import netns
from topologies.model import Pool
from topologies.plan import HostPlan, HostRole
from topologies.sources import load

FOLDER = Path("/run/bench")
SERVERS = 67
"""In each of three PoPs: a server sends ten messages a second at most."""
TRIES = 20
NETWORK = load("triangle")
NETWORK = replace(
    NETWORK,
    pops=tuple(replace(pop, servers=SERVERS) for pop in NETWORK.pops),
    pools=(Pool(IPv4Network("10.128.0.0/16")),),
)
SMALL = 12
"""PSID bits: sets of 16 ports, of which a server may have many."""


@dataclass
class Crowd:
    """The DHCP clients of all servers, driven by one loop."""

    sockets: list[tuple[HostPlan, socket.socket]]
    asked: dict[int, float] = field(default_factory=dict)
    took: list[float] = field(default_factory=list)

    def discover(self, number: int) -> None:
        """One more client asks."""
        host, made = self.sockets[number % len(self.sockets)]
        self.asked[number] = time.monotonic()
        hint = (int(Option.PORT_PARAMETERS), PortParameters(SMALL, 0).encode())
        self._send(host, made, Kind.DISCOVER, number, hint)

    def hear(self, host: HostPlan, made: socket.socket) -> None:
        """Take an offer, or note that it is over."""
        message = parse(made.recv(2000))
        if message.kind is Kind.ACK:
            self.took.append(time.monotonic() - self.asked[message.xid])
        elif message.kind is Kind.OFFER and message.port_parameters is not None:
            self._send(
                host,
                made,
                Kind.REQUEST,
                message.xid,
                (int(Option.REQUESTED_ADDRESS), message.yiaddr.packed),
                (int(Option.PORT_PARAMETERS), message.port_parameters.encode()),
            )

    def _send(
        self, host: HostPlan, made: socket.socket, kind: Kind, xid: int, *given: tuple[int, bytes]
    ) -> None:
        name = (int(Option.CLIENT_ID), client_identifier(str(xid)))
        message = Message(kind, xid, octets(host.mac), (*given, name))
        made.sendto(build(message), ("255.255.255.255", 67))


def open_loop(lab: Testbed, rate: float, seconds: float) -> Crowd:
    """So many exchanges a second, whether or not those before are over."""
    servers = lab.plan.hosts_of(HostRole.SERVER)
    crowd = Crowd([(host, client_socket(host.name)) for host in servers])
    by_number = {made.fileno(): (host, made) for host, made in crowd.sockets}
    poll = select.epoll()
    for number in by_number:
        poll.register(number, select.EPOLLIN)
    begin, number = time.monotonic(), 0
    while time.monotonic() < begin + seconds + 2:
        while number < rate * min(seconds, time.monotonic() - begin):
            number += 1
            crowd.discover(number)
        for ready, _ in poll.poll(0.001):
            crowd.hear(*by_number[ready])
    return crowd


def first_syn(lab: Testbed) -> float:
    """Seconds from an agent's wish to a connection that the origin has accepted, median."""
    origin = str(lab.plan.hosts_of(HostRole.ORIGIN)[0].address)
    took = []
    for number in range(1, TRIES + 1):  # one each: a server sends ten messages a second at most
        server = f"LHR-s{number}"
        began = time.monotonic()
        lease = lab.order("borrow", server, client_id="try", psid_bits=SMALL)
        held = time.monotonic()
        times = []
        for _ in range(2):  # the second has the network's own round trip, no matter of lending
            with netns.inside(server):
                asked = time.monotonic()
                borrowed.connect((origin, 80), leases=[lease], timeout=5).close()
                times.append(time.monotonic() - asked)
        took.append(held - began + max(0.0, times[0] - times[1]))
    return statistics.median(took)


def main() -> None:
    """Time single borrowers, then a crowd."""
    rate, seconds = float(sys.argv[1]), float(sys.argv[2])
    with Testbed(NETWORK, folder=FOLDER) as lab:
        syn = first_syn(lab)
        lab.kill("agent")
        crowd = open_loop(lab, rate, seconds)
        audit = lab.controller_api.audit()
        assert audit["agrees"], audit
    found = {
        "acknowledged": len(crowd.took) / len(crowd.asked),
        "ack_p50_s": statistics.median(crowd.took),
        "ack_mean_s": statistics.mean(crowd.took),
        "first_syn_s": syn,
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
