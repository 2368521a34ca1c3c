"""The whole program, its parts, and the ways between programs agree."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.borrowing import borrowed_rules, home_rules, lease_rules
from controller.core.change import Configuration, advance
from controller.core.events import LeaseChanged
from controller.core.lease import LeaseState
from controller.core.pipeline import programs, static_programs
from controller.core.rules import Duty, Rule, duty_of
from controller.core.world import World
from tests.core.controller.event_strategies import histories
from tests.core.topologies.network_strategies import networks
from tests.fakes.network import FakeNetwork
from tests.fakes.world import world
from topologies.model import Network
from topologies.plan import plan
from topologies.sources import load


@given(networks(max_cities=6), st.data())
@settings(max_examples=15)
def test_a_program_is_its_static_part_and_every_leases_part(
    network: Network, data: st.DataObject
) -> None:
    p = plan(network)
    now = World(p).after(*data.draw(histories(p)))
    whole: dict[str, set[Rule]] = {n: set(x.rules) for n, x in static_programs(now).items()}
    parts = [lease_rules(p, lease) for lease in now.leases.values()]
    parts += [home_rules(p, address, home.pop) for address, home in now.homes.items()]
    for part in parts:
        for name, rules in part.items():
            assert not whole[name] & rules
            whole[name] |= rules
    assert whole == {name: set(x.rules) for name, x in programs(now).items()}


@given(networks(max_cities=5), st.data())
@settings(max_examples=25)
def test_whatever_happens_one_by_one_or_at_once_the_switches_hold_the_whole(
    network: Network, data: st.DataObject
) -> None:
    """Phase by phase on fake switches, which refuse what real ones would."""
    p = plan(network)
    history = data.draw(histories(p))
    split = data.draw(st.integers(0, len(history)))
    now = Configuration.of(World(p))
    fake = FakeNetwork(p, now.programs())
    for events in (*((event,) for event in history[:split]), history[split:]):
        now, phases = advance(now, *events)
        for phase in phases:
            fake.apply(phase)
        if data.draw(st.booleans()):
            now = Configuration.of(now.world)  # as after a restart
    assert now.world == World(p).after(*history)
    expected = programs(World(p).after(*history))
    assert {name: s.program for name, s in fake.switches.items()} == expected
    assert now.programs() == expected


@given(networks(max_cities=5), st.data())
@settings(max_examples=15)
def test_from_any_world_to_any_other_and_then_nothing(
    network: Network, data: st.DataObject
) -> None:
    p = plan(network)
    before, after = (World(p).after(*data.draw(histories(p))) for _ in range(2))
    fake = FakeNetwork(p, programs(before))
    fake.reconcile(programs(after))
    assert {n: s.program for n, s in fake.switches.items()} == programs(after)
    assert fake.reconcile(programs(after)) == 0


def test_equal_networks_give_equal_programs() -> None:
    assert programs(world(load("europe")).world) == programs(world(load("europe")).world)


def test_rules_grow_with_leases_as_promised() -> None:
    """A full address: 62 return rules at home, one rule at every other PoP."""
    network = load("triangle")
    pops = (replace(network.pops[0], servers=31), *network.pops[1:])
    w = world(replace(network, pops=pops))
    home, *others = w.plan.edges
    address = w.lent[f"{home.city}-s31"].address
    assert {x.address for x in w.book.live() if x.pop == home.city} == {address}
    counts = {
        name: {
            duty: sum(duty_of(r.cookie) is duty for r in part)
            for duty in (Duty.RETURN, Duty.ADMIT_LEASE, Duty.HOME)
        }
        for name, part in borrowed_rules(
            w.plan,
            [x for x in w.book.live() if x.address == address],
            {address: home.city},
        ).items()
    }
    assert counts == {
        home.name: {Duty.RETURN: 62, Duty.ADMIT_LEASE: 62, Duty.HOME: 0},
        **{e.name: {Duty.RETURN: 0, Duty.ADMIT_LEASE: 0, Duty.HOME: 1} for e in others},
    }


def test_a_lease_touches_nothing_but_its_own_rules() -> None:
    w = world(load("europe"))
    lease = w.lent[w.servers[0].name]
    assert w.decide(w.book.release(lease.server, lease.address, lease.first_port, 0)) == 4


def test_the_phases_of_a_lease_that_comes_and_of_one_that_goes() -> None:
    """Paths before the source guard opens, the guard closed before paths go."""
    w = world(load("triangle"))
    lease = w.lent[w.servers[0].name]
    home = w.servers[0].switch
    others = {edge.name for edge in w.plan.edges} - {home}
    nobody = Configuration.of(World(w.plan))
    now, (paths, guard) = advance(nobody, LeaseChanged(lease))
    assert _duties(paths) == {home: {Duty.RETURN}} | {name: {Duty.HOME} for name in others}
    assert _duties(guard) == {home: {Duty.ADMIT_LEASE}}
    ended = w.book.release(lease.server, lease.address, lease.first_port, 0).after
    _, phases = advance(now, LeaseChanged(ended))
    assert [_duties(phase) for phase in phases] == [{home: {Duty.ADMIT_LEASE, Duty.RETURN}}]
    free = lease._replace(state=LeaseState.FREE)
    _, phases = advance(now, LeaseChanged(free))
    assert [_duties(phase) for phase in phases] == [_duties(guard), _duties(paths)]


def _duties(phase: object) -> dict[str, set[Duty | None]]:
    return {
        name: {duty_of(step.rule.cookie) for step in steps}
        for name, steps in phase.items()  # type: ignore[attr-defined]
    }
