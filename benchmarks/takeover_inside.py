"""A lab with two controllers whose leader is killed, ended and stopped, again and again, as JSON.

``python -m benchmarks.takeover_inside NETWORK TURNS``
"""

from __future__ import annotations

import json
import select
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

from controller import dhcp, frames
from controller.dhcp import Kind, Message, Option, PortParameters
from experiments.measure.kernel import Ports
from experiments.measure.udp import EchoProbe, EchoRow, udp_echo
from experiments.runs.testbed import Testbed
from topologies.emulation import netns
from topologies.plan import HostPlan, HostRole
from topologies.sources import load

FOLDER = Path("/run/bench")
EVERY_S, ASK_S, PATIENCE_S = 0.005, 0.02, 20.0
"""Between two echoes of a probe; between two DISCOVERs; until an answer is given up."""
ETH_P_IP = 0x0800


@contextmanager
def steady(lab: Testbed) -> Iterator[list[EchoRow]]:
    """Within the block, an open loop of echoes on all kinds of ways; their rows afterwards.

    Clients ask the service, and two servers an origin, from what they have borrowed.
    """
    over = threading.Event()
    rows: list[EchoRow] = []
    service = lab.plan.network.services[0]
    origin = lab.plan.hosts_of(HostRole.ORIGIN)[0].address

    def ask(probes: list[EchoProbe], ports: Ports | None) -> None:
        while not over.is_set():
            rows.extend(udp_echo(probes, count=40, interval_s=EVERY_S, ports=ports))

    clients = [EchoProbe(x.name, service) for x in lab.plan.hosts_of(HostRole.CLIENT)[:8]]
    asking: list[tuple[list[EchoProbe], Ports | None]] = [(clients, None)]
    for server, lease in list(lab.leases().items())[:2]:
        probe = EchoProbe(server, origin, IPv4Address(lease["address"]))
        asking.append(([probe], (lease["first_port"], lease["last_port"])))
    threads = [threading.Thread(target=ask, args=given) for given in asking]
    for thread in threads:
        thread.start()
    try:
        yield rows
    finally:
        over.set()
        for thread in threads:
            thread.join()


def answered_s(server: HostPlan) -> float:
    """Seconds until a server's DISCOVER is answered, when it asks again and again.

    Raises TimeoutError.
    """
    mac = frames.octets(server.mac)
    wish = ((int(Option.PORT_PARAMETERS), PortParameters(0, 0).encode()),)
    discover = frames.Datagram(
        eth_src=mac,
        eth_dst=b"\xff" * 6,
        source=server.address,
        target=IPv4Address("255.255.255.255"),
        source_port=dhcp.CLIENT_PORT,
        target_port=dhcp.SERVER_PORT,
        payload=dhcp.build(Message(Kind.DISCOVER, 77, mac, wish)),
    )
    with netns.inside(server.name):
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_IP))
    with wire:
        wire.bind(("eth0", ETH_P_IP))
        begin = time.monotonic()
        while (now := time.monotonic()) < begin + PATIENCE_S:
            wire.send(frames.build(discover))
            while select.select([wire], [], [], max(0, now + ASK_S - time.monotonic()))[0]:
                if _is_offer(wire.recv(2048)):
                    return time.monotonic() - begin
    raise TimeoutError(f"{server.name} was not answered within {PATIENCE_S:g} s")


def _is_offer(frame: bytes) -> bool:
    try:
        datagram = frames.parse(frame)
        offered = dhcp.parse(datagram.payload).kind is Kind.OFFER
    except (frames.FrameError, dhcp.DhcpError):
        return False
    return offered and datagram.source_port == dhcp.SERVER_PORT


def turn(lab: Testbed, strike: Callable[[str], None], mend: Callable[[str], None]) -> float:
    """Have the leader struck: seconds until the other one lends. It changes no rule."""
    leader = lab.control.status()["leader"]
    strike(leader)
    took_s = answered_s(lab.plan.hosts_of(HostRole.SERVER)[-1])
    lab.wait(lab.controller_api.is_ready, "every switch to be programmed")
    status = lab.controller_api.status()
    assert status["leader"]["name"] != leader, status["leader"]
    assert status["changes"] == 0, status["changes"]
    mend(leader)
    lab.wait(lab.stand_by, f"{leader} to stand by")
    return took_s


def main() -> None:
    """Time each kind of end, beside traffic."""
    network, turns = sys.argv[1], int(sys.argv[2])
    with Testbed(load(network), folder=FOLDER, controllers=2) as lab:
        word = lab.control
        kinds = {
            "killed": (word.program_kill, word.program_restart),
            "ended": (word.program_end, word.program_restart),
            "stopped": (word.program_stop, word.program_continue),
        }
        with steady(lab) as rows:
            took = {name: [turn(lab, *acts) for _ in range(turns)] for name, acts in kinds.items()}
        audit = lab.controller_api.audit()
        assert audit["agrees"], audit
    found = {f"{name}_s": statistics.median(times) for name, times in took.items()}
    found |= {f"{name}_most_s": max(times) for name, times in took.items()}
    lost = sum(row.outcome != "ok" for row in rows)
    sys.stdout.write(json.dumps(found | {"echoes": len(rows), "lost": lost}) + "\n")


if __name__ == "__main__":
    main()
