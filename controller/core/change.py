"""What events change in the switches, and in which order.

``advance`` is the incremental half of ``pipeline.programs``: from one configuration to the next it
works out again only what the events can have changed. A lease costs its own few rules.

A change is made of phases. Each is over, on every switch that it touches, before the next begins,
so at no moment may a server send what could not come back to it:

1. **close**: source guards of leases that ended go.
2. **paths**: everything else, return paths and homes among it. When a link has died the farthest
   switch goes first, when one is back the nearest, so that no switch takes a new way through one
   that sends back to it (ordered FIB updates, RFC 6976). Until its turn has come, each goes round
   the dead link by itself.
3. **open**: source guards of leases that began come. Then the borrower may be told.

A change at one switch is one phase, because a switch takes its part as one atomic bundle.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from controller.core.borrowing import borrowed_rules
from controller.core.events import (
    CityConverged,
    CityHeld,
    CityMoved,
    Event,
    LeaseChanged,
    OverrideSet,
)
from controller.core.lease import Lease
from controller.core.pipeline import static_program, with_leases
from controller.core.reconcile import AddRule, Change, DeleteRule, ModifyRule, changes
from controller.core.routing import Routes, distances, fabric_ports, routes
from controller.core.rules import Duty, Program, Rule, duty_of
from controller.core.service import ServiceTables
from controller.core.steering import Ranking, Steering
from controller.core.world import FABRIC, World
from topologies.plan import SwitchPlan, SwitchRole

Phase = Mapping[str, tuple[Change, ...]]
"""Changes by switch, in an order that is safe within the switch."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """A world, and what has been worked out from it."""

    world: World
    routes: Routes
    steering: Steering
    static: Mapping[str, Program]

    @classmethod
    def of(cls, world: World) -> Configuration:
        """The configuration of a world, from nothing."""
        found, steering = routes(world), Steering.of(world)
        static = {s.name: static_program(world, found, steering, s) for s in world.plan.switches}
        return cls(world, found, steering, static)

    @property
    def ranking(self) -> Ranking:
        """Every city's PoPs, best first, for the addresses that every PoP announces."""
        return self.steering.usual

    def programs(self) -> dict[str, Program]:
        """What every switch should hold, leases too."""
        return with_leases(self.world, self.static)


def advance(before: Configuration, *events: Event) -> tuple[Configuration, tuple[Phase, ...]]:
    """The configuration after these events, and the phases that lead there; empty ones left out.

    Raises UnknownError, as ``World.after``.
    """
    after = _static(before, before.world.after(*events))
    return after, _ways(before, after, events)


def follow(
    before: Configuration, *events: Event
) -> tuple[Configuration, tuple[Phase, ...], tuple[Event, ...]]:
    """As ``advance``, and all that has happened: these events, and how cities take them.

    Cities that leave their PoP may have connections there; some would, but have not heard yet.
    """
    after = _static(before, before.world.after(*events))
    moves = tuple(_moves(before, after, events))
    if moves:
        after = _static(after, after.world.after(*moves))
    return after, _ways(before, after, events), (*events, *moves)


def _moves(
    before: Configuration, after: Configuration, events: Iterable[Event]
) -> Iterator[CityMoved | CityHeld]:
    """What follows for cities; nothing where their rankings have not been worked out again."""
    if before.steering is after.steering:
        return
    slow = bool(after.world.plan.network.convergence_ns)
    heard = {x.city for x in events if isinstance(x, CityConverged | OverrideSet)}
    for city, ranked in after.ranking.items():
        old = before.ranking[city]
        if old == ranked:
            continue
        if slow and city not in heard:
            yield CityHeld(city, old)
        elif after.world.second_chance and old and old[:1] != ranked[:1]:
            yield CityMoved(city, old[0])


def _ways(
    before: Configuration, after: Configuration, events: Iterable[Event]
) -> tuple[Phase, ...]:
    """The phases from one configuration to another, between which these events have happened."""
    steps: defaultdict[str, list[Change]] = defaultdict(list)
    for name, program in after.static.items():
        if program is not before.static[name]:
            steps[name] += changes(program, before.static[name])
    for name, (going, coming) in _lent(before.world, after.world, events).items():
        steps[name] += changes(Program(coming), Program(going))
    return tuple(_phases(steps, _turns(before.world, after.world)))


def _reroutes(old: World, world: World) -> bool:
    """Whether packets between switches may go another way."""
    plan = world.plan
    return old.metrics != world.metrics or any(
        port in fabric_ports(plan, plan.switch(name)) for name, port in old.down ^ world.down
    )


def _static(before: Configuration, world: World) -> Configuration:
    """What does not depend on leases, worked out again as far as the world has changed."""
    old, plan = before.world, world.plan
    if replace(old, leases=world.leases, homes=world.homes) == world:
        return replace(before, world=world)
    moved = _reroutes(old, world)
    found = routes(world) if moved else before.routes
    steers = moved or old.steered_by != world.steered_by
    steering = Steering.of(world) if steers else before.steering

    def same(switch: SwitchPlan) -> bool:
        if moved:
            return False
        if switch.role is SwitchRole.TRANSIT:
            services = before.steering.apart.keys() == steering.apart.keys()
            return services and before.steering.at(switch.city) == steering.at(switch.city)
        then = ServiceTables.of(old, before.routes, before.ranking, switch)
        return then == ServiceTables.of(world, found, steering.usual, switch)

    static = {
        s.name: before.static[s.name] if same(s) else static_program(world, found, steering, s)
        for s in plan.switches
    }
    return Configuration(world, found, steering, static)


def _lent(
    before: World, after: World, events: Iterable[Event]
) -> dict[str, tuple[frozenset[Rule], frozenset[Rule]]]:
    """By switch: the rules of leases and homes that go, and those that come."""
    leases = [event.lease for event in events if isinstance(event, LeaseChanged)]
    keys = {lease.key for lease in leases if not _renewed(lease, before, after)}
    going, coming = (
        borrowed_rules(
            world.plan,
            [world.leases[key] for key in keys if key in world.leases],
            {at: world.homes[at].pop for at, _ in keys if at in world.homes},
        )
        for world in (before, after)
    )
    none: frozenset[Rule] = frozenset()
    return {
        name: (
            going.get(name, none) - coming.get(name, none),
            coming.get(name, none) - going.get(name, none),
        )
        for name in sorted(going.keys() | coming.keys())
    }


def _renewed(lease: Lease, before: World, after: World) -> bool:
    """Whether a lease has got more time, and nothing else has changed that rules depend on."""
    old, new = before.leases.get(lease.key), after.leases.get(lease.key)
    return old is not None and new is not None and old.number == new.number


def _turns(before: World, after: World) -> Mapping[str, int]:
    """When switches follow a change of links, lower first; all at once if nothing is said.

    Without failover what went over a dead link is lost until they have: better all at once.
    """
    if before.down == after.down or not after.plan.network.failover:
        return {}
    fabric = [link for link in after.plan.links if link.kind in FABRIC]
    went = [link for link in fabric if before.is_up(link) and not after.is_up(link)]
    came = [link for link in fabric if after.is_up(link) and not before.is_up(link)]
    if went and not came:
        return {name: -far for name, far in distances(before, went).items()}
    return distances(after, came) if came and not went else {}


def _phases(steps: Mapping[str, list[Change]], turns: Mapping[str, int]) -> Iterator[Phase]:
    busy = {name: tuple(changed) for name, changed in steps.items() if changed}
    if len(busy) == 1:
        yield busy
        return
    phases: defaultdict[tuple[int, int], defaultdict[str, list[Change]]]
    phases = defaultdict(lambda: defaultdict(list))
    for name, changed in busy.items():
        for change in changed:
            place = _place(change)
            turn = turns.get(name, 0) if place == PATHS else 0
            phases[place, turn][name].append(change)
    for _, phase in sorted(phases.items()):
        yield {name: tuple(part) for name, part in phase.items()}


CLOSE, PATHS, OPEN = range(3)
"""The places of phases."""


def _place(change: Change) -> int:
    """The place of a change's phase."""
    match change:
        case DeleteRule(rule) if duty_of(rule.cookie) is Duty.ADMIT_LEASE:
            return CLOSE
        case AddRule(rule) | ModifyRule(rule) if duty_of(rule.cookie) is Duty.ADMIT_LEASE:
            return OPEN
    return PATHS
