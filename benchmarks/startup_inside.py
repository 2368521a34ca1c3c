"""Build, start and stop one graph inside a sandbox and print the seconds as JSON.

``python -m benchmarks.startup_inside ours|stock GRAPH``
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from mininet.net import Mininet
from mininet.node import OVSSwitch

from benchmarks import graphs
from topologies import sources
from topologies.emulation import wiring
from topologies.emulation.lab import Lab
from topologies.emulation.vswitch import VSwitch
from topologies.model import Network
from topologies.plan import Plan, plan

FOLDER = Path("/run/bench")


def network(graph: str) -> Network:
    """``single-200``, ``tree-196``, ``linear-100`` or anything that ``sources.load`` knows."""
    kind, _, size = graph.partition("-")
    if kind == "single":
        return graphs.single(int(size))
    if kind == "linear":
        return graphs.linear(int(size))
    if kind == "tree":
        return graphs.tree(round(int(size) ** 0.5))
    return sources.load(graph)


class BareLab(Lab):
    """A lab without services in its hosts, as stock Mininet builds it."""

    def _start_endpoints(self) -> None:
        """No services."""


def ours(net: Network) -> dict[str, float]:
    """Seconds for our lab; every port and address is verified by ``start`` itself."""
    begin = time.perf_counter()
    wiring.raise_loopback()
    lab = BareLab(net, folder=FOLDER)
    lab.start()
    started = time.perf_counter()
    lab.stop()
    return {"start_s": started - begin, "stop_s": time.perf_counter() - started}


def stock(net: Network) -> dict[str, float]:
    """Seconds for Mininet 2.3.0 with ``OVSSwitch(batch=True)`` on the same Open vSwitch.

    The daemons' own start is not counted against Mininet, which expects them to run.
    """
    FOLDER.mkdir(parents=True)
    wiring.raise_loopback()
    vswitch = VSwitch(FOLDER)
    vswitch.start_database()
    vswitch.start()
    layout = plan(net)
    begin = time.perf_counter()
    mininet = Mininet(
        graphs.StockTopo(plan=layout),
        switch=lambda name, **params: OVSSwitch(name, datapath="user", batch=True, **params),
        controller=None,
    )
    mininet.start()
    started = time.perf_counter()
    _verify_ports(layout)
    stopping = time.perf_counter()
    mininet.stop()
    stopped = time.perf_counter()
    vswitch.stop()
    return {"start_s": started - begin, "stop_s": stopped - stopping}


def _verify_ports(layout: Plan) -> None:
    """Fail unless Mininet has really made every port; it does not look itself."""
    wanted = sum(len(layout.links_of(switch.name)) for switch in layout.switches)
    command = ["ovs-vsctl", "--bare", "--columns=ofport", "find", "Interface", "type!=internal"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    numbers = [int(line) for line in found.split()]
    if len(numbers) != wanted or min(numbers) < 1:
        sys.exit(f"stock Mininet made {len(numbers)} of {wanted} ports")


def main() -> None:
    """Read the command line, print one JSON object."""
    who, graph = sys.argv[1:]
    print(json.dumps({"ours": ours, "stock": stock}[who](network(graph))))


if __name__ == "__main__":
    main()
