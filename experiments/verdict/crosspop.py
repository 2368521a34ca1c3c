"""What a reply's way home costs, in closed form: it lands in one PoP and belongs to another.

A server in PoP h sends to an origin o straight. The reply goes to the PoP L that announces the
borrowed address and is nearest to o, and home by label, over the backbone where that is shorter.
So it takes d(o, L) + b(L, h) - d(o, h) longer than one to an address of the server's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from experiments.verdict.oracle import Oracle
from topologies import paths, shortest
from topologies.model import Line, Link, Network
from topologies.plan import LinkKind, LinkPlan, Plan, edge_name, plan

MTU, HEADERS = 1500, 20 + 20 + 12
"""Bytes of an IP packet, and of those what IPv4, TCP and its timestamps take."""

SCALE = 1 << 16
"""What a nanosecond counts, where links decide between ways that are equally short."""

ETHERNET = 14
PAYLOAD_SHARE = (MTU - HEADERS) / (MTU + ETHERNET)
"""Of what a link's rate counts: what is left for data."""


def with_backbone(network: Network) -> Network:
    """The network; one without a backbone gets a ring of private lines through its PoPs.

    Each is as long as the shortest way between its cities.
    """
    if network.backbone:
        return network
    delays, pops = paths.city_delays(network), [pop.city for pop in network.pops]
    ends = list(pairwise(pops)) + ([(pops[-1], pops[0])] if len(pops) > 2 else [])
    ring = tuple(Link(a, b, Line(delay_ns=delays[a][b])) for a, b in ends)
    return replace(network, backbone=ring)


def without_backbone(made: Plan) -> Oracle:
    """The model of the same network while all of its backbone is cut."""
    return Oracle(plan(replace(made.network, backbone=())))


def backbone(made: Plan) -> tuple[LinkPlan, ...]:
    """The links of the backbone."""
    return tuple(link for link in made.links if link.kind is LinkKind.BACKBONE)


def crossings(made: Plan, landing: str, home: str) -> tuple[int, int]:
    """How many links of the backbone are on the way home from where a reply lands.

    The least and the most, over all ways that are equally short.
    """
    usual = paths.label_graph(made, home)
    counts = []
    for cost in (1, -1):  # of a crossing, far below a nanosecond
        found = {a: {b: SCALE * ns for b, ns in far.items()} for a, far in usual.items()}
        for link in backbone(made):
            found[link.a.node][link.b.node] += cost
            found[link.b.node][link.a.node] += cost
        way = shortest.path(found, edge_name(landing), edge_name(home))
        kinds = (made.link_between(*step).kind for step in pairwise(way))
        counts.append(sum(kind is LinkKind.BACKBONE for kind in kinds))
    least, most = counts
    return least, most


def landing(oracle: Oracle, origin: str, announced: Sequence[str]) -> str:
    """Where replies of an origin land: the nearest of the PoPs that announce."""
    return oracle.nearest_of(origin, announced)[0]


def extra_ms(oracle: Oracle, server: str, origin: str, landed: str) -> float:
    """How much longer a round trip takes that comes home by way of another PoP."""
    return oracle.borrowed_rtt_ms(server, origin, (landed,)) - oracle.rtt_ms(server, origin)
