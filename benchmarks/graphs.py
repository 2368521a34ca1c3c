"""Graphs that both Mininet and poplab can build: switches, hosts and cables without delay."""

from __future__ import annotations

from mininet.topo import Topo

from topologies.model import Attachment, City, Line, Link, Network
from topologies.plan import Plan


def _network(name: str, switches: int, links: list[tuple[int, int]], hosts: list[int]) -> Network:
    """``hosts[i]`` hosts at switch i. Cities stand for switches; there is no PoP."""
    cities = tuple(City(f"s{n}", f"s{n}", 0.0, 0.0) for n in range(switches))
    cables = tuple(Link(f"s{a}", f"s{b}", Line()) for a, b in links)
    clients = tuple(Attachment(f"s{n}", count, Line()) for n, count in enumerate(hosts) if count)
    return Network(name, cities, cables, pops=(), clients=clients, origins=())


def single(hosts: int) -> Network:
    """One switch."""
    return _network(f"single-{hosts}", 1, [], [hosts])


def linear(switches: int) -> Network:
    """A chain of switches with a host each."""
    links = [(n, n + 1) for n in range(switches - 1)]
    return _network(f"linear-{switches}", switches, links, [1] * switches)


def tree(fanout: int) -> Network:
    """A root, ``fanout`` switches below it, ``fanout`` hosts below each."""
    links = [(0, n + 1) for n in range(fanout)]
    return _network(f"tree-{fanout**2}", fanout + 1, links, [0] + [fanout] * fanout)


class StockTopo(Topo):  # type: ignore[misc]
    """The graph of a plan for stock Mininet: same switches, hosts and cables."""

    def build(self, plan: Plan) -> None:
        """Add every node and link of the plan under Mininet's own names."""
        names = {s.name: f"s{n}" for n, s in enumerate(plan.switches, 1)}
        names |= {h.name: f"h{n}" for n, h in enumerate(plan.hosts, 1)}
        for switch in plan.switches:
            self.addSwitch(names[switch.name], dpid=f"{switch.dpid:016x}")
        for host in plan.hosts:
            self.addHost(names[host.name])
        for link in plan.links:
            self.addLink(names[link.a.node], names[link.b.node])
