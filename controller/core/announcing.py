"""What each PoP's speaker tells the world, where the upstream is BGP: a pure function of the world.

A PoP announces every service prefix and every pool: all PoPs share them. One that is withdrawn or
drained, or where nobody serves, announces none (RFC 4786 section 4.4.1). Where some PoP withholds a
service address, all announce that address for itself and the rest of its prefix in pieces; else
longer prefixes would draw what is meant for all (RFC 4271 section 9.1.4). By the same rule a PoP
draws what is for the addresses at home there, where pools are cut into pieces.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, collapse_addresses

from controller.core.events import PopState
from controller.core.world import World
from topologies.speakers import Announcement


def announcements(world: World) -> Mapping[str, Announcement]:
    """By PoP; empty if no PoP has a speaker."""
    if not world.plan.routers:
        return {}
    services = _pieces(world.plan.network.service_prefixes, {at for at, _ in world.withheld})
    pieces = _at_home(world)
    return {
        edge.city: _announcement(world, edge.city, services, pieces[edge.city])
        for edge in world.plan.edges
    }


def _announcement(
    world: World, pop: str, services: Iterable[IPv4Network], pieces: Iterable[IPv4Network]
) -> Announcement:
    told: tuple[IPv4Network, ...] = ()
    if world.told(pop) is PopState.ANNOUNCED:
        withheld = {IPv4Network(at) for at, by in world.withheld if by == pop}
        pools = (pool.prefix for pool in world.plan.network.pools)
        told = (*(prefix for prefix in services if prefix not in withheld), *pools, *pieces)
    return Announcement(told, world.prepend(pop), world.scope(pop))


def _at_home(world: World) -> Mapping[str, list[IPv4Network]]:
    """By PoP: the pieces of pools in which it is at home, and nobody else."""
    homes: defaultdict[IPv4Network, set[str]] = defaultdict(set)
    for pool in world.plan.network.pools:
        for address, home in world.homes.items() if pool.more_specifics else ():
            if address in pool.prefix and (piece := pool.piece(address)):
                homes[piece].add(home.pop)
    found: defaultdict[str, list[IPv4Network]] = defaultdict(list)
    for piece, pops in sorted(homes.items()):
        if len(pops) == 1:
            found[next(iter(pops))].append(piece)
    return found


def _pieces(prefixes: Iterable[IPv4Network], apart: set[IPv4Address]) -> tuple[IPv4Network, ...]:
    """The prefixes, in as few pieces as there can be if some addresses stand for themselves."""
    whole = list(collapse_addresses(prefixes))
    for address in sorted(apart):
        alone = IPv4Network(address)
        around = next(prefix for prefix in whole if alone.subnet_of(prefix))
        whole.remove(around)
        whole += [alone, *around.address_exclude(alone)]
    return tuple(sorted(whole))
