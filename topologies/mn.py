r"""The same networks for plain Mininet: names, addresses, ports and datapath ids of the plan.

Use the ``mn`` of poplab's own environment, as root (the distribution's ``mn`` runs under another
Python, which does not have this package). With plain bridges::

    sudo .venv/bin/mn --custom topologies/mn.py --topo pops,triangle,bridged=1 \
        --switch ovsbr,stp=1 --controller none --test pingall

Networks have loops: learning switches need the spanning tree (``stp=1``), which takes half a
minute and leaves one tree of the links. With ``bridged=1`` hosts resolve every address by ARP;
without it they send everything to the plan's gateway 169.254.1.1, for which the controller
answers. So with poplab's controller, whose first argument is what ``topologies.sources.dump_json``
writes::

    .venv/bin/python -m controller triangle.json --db leases.sqlite &
    sudo .venv/bin/mn --custom topologies/mn.py --topo pops,triangle \
        --switch ovs,protocols=OpenFlow13 --controller remote

``--topo pops,NET,HOW`` takes whatever ``topologies.sources.load`` takes: ``pops,topozoo/Abilene,5``
or ``pops,europe,pops=LHR+FRA`` (Mininet splits at commas, hence the plus). Where the kernel has no
Open vSwitch datapath add ``datapath=user`` to the switch.

Delays need the kernel's netem. Without it the network comes up with no delay at all, and says
so; ``poplab up NET`` brings delays of its own.
"""

from __future__ import annotations

import subprocess
from typing import Any

try:
    from mininet.cli import CLI
    from mininet.link import Link, TCLink
    from mininet.log import warn
    from mininet.node import Host
    from mininet.topo import Topo

    from topologies.model import Line
    from topologies.plan import GATEWAY_ADDRESS, HostPlan, HostRole, Plan, plan
    from topologies.sources import load
except ModuleNotFoundError as error:
    raise SystemExit(f"{error.name} is missing: run .venv/bin/mn, not the system's mn") from error

_NO_OFFLOAD = "ethtool -K eth0 tx off tso off gso off sg off"
"""A user-space datapath gets frames as the host's kernel left them: checksums must be real."""


class PopsHost(Host):
    """A host whose whole world is behind one interface."""

    def config(self, services: tuple[str, ...] = (), **params: Any) -> dict[str, Any]:
        """Mininet's configuration, then the service prefixes of a server (AnyIP)."""
        done: dict[str, Any] = super().config(**params)
        self.cmd(_NO_OFFLOAD)
        for prefix in services:
            self.cmd(f"ip route add local {prefix} dev lo")
        return done


class PopsTopo(Topo):
    """A poplab network as a Mininet topology."""

    def build(
        self, network: str = "triangle", pops: str | int | None = None, bridged: int = 0
    ) -> None:
        """Add every switch, host and link of the plan. Raises NetworkError."""
        wanted = None if pops is None else str(pops).replace("+", ",")
        self.route = "dev eth0 scope link" if bridged else f"via {GATEWAY_ADDRESS} dev eth0 onlink"
        self.plan: Plan = plan(load(network, wanted))
        for switch in self.plan.switches:
            self.addSwitch(switch.name, dpid=f"{switch.dpid:016x}")
        for host in self.plan.hosts:
            self.addHost(host.name, cls=PopsHost, **self._host(host))
        shaped = has_netem()
        if not shaped:
            warn("*** This kernel has no netem: links have no delay, loss or rate\n")
        for link in self.plan.links:
            self.addLink(
                link.a.node,
                link.b.node,
                port1=link.a.port or 0,
                port2=link.b.port or 0,
                intfName1=link.a.interface,
                intfName2=link.b.interface,
                cls=TCLink if shaped else Link,
                **(tc_options(link.line) if shaped else {}),
            )

    def _host(self, host: HostPlan) -> dict[str, Any]:
        services = self.plan.service_prefixes(4) if host.role is HostRole.SERVER else ()
        return {
            "ip": f"{host.address}/32",
            "mac": host.mac,
            "defaultRoute": self.route,
            "services": tuple(map(str, services)),
        }


def has_netem() -> bool:
    """Whether this kernel delays packets: tried in a network namespace that is then gone."""
    attempt = [
        "unshare",
        "--net",
        "tc",
        "qdisc",
        "add",
        "dev",
        "lo",
        "root",
        "netem",
        "delay",
        "1ms",
    ]
    return subprocess.run(attempt, capture_output=True, check=False).returncode == 0


def tc_options(line: Line) -> dict[str, Any]:
    """A line in the terms of Mininet's TCLink: microseconds, per cent, Mbit/s."""
    options: dict[str, Any] = {"delay": f"{line.delay_ns / 1000:g}us"}
    if line.jitter_ns:
        options["jitter"] = f"{line.jitter_ns / 1000:g}us"
    if line.loss:
        options["loss"] = line.loss * 100
    if line.rate_bit_s is not None:
        options["bw"] = line.rate_bit_s / 1e6
    if line.limit_packets is not None:
        options["max_queue_size"] = line.limit_packets
    return options


CLI.identchars += "-"  # else the prompt takes "LHR-c1 ping ..." for a command named LHR

topos = {"pops": PopsTopo}
"""What ``mn --custom`` looks for."""
