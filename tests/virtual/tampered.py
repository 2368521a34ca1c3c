"""A program of the lab in which one thing is wrong from the start.

``python -m tampered MODULE MUTATION ARGUMENT...`` runs in a guest, beside ``mutant.py``.
"""

from __future__ import annotations

import itertools
import runpy
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from topologies.binding import Binding
from topologies.model import Names

Leases = Iterable[Mapping[str, Any]]


def tags_mixed_up() -> None:
    """A server leaves by the lease after the one that was asked for."""
    from controller.agent import borrowed

    def mixed(leases: Leases, tag: str) -> list[Mapping[str, Any]]:
        held = list(leases)
        places = [n for n, lease in enumerate(held) if lease["tag"] == tag]
        if not places:
            raise borrowed.NoLeaseError(f"no lease tagged {tag!r}")
        return [held[(places[0] + 1) % len(held)]]

    borrowed._tagged = mixed


def any_tag_served() -> None:
    """A server leaves by some lease where it has none of the tag."""
    from controller.agent import borrowed

    tagged = borrowed._tagged

    def generous(leases: Leases, tag: str) -> Any:
        held = list(leases)
        try:
            return tagged(held, tag)
        except borrowed.NoLeaseError:
            return held[:1]

    borrowed._tagged = generous


def addresses_wasted() -> None:
    """The book opens an address for every borrower, as long as there are any."""
    from controller.core.shelf import Shelf

    with_room = Shelf.with_room

    def wasteful(shelf: Shelf, home: str, order: int) -> Any:
        return None if shelf.closed else with_room(shelf, home, order)

    Shelf.with_room = wasteful  # type: ignore[method-assign]


def shed_too_soon() -> None:
    """A PoP sheds load for which it has room."""
    from controller.core import shedding

    shedding.HIGH, shedding.LOW = 0.6, 0.55


def shed_out_of_sight() -> None:
    """Load is counted where it ends: a city that was shed seems to ask nothing, and may return."""
    from controller.core import shedding

    decide = shedding.decide

    def blind(world: Any, demand: shedding.Demand) -> Any:
        gone = {city for city, _ in world.shed}
        return decide(world, {city: n for city, n in demand.items() if city not in gone})

    shedding.decide = blind


def random_by_hash() -> None:
    """Names that should be bound at random have the same address for ever."""
    from topologies.emulation.endpoints import service

    bound = service.binding

    def fixed(how: Names, addresses: Sequence[IPv4Address], seed: str) -> Binding:
        return bound(Names.STATIC if how is Names.RANDOM else how, addresses, seed)

    service.binding = fixed


def names_stay() -> None:
    """A name server hears of one change of the binding in two, so an address is never left."""
    from topologies.emulation.endpoints import service

    bind, turns = service.Services.bind, itertools.count()

    def deaf(services: service.Services, how: Names, among: Sequence[IPv4Network]) -> None:
        if how is not Names.ONE or next(turns) % 2:
            bind(services, how, among)

    service.Services.bind = deaf  # type: ignore[method-assign]


def withdrawals_untold() -> None:
    """The controller tells a PoP's speaker what to announce, and never what to withdraw."""
    from controller import voices

    told = voices.changed

    def kept(before: Any, now: Any) -> tuple[str, ...]:
        return tuple(word for word in told(before, now) if not word.startswith("no network"))

    voices.changed = kept


def pieces_untold() -> None:
    """Nobody announces the pieces of pools that are at home with it."""
    from collections import defaultdict

    from controller.core import announcing

    announcing._at_home = lambda _world: defaultdict(list)


MUTATIONS: dict[str, Callable[[], None]] = {
    "withdrawals are never told": withdrawals_untold,
    "pieces are not announced": pieces_untold,
    "tags mixed up": tags_mixed_up,
    "any tag served": any_tag_served,
    "addresses wasted": addresses_wasted,
    "random is by hash": random_by_hash,
    "names stay": names_stay,
    "load is shed too soon": shed_too_soon,
    "what is shed is out of sight": shed_out_of_sight,
}


if __name__ == "__main__":
    _, module, mutation, *rest = sys.argv
    MUTATIONS[mutation]()
    sys.argv = [module, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
