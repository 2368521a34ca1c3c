"""Shedding: nobody is overloaded who need not be, and nothing moves back and forth."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.events import PolicySet, ShedSet
from controller.core.shedding import HIGH, LOW, Assignment, Meter, decide
from controller.core.steering import rank
from controller.core.world import World
from tests.core.controller.event_strategies import settings_of
from tests.core.topologies.network_strategies import networks
from topologies.model import Network, Policy
from topologies.plan import plan
from topologies.sources import load


def _europe(**capacity: int) -> World:
    network = load("europe")
    pops = tuple(replace(p, capacity_packets_s=capacity.get(p.city)) for p in network.pops)
    return World(plan(replace(network, pops=pops, steering=Policy.CAPACITY)))


def _served(world: World) -> dict[str, str]:
    return {city: ranked[0] for city, ranked in rank(world).items()}


@given(networks(max_cities=8), st.data())
@settings(max_examples=60)
def test_the_same_demand_twice_moves_nothing_the_second_time(
    network: Network, data: st.DataObject
) -> None:
    world = World(plan(replace(network, steering=Policy.CAPACITY)))
    for _ in range(3):
        world = world.after(*data.draw(st.lists(settings_of(world.plan), max_size=3)))
        world = world.after(PolicySet(Policy.CAPACITY))
        rates = st.floats(0, 600, allow_subnormal=False)
        demand = {city.code: data.draw(rates) for city in network.cities}
        before = Assignment(world, demand).loads
        world = world.after(*decide(world, demand))
        assert decide(world, demand) == ()
        after = Assignment(world, demand).loads
        limits = {pop.city: pop.capacity_packets_s for pop in network.pops}
        for pop, limit in limits.items():
            if limit is not None and after[pop] > HIGH * limit:
                assert after[pop] <= before[pop]  # nobody is pushed over the edge


@given(networks(max_cities=8), st.data())
@settings(max_examples=30)
def test_the_loads_are_those_of_the_ranking(network: Network, data: st.DataObject) -> None:
    world = World(plan(replace(network, steering=Policy.CAPACITY)))
    codes = st.sampled_from([city.code for city in network.cities])
    pops = st.sampled_from([pop.city for pop in network.pops])
    world = world.after(*data.draw(st.lists(st.builds(ShedSet, codes, pops, st.just(True)))))
    demand = {city.code: float(n) for n, city in enumerate(network.cities, 1)}
    expected = dict.fromkeys((pop.city for pop in network.pops), 0.0)
    for city, pop in _served(world).items():
        expected[pop] += demand[city]
    assert Assignment(world, demand).loads == expected


def test_a_pop_sheds_the_city_that_loses_least_and_takes_it_back_when_there_is_room() -> None:
    world = _europe(FRA=100)
    near = [city for city, pop in _served(world).items() if pop == "FRA"]
    demand = dict.fromkeys(near, 80 / len(near))
    assert decide(world, demand) == ()  # below the mark
    busy = dict.fromkeys(near, 100 / len(near))
    decided = decide(world, busy)
    assert [(event.pop, event.shed) for event in decided] == [("FRA", True)]
    shed = world.after(*decided)
    assert Assignment(shed, busy).loads["FRA"] <= HIGH * 100
    # Between the marks nothing moves, whichever way the demand came there.
    assert decide(shed, demand) == ()
    quiet = dict.fromkeys(near, LOW * 100 / len(near))
    (back,) = decide(shed, quiet)
    assert (back.city, back.pop, back.shed) == (decided[0].city, "FRA", False)
    assert shed.after(back) == world


def test_what_nobody_has_room_for_stays() -> None:
    world = _europe(LHR=100, FRA=100, MAD=100, ARN=100, FCO=100)
    demand = dict.fromkeys(_served(world), 40.0)
    after = world.after(*decide(world, demand))
    loads = Assignment(after, demand).loads
    assert sum(loads.values()) == 40.0 * len(demand)
    assert loads == Assignment(world, demand).loads  # all are full: to move would help nobody


def test_nothing_is_shed_under_another_policy() -> None:
    world = _europe(FRA=1).after(PolicySet(Policy.NEAREST))
    assert decide(world, dict.fromkeys(_served(world), 100.0)) == ()


def test_a_meter_smooths_and_begins_anew_with_a_counter_that_was_set_back() -> None:
    meter, second = Meter(), 10**9
    meter.read("LHR", 1000, 0)
    assert meter.demand == {}
    meter.read("LHR", 1100, second)
    assert meter.demand == {"LHR": 100.0}
    meter.read("LHR", 1300, 2 * second)
    assert meter.demand == {"LHR": 150.0}
    meter.read("LHR", 50, 3 * second)
    assert meter.demand == {"LHR": 100.0}
