"""What may break in a network, and whose packets feel it: worked out from the plan alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations

from experiments.errors import UsageError
from topologies import paths, shortest
from topologies.model import Network
from topologies.plan import HostRole, LinkKind, LinkPlan, Plan

PULLED, SILENT, DEAD_POP, BACKBONE = "pulled link", "silent link", "dead PoP", "backbone"
SERVICE = "service"
"""Stands for a host where the service address is asked."""


@dataclass(frozen=True, slots=True)
class Stream:
    """Packets from a host to another, or to the service; how long they take to what breaks."""

    host: str
    target: str
    way_ns: int


@dataclass(frozen=True, slots=True)
class Break:
    """One failure: the links that die at once, with or without losing their carrier.

    ``borrowed`` says that its streams are sent from what their hosts have borrowed.
    """

    name: str
    links: tuple[LinkPlan, ...]
    streams: tuple[Stream, ...]
    silent: bool = False
    borrowed: bool = False


def need_a_stand_in(network: Network) -> None:
    """Raise UsageError if nobody would feel it when a PoP dies, or nobody could serve instead."""
    if len(network.pops) < 2 or not network.clients:
        raise UsageError(f"{network.name} needs clients, and a PoP that can stand in for another.")


def breaks(plan: Plan, most: int) -> tuple[Break, ...]:
    """One failure of each kind that the network has, the most felt, with up to so many streams."""
    link, streams = _most_felt(plan, _between_clients(plan), LinkKind.TRANSIT)
    found = [_dead_pop(plan, most)]
    if link is not None:
        found.insert(0, Break(SILENT, (link,), streams[:most], silent=True))
        found.insert(0, Break(PULLED, (link,), streams[:most]))
    link, streams = _most_felt(plan, _fetches(plan), LinkKind.BACKBONE)
    if link is not None:
        one = [stream for stream in streams if stream.host == streams[0].host]
        found.append(Break(BACKBONE, (link,), tuple(one[:most]), borrowed=True))
    return tuple(found)


Way = tuple[str, str, Sequence[str]]
"""Who asks whom, and by which nodes the packets and their answers go."""


def _between_clients(plan: Plan) -> Iterator[Way]:
    """From a client of each city to one of each other city."""
    first = {host.city: host.name for host in reversed(plan.hosts_of(HostRole.CLIENT))}
    for one, other in permutations(first.values(), 2):
        yield one, other, paths.route(plan, one, other)


def _fetches(plan: Plan) -> Iterator[Way]:
    """From a server of each PoP to an origin; the answer lands nearest the origin."""
    for edge in plan.edges:
        server = plan.servers_of(edge.city)[0].name
        for origin in plan.hosts_of(HostRole.ORIGIN):
            delays = paths.service_delays(plan, origin.city)
            landing = min(delays, key=lambda pop: (delays[pop], plan.edge(pop).number))
            if landing != edge.city:
                there = paths.route(plan, server, origin.name)
                back = paths.route(plan, origin.name, plan.edge(landing).name)
                home = paths.label_route(plan, plan.edge(landing).name, edge.city)
                yield server, origin.name, [*there, *back[1:], *home[1:], server]


def _most_felt(
    plan: Plan, ways: Iterable[Way], kind: LinkKind
) -> tuple[LinkPlan | None, tuple[Stream, ...]]:
    """The link of a kind that most ways use and that can be gone round, and those ways' streams."""
    felt: defaultdict[int, list[Stream]] = defaultdict(list)
    for host, target, nodes in ways:
        steps = [plan.link_between(a, b) for a, b in pairwise(nodes)]
        for number in {link.number for link in steps if link.kind is kind}:
            place = next(n for n, link in enumerate(steps) if link.number == number)
            felt[number].append(
                Stream(host, target, paths.delay_ns(plan, list(nodes[: place + 1])))
            )
    for number in sorted(felt, key=lambda n: (-len(felt[n]), n)):
        if kind is not LinkKind.TRANSIT or _goes_round(plan, plan.links[number - 1]):
            return plan.links[number - 1], tuple(felt[number])
    return None, ()


def _goes_round(plan: Plan, link: LinkPlan) -> bool:
    """Whether the cities hang together without a link."""
    graph = paths.graph(plan, {LinkKind.TRANSIT})
    del graph[link.a.node][link.b.node], graph[link.b.node][link.a.node]
    return link.b.node in shortest.costs(graph, link.a.node)


def _dead_pop(plan: Plan, most: int) -> Break:
    """The PoP with the most clients dies; the way ends at its city's switch."""
    felt: defaultdict[str, list[Stream]] = defaultdict(list)
    for host in plan.hosts_of(HostRole.CLIENT):
        delays = paths.service_delays(plan, host.city)
        pop = min(delays, key=lambda pop: (delays[pop], plan.edge(pop).number))
        way = paths.delays(plan, host.name)[plan.transit(pop).name]
        felt[pop].append(Stream(host.name, SERVICE, way))
    pop = max(felt, key=lambda pop: len(felt[pop]))
    fabric = (x for x in plan.links_of(plan.edge(pop).name) if x.kind is not LinkKind.SERVER)
    return Break(DEAD_POP, tuple(fabric), tuple(felt[pop][:most]))
