"""A trial in a network whose rules have been tampered with, at one PoP alone.

``python mutant.py MUTATION SPEC OUT`` runs inside a guest, where it lies in the run folder; it is
``experiments.runs.trial`` but for that. See ``test_controls.py``.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from controller.core import labels
from controller.core.rules import Duty, Table, cookie
from experiments.runs import trial
from experiments.runs.testbed import Testbed
from topologies.emulation import netns, vty
from topologies.emulation.links import Impairment
from topologies.emulation.processes import Program

POP = "ARN"
OTHER = "FCO"
KEPT = "LHR"
LEAKER = "ARN"


def ofctl(command: str, switch: str, flow: str | None = None, *options: str) -> str:
    words = ["ovs-ofctl", "-O", "OpenFlow13", *options, command, switch]
    words += [] if flow is None else [flow]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def remove(switch: str, duty: Duty) -> None:
    """Take away all of a switch's rules for one duty, unseen by the controller; there are some.

    A rule tells of its end, and would be put back; one that is put in its place does not.
    """
    which = f"cookie={cookie(duty):#x}/0xffffffff00000000"
    lines = ofctl("dump-flows", switch, which, "--no-stats").splitlines()
    rules = [line.strip() for line in lines if "actions=" in line]
    assert rules
    for rule in rules:
        assert "send_flow_rem" in rule
        ofctl("add-flow", switch, rule.replace("send_flow_rem ", ""))
    ofctl("del-flows", switch, which)


def without_detours(switch: str) -> None:
    """Every failover group of a switch does the first of its two things, or nothing."""
    groups = [x.strip() for x in ofctl("dump-groups", switch).splitlines() if "type=ff" in x]
    assert groups
    for group in groups:
        ofctl("mod-group", switch, ",bucket=".join(group.split(",bucket=")[:2]))


def pool(lab: Testbed) -> str:
    return str(lab.plan.network.pools[0].prefix)


def to_a_server(lab: Testbed) -> str:
    server = lab.plan.servers_of(POP)[0]
    return f"actions=set_field:{server.mac}->eth_dst,output:{server.port}"


def guard_bypassed(lab: Testbed) -> None:
    flow = f"table={Table.ADMISSION:d},priority=65000,ip,nw_src={pool(lab)}"
    ofctl("add-flow", f"e{POP}", f"{flow},actions=goto_table:{Table.SERVICE:d}")


def unlent_bypassed(lab: Testbed) -> None:
    """What is for nobody and landed at its home goes to some server."""
    flow = f"table={Table.BORROWED:d},priority=150,ip,nw_dst={pool(lab)}"
    ofctl("add-flow", f"e{POP}", f"{flow},{to_a_server(lab)}")


def landed_unlent_bypassed(lab: Testbed) -> None:
    """What is for nobody and came home from elsewhere goes to some server."""
    flow = f"table={Table.BORROWED:d},priority=350,ip,nw_dst={pool(lab)}"
    edge = lab.plan.edge(POP)
    for value, mask in labels.landed(edge.number, len(lab.plan.edges)):
        ofctl("add-flow", edge.name, f"{flow},dl_dst={_mac(value)}/{_mac(mask)},{to_a_server(lab)}")


def steered_elsewhere(lab: Testbed) -> None:
    """The clients of one city are sent to the PoP of another."""
    address = lab.plan.network.services[0]
    wrong = _mac(labels.encode(lab.plan.edge(OTHER).number))
    link = next(k for k in lab.plan.links_of(f"t{POP}") if k.far(f"t{POP}").node == f"t{OTHER}")
    port = link.near(f"t{POP}").port
    flow = f"table={Table.ROUTE:d},priority=65000,ip,nw_dst={address},dl_dst=02:00:00:00:00:01"
    ofctl("add-flow", f"t{POP}", f"{flow},actions=set_field:{wrong}->eth_dst,output:{port}")


def kept(lab: Testbed) -> None:
    """The clients of one city go to its PoP whatever is said."""
    address, near = lab.plan.network.services[0], lab.plan.transit(KEPT)
    link = next(k for k in lab.plan.links_of(near.name) if k.far(near.name).node == f"e{KEPT}")
    label = _mac(labels.encode(lab.plan.edge(KEPT).number))
    flow = f"table={Table.ROUTE:d},priority=65000,ip,nw_dst={address},dl_dst=02:00:00:00:00:01"
    actions = f"set_field:{label}->eth_dst,output:{link.near(near.name).port}"
    ofctl("add-flow", near.name, f"{flow},actions={actions}")


def slots_misplaced(lab: Testbed) -> None:
    """One server of a PoP gets every slot."""
    ofctl("add-flow", f"e{POP}", f"table={Table.BALANCE:d},priority=65000,{to_a_server(lab)}")


def hand_back_removed(lab: Testbed) -> None:
    """The servers of a PoP refuse what they do not know instead of handing it back."""
    for server in lab.plan.servers_of(POP):
        with netns.inside(server.name):
            subprocess.run(["nft", "flush", "ruleset"], check=True)


def arrivals_wait(_lab: Testbed) -> None:
    """An open loop that is none: it waits for each answer, and counts from when it asks."""
    from experiments.measure import open_loop

    async def waiting(attempts: Any, act: Any, times: Any, _over: Any) -> Any:
        rows: list[Any] = []
        start_ns = time.monotonic_ns()
        for turn, (at_s, attempt) in enumerate(zip(times, itertools.cycle(attempts), strict=False)):
            await asyncio.sleep(at_s - (time.monotonic_ns() - start_ns) / 1e9)
            now_ns = time.monotonic_ns()
            rows.append(open_loop.Arrival(now_ns, now_ns, await act(turn, attempt)))
        return rows

    open_loop._offer = waiting


def rates_ignored(lab: Testbed) -> None:
    """The link emulator takes a rate, and does nothing about it."""
    assert lab.emulator is not None
    carry = lab.emulator.set

    def without_rate(link_id: int, **ways: Impairment) -> None:
        carry(link_id, **{way: replace(x, rate_bit_s=None) for way, x in ways.items()})

    lab.emulator.set = without_rate  # type: ignore[method-assign]


def fell(lab: Testbed, name: str, how: signal.Signals) -> None:
    """A program dies, or falls asleep for good, while the study runs."""
    (program,) = (program for program in lab.programs() if program.name == name)
    threading.Timer(0.3, program.process.send_signal, [how]).start()


def connections_handed_up(lab: Testbed) -> None:
    """The controller sees every packet to the service that lands in a PoP."""
    flow = f"table={Table.SERVICE:d},priority=65000,tcp,nw_dst={lab.plan.network.services[0]}"
    seen = "actions=CONTROLLER:64,set_field:1->reg0"
    server = to_a_server(lab).removeprefix("actions=")
    ofctl("add-flow", f"e{POP}", f"{flow},{seen},{server}")


def _mac(number: int) -> str:
    return ":".join(f"{byte:02x}" for byte in number.to_bytes(6, "big"))


def leak(lab: Testbed) -> None:
    """A router tells its peers and providers of all that it knows (RFC 7908)."""
    router = lab.plan.transit(LEAKER).name
    for whom in ("PROVIDER", "PEER"):
        unbound = (f"route-map TO-{whom} permit 10", "no match community", "exit")
        vty.say(router, "configure terminal", *unbound, "end")
    vty.say(router, "clear bgp ipv4 unicast * soft out")


MUTATIONS: dict[str, Callable[[Testbed], None]] = {
    "nothing": lambda _lab: None,
    "controller killed": lambda lab: fell(lab, "controller", signal.SIGKILL),
    "controller stopped": lambda lab: fell(lab, "controller", signal.SIGSTOP),
    "agent killed": lambda lab: fell(lab, "agent", signal.SIGKILL),
    "endpoints stopped": lambda lab: fell(lab, "endpoints", signal.SIGSTOP),
    "vswitchd killed": lambda lab: fell(lab, "tLHR-ovs-vswitchd", signal.SIGKILL),
    "ovsdb stopped": lambda lab: fell(lab, "tLHR-ovsdb-server", signal.SIGSTOP),
    "guard bypassed": guard_bypassed,
    "guard removed": lambda _lab: remove(f"e{POP}", Duty.SPOOF),
    "admission of leases removed": lambda _lab: remove(f"e{POP}", Duty.ADMIT_LEASE),
    "return removed": lambda _lab: remove(f"e{POP}", Duty.RETURN),
    "home removed": lambda _lab: remove(f"e{POP}", Duty.HOME),
    "unlent removed": lambda _lab: remove(f"e{POP}", Duty.UNLENT),
    "unlent bypassed": unlent_bypassed,
    "landed unlent bypassed": landed_unlent_bypassed,
    "detours removed": lambda _lab: without_detours(f"t{POP}"),
    "label removed": lambda _lab: remove(f"t{POP}", Duty.LABEL),
    "service removed": lambda _lab: remove(f"e{POP}", Duty.SERVICE),
    "steering removed": lambda _lab: remove(f"t{POP}", Duty.STEER),
    "steered elsewhere": steered_elsewhere,
    "a withdrawn PoP is kept": kept,
    "slots misplaced": slots_misplaced,
    "connections handed up": connections_handed_up,
    "arrivals wait for answers": arrivals_wait,
    "rates are ignored": rates_ignored,
    "hand-back removed": hand_back_removed,
    "routes are leaked": leak,
}


FROM_THE_START: dict[str, tuple[str, tuple[str, ...]]] = {
    "withdrawals are never told": ("controller", ()),
    "pieces are not announced": ("controller", ()),
    "tags mixed up": ("controller.agent", ()),
    "any tag served": ("controller.agent", ()),
    "addresses wasted": ("controller", ()),
    "random is by hash": ("topologies.emulation.endpoints", ()),
    "names stay": ("topologies.emulation.endpoints", ()),
    "load is shed too soon": ("controller", ()),
    "what is shed is out of sight": ("controller", ()),
    "leases are shorter than is said": ("controller", ("--lease-time", "60")),
}
"""The module in which it is done (see ``tampered.py``), or an option that it gets instead."""


def launch_tampered(mutation: str) -> None:
    """Have one program of the lab start otherwise."""
    launch, here = Testbed.launch, str(Path(__file__).resolve().parent)
    os.environ["PYTHONPATH"] = os.pathsep.join([here, os.environ["PYTHONPATH"]])
    tampered_module, options = FROM_THE_START[mutation]

    def otherwise(lab: Testbed, name: str, module: str, *arguments: str) -> Program:
        if module != tampered_module:
            return launch(lab, name, module, *arguments)
        if options:
            return launch(lab, name, module, *arguments, *options)
        return launch(lab, name, "tampered", module, mutation, *arguments)

    Testbed.launch = otherwise  # type: ignore[method-assign]


def main(mutation: str, *arguments: str) -> int:
    start = Testbed.start

    def tampered(lab: Testbed) -> None:
        start(lab)
        MUTATIONS[mutation](lab)

    if mutation in FROM_THE_START:
        launch_tampered(mutation)
    else:
        Testbed.start = tampered  # type: ignore[method-assign]
    return trial.main(list(arguments))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
