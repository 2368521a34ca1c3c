"""Graphs that both Mininet and poplab can build: switches, hosts and cables without delay."""

from __future__ import annotations

from mininet.topo import Topo

from topologies.model import Attachment, City, Line, Link, Network, Pop
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


def lattice(nodes: int) -> Network:
    """A poplab network of so many switches and hosts: cities on a square grid, up to five PoPs.

    A tenth of the nodes are cities; each link is of 5 ms.
    """
    cities = max(2, nodes // 10)
    width = max(1, round(cities**0.5))
    codes = [f"C{n}" for n in range(cities)]
    delay = Line(delay_ns=5_000_000)
    links = [Link(codes[n - 1], codes[n], delay) for n in range(1, cities) if n % width]
    links += [Link(codes[n - width], codes[n], delay) for n in range(width, cities)]
    pops = tuple(Pop(codes[n * cities // 5], 2) for n in range(5 if cities >= 5 else 1))
    clients = nodes - cities - 3 * len(pops) - 1  # a PoP is a switch and two servers
    shares = [clients // cities + (n < clients % cities) for n in range(cities)]
    return Network(
        f"lattice-{nodes}",
        tuple(City(code, code, 0.0, 0.0) for code in codes),
        tuple(links),
        pops,
        tuple(Attachment(c, n) for c, n in zip(codes, shares, strict=True) if n),
        (Attachment(codes[0]),),
    )


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
