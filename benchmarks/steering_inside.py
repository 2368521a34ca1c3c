"""Rules into a real Open vSwitch, or connections to a service, as JSON.

``python -m benchmarks.steering_inside ours|ryu NETWORK``: every program of a network, one after the
other into one switch, from nothing. ``python -m benchmarks.steering_inside connect NETWORK PER_S
SECONDS``: clients open connections at a steady rate.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from ryu.ofproto import ofproto_v1_3 as ofp

from controller import openflow
from controller.core.pipeline import programs
from controller.core.reconcile import changes
from controller.core.rules import Program
from controller.core.world import World
from experiments.measure.dial import dial, paced
from experiments.runs.testbed import Testbed
from tests.fakes.ryu import as_ryu_group, as_ryu_rule, ryu_bytes
from tests.net.peer import Peer, connected
from topologies.plan import HostRole, plan
from topologies.sources import load

FOLDER = Path("/run/bench")
HTTP = 80
TURNS = 3
PATIENCE_S = 5.0
LAST_XID = 1 << 20
"""Behind those of a program's messages."""


def ours(program: Program) -> bytes:
    """All of a program as the controller sends it: one bundle."""
    steps = enumerate(changes(program, Program(frozenset())), 2)
    return openflow.bundle((openflow.encode(step, xid) for xid, step in steps), 1, 1)


def by_ryu(program: Program) -> bytes:
    """The same, message by message, made and packed by Ryu's classes."""
    groups = [as_ryu_group(group, ofp.OFPGC_ADD) for group in program.groups]
    messages = [*groups, *(as_ryu_rule(rule) for rule in program.rules)]
    return b"".join(ryu_bytes(message, xid) for xid, message in enumerate(messages, 2))


def install(peer: Peer, wanted: Mapping[str, Program], encode: Callable[[Program], bytes]) -> float:
    """Seconds from programs to the last barrier; each begins with an empty switch."""
    took_s = 0.0
    for program in wanted.values():
        began = time.perf_counter()
        peer.send(encode(program) + openflow.barrier(LAST_XID))
        peer.settle(LAST_XID)
        took_s += time.perf_counter() - began
        wipe = (openflow.delete_our_flows(LAST_XID + 1), openflow.delete_all_groups(LAST_XID + 2))
        peer.send(b"".join(wipe) + openflow.barrier(LAST_XID + 3))
        peer.settle(LAST_XID + 3)
    return took_s


def programmed(network: str, encode: Callable[[Program], bytes]) -> dict[str, float]:
    """How many rules and groups a network has, and how many a second get into a switch."""
    wanted = programs(World(plan(load(network))))
    entries = sum(len(program.rules) + len(program.groups) for program in wanted.values())
    FOLDER.mkdir(parents=True)
    with connected(FOLDER) as peer:
        least_s = min(install(peer, wanted, encode) for _ in range(TURNS))
    return {"entries": entries, "per_s": entries / least_s}


def connections(network: str, per_s: int, seconds: int) -> dict[str, float]:
    """What becomes of connections to the service, and what the controller sees of them."""
    with Testbed(load(network), folder=FOLDER) as lab:
        service = (lab.plan.network.services[0], HTTP)
        clients = [client.name for client in lab.plan.hosts_of(HostRole.CLIENT)]
        hosts = [clients[n % len(clients)] for n in range(per_s * seconds)]

        async def connect(_turn: int, host: str) -> bool:
            found = await dial(host, service, source=None, ports=None, timeout_s=PATIENCE_S)
            if found.sock is not None:
                found.sock.close()
            return found.outcome == "ok"

        before = lab.controller_api.status()["packet_ins"]
        began = time.perf_counter()
        opened = asyncio.run(paced(hosts, connect, at_once=per_s, spacing_s=1 / per_s))
        took_s = time.perf_counter() - began
        packet_ins = lab.controller_api.status()["packet_ins"] - before
    return {"opened_per_s": sum(opened) / took_s, "packet_ins": packet_ins}


def main() -> None:
    """Do what is asked, and print it."""
    what, network, *numbers = sys.argv[1:]
    if what == "connect":
        found = connections(network, *map(int, numbers))
    else:
        found = programmed(network, {"ours": ours, "ryu": by_ryu}[what])
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
