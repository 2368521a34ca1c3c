"""What the model says must come out: an independent check on the controller and the emulator.

Worked out on the plan alone (``topologies.paths``). Equal delays are ties, and a tie is answered
with every winner. Delays are one way; round trips are called RTT.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections import Counter
from collections.abc import Iterable

from controller.core.steering.bgp import ways, ways_home
from controller.core.world import World
from topologies import paths
from topologies.plan import HostRole, LinkPlan, Plan

NS_PER_MS = 1_000_000


def oracle(plan: Plan) -> Oracle:
    """What must come out on a plan, over what its network has between cities."""
    return BgpOracle(World(plan)) if plan.routers else Oracle(plan)


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
        return (self.delay_ns(a, b) + self.delay_ns(b, a)) / NS_PER_MS

    def emulated_links(self, a: str, b: str) -> int:
        """How many links with a delay lie between two hosts, one way; the mean, if they differ."""
        both = (*self._links(a, b), *self._links(b, a))
        return sum(link.line.delay_ns > 0 for link in both) // 2

    def survival(self, a: str, b: str) -> float:
        """The share of round trips between two hosts that the links' loss lets through."""
        return math.prod(1 - link.line.loss for link in (*self._links(a, b), *self._links(b, a)))

    def way(self, a: str, b: str) -> list[str]:
        """The nodes from one host or switch to another over the Internet."""
        return paths.route(self.plan, a, b)

    def _links_between(self, a: str, b: str) -> tuple[LinkPlan, ...]:
        return tuple(self.plan.link_between(*step) for step in itertools.pairwise(self.way(a, b)))

    def nearest_pops(self, host: str, without: str = "") -> tuple[str, ...]:
        """The PoPs with the least delay from a host, ties included; ``without`` is withdrawn."""
        return self.nearest_of(host, (pop for pop in self.pops if pop != without))

    def anycast_pops(self, node: str, announced: Iterable[str]) -> tuple[str, ...]:
        """The PoPs to which anycast may bring a host's or switch's packets if these announce."""
        return self.nearest_of(node, announced)

    def clients_by_pop(self) -> Counter[str]:
        """How many clients anycast brings to each PoP while all announce."""
        clients = self.plan.hosts_of(HostRole.CLIENT)
        landed = (self.anycast_pops(client.name, self.pops) for client in clients)
        return Counter(pop for pops in landed for pop in pops[:1])

    def busiest(self) -> str:
        """The PoP with most clients; the first of several."""
        return max(self.pops, key=self.clients_by_pop().__getitem__)

    def nearest_of(self, host: str, pops: Iterable[str]) -> tuple[str, ...]:
        """Those of some PoPs with the least delay from a host, ties included."""
        delays = {pop: self.delay_ns(host, self.plan.edge(pop).name) for pop in pops}
        least = min(delays.values(), default=0)
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

    def borrowed_rtt_ms(self, server: str, origin: str, announced: Iterable[str]) -> float:
        """The round trip from a server by its lease: out straight, back to where it is announced.

        That is the PoP to which anycast brings the reply; from there it goes home by label. Raises
        KeyError: no way.
        """
        home = self.plan.host(server)
        out, back = self.delay_ns(server, origin), self.anycast_way(origin, announced)
        last = self.delay_ns(home.switch, server)
        landing = self.plan.switch(back[-1]).city
        way = paths.delay_ns(self.plan, back) + self._home(landing, home.city)
        return (out + way + last) / NS_PER_MS

    def anycast_way(self, host: str, announced: Iterable[str]) -> list[str]:
        """The nodes from a host to the edge of the PoP where its packets land if these announce.

        Raises KeyError: no way.
        """
        pops = self.anycast_pops(host, announced)
        if not pops:
            raise KeyError(host)
        return self.way(host, self.plan.edge(pops[0]).name)

    def _home_delay_ns(self, landing: str, home: str) -> int:
        """From the PoP where a reply landed to the one where its address lives."""
        way = paths.label_route(self.plan, self.plan.edge(landing).name, home)
        return paths.delay_ns(self.plan, way)


class BgpOracle(Oracle):
    """The same where routers carry packets: what BGP chooses, there and back.

    By policy bgp, which knows nothing of the speakers that run; ``world`` says what is announced.
    """

    def __init__(self, world: World) -> None:
        super().__init__(world.plan)
        self._world = world
        self._homes = functools.cache(functools.partial(ways_home, world))
        self._anycast = functools.cache(functools.partial(ways, world))

    def delay_ns(self, a: str, b: str) -> int:
        """How long a packet takes from one host or switch to another. Raises KeyError: no way."""
        return paths.delay_ns(self.plan, self.way(a, b))

    def way(self, a: str, b: str) -> list[str]:
        """The nodes from one host or switch to another. Raises KeyError if no route leads there."""
        here, there = self._behind(a), self._behind(b)
        if here[-1] == there[-1] and len(here) + len(there) > 2:
            shared = next(node for node in here if node in there)
            return [*here[: here.index(shared)], *reversed(there[: there.index(shared) + 1])]
        city, is_pop = self.plan.switch(there[-1]).city, len(there) > 1 and self._is_edge(there[-2])
        between = self._homes(city, pop=is_pop)[self.plan.switch(here[-1]).city]
        if not between:
            raise KeyError(f"{a}, {b}")
        cities = [self.plan.transit(x).name for x in between]
        return [*here[:-1], *cities, *reversed(there[:-1])]

    def anycast_pops(self, node: str, announced: Iterable[str]) -> tuple[str, ...]:
        """The PoP to which BGP brings a host's or switch's packets; none without a route."""
        city = self.plan.switch(self._behind(node)[-1]).city
        pop = self.catchment(city, announced)
        return () if pop is None else (pop,)

    def anycast_way(self, host: str, announced: Iterable[str]) -> list[str]:
        """The way of the shared prefix, which may be another than to the PoP's own hosts."""
        cities = self._anycast(tuple(announced))[self.plan.host(host).city]
        if not cities:
            raise KeyError(host)
        routers = [self.plan.transit(city).name for city in cities]
        return [host, *routers, self.plan.edge(cities[-1]).name]

    def anycast_rtt_ms(self, client: str, pops: Iterable[str]) -> float | None:
        """The round trip from a client to where BGP brings it if these PoPs announce."""
        try:
            there = self.anycast_way(client, pops)
        except KeyError:
            return None
        server = self.plan.servers_of(self.plan.switch(there[-1]).city)[0]
        out_ns = paths.delay_ns(self.plan, [*there, server.name])
        return (out_ns + self.delay_ns(server.name, client)) / NS_PER_MS

    def catchments(self, pops: Iterable[str]) -> dict[str, str | None]:
        """By city, as ``catchment``."""
        pops = tuple(pops)
        return {x.city: self.catchment(x.city, pops) for x in self.plan.transits}

    def catchment(self, city: str, pops: Iterable[str]) -> str | None:
        """The PoP that a city's packets come to if these announce; None without a route."""
        way = self._anycast(tuple(pops))[city]
        return way[-1] if way else None

    def _behind(self, node: str) -> list[str]:
        """A host or switch, and what lies between it and its city's router, which is the last."""
        if node in {router.name for router in self.plan.routers}:
            return [node]
        if self._is_edge(node):
            return [node, self.plan.transit(self.plan.switch(node).city).name]
        host = self.plan.host(node)
        return [node, *self._behind(host.switch)]

    def _is_edge(self, node: str) -> bool:
        return any(edge.name == node for edge in self.plan.edges)
