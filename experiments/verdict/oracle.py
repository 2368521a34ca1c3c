"""What the model says must come out: an independent check on the controller and the emulator.

Worked out on the plan alone (``topologies.paths``). Equal delays are ties, and a tie is answered
with every winner. Delays are one way; round trips are called RTT.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable

from topologies import paths
from topologies.plan import HostRole, LinkPlan, Plan

NS_PER_MS = 1_000_000


class Oracle:
    """Delays, catchments and round trips of a plan, by shortest paths."""

    def __init__(self, plan: Plan) -> None:
        """Remember the plan; paths are worked out when they are asked for."""
        self.plan = plan
        self.pops = tuple(edge.city for edge in plan.edges)
        self._delays = functools.cache(functools.partial(paths.delays, plan))
        self._links = functools.cache(self._links_between)
        self._home = functools.cache(self._home_delay_ns)

    def delay_ns(self, a: str, b: str) -> int:
        """The least delay between two hosts or switches over the Internet."""
        return self._delays(a)[b]

    def rtt_ms(self, a: str, b: str) -> float:
        """The round trip between two hosts over the Internet."""
        return 2 * self.delay_ns(a, b) / NS_PER_MS

    def emulated_links(self, a: str, b: str) -> int:
        """How many links with a delay lie between two hosts."""
        return sum(link.line.delay_ns > 0 for link in self._links(a, b))

    def survival(self, a: str, b: str) -> float:
        """The share of round trips between two hosts that the links' loss lets through."""
        return math.prod((1 - link.line.loss) ** 2 for link in self._links(a, b))

    def _links_between(self, a: str, b: str) -> tuple[LinkPlan, ...]:
        """The links of the way between two hosts over the Internet."""
        way = paths.route(self.plan, a, b)
        return tuple(self.plan.link_between(*step) for step in itertools.pairwise(way))

    def nearest_pops(self, host: str, without: str = "") -> tuple[str, ...]:
        """The PoPs with the least delay from a host, ties included; ``without`` is withdrawn."""
        return self.nearest_of(host, (pop for pop in self.pops if pop != without))

    def nearest_of(self, host: str, pops: Iterable[str]) -> tuple[str, ...]:
        """Those of some PoPs with the least delay from a host, ties included."""
        delays = {pop: self.delay_ns(host, self.plan.edge(pop).name) for pop in pops}
        least = min(delays.values())
        return tuple(pop for pop, delay in delays.items() if delay == least)

    def one_site(self) -> str:
        """The PoP with the least mean delay to all clients: where a single site would stand."""
        return self._central(HostRole.CLIENT)

    def one_owner(self) -> str:
        """The PoP with the least mean delay to all origins: where a single owner would stand."""
        return self._central(HostRole.ORIGIN)

    def _central(self, role: HostRole) -> str:
        hosts = self.plan.hosts_of(role)

        def total(pop: str) -> int:
            return sum(self.delay_ns(host.name, self.plan.edge(pop).name) for host in hosts)

        return min(self.pops, key=total)

    def borrowed_rtt_ms(self, server: str, origin: str, landing: str) -> float:
        """The round trip from a server by its lease: out straight, back by way of ``landing``."""
        home = self.plan.host(server)
        out = self.delay_ns(server, origin)
        back = self.delay_ns(origin, self.plan.edge(landing).name)
        last = self.delay_ns(home.switch, server)
        return (out + back + self._home(landing, home.city) + last) / NS_PER_MS

    def _home_delay_ns(self, landing: str, home: str) -> int:
        """From the PoP where a reply landed to the one where its address lives."""
        way = paths.label_route(self.plan, self.plan.edge(landing).name, home)
        return paths.delay_ns(self.plan, way)
