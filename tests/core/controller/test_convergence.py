from dataclasses import replace
from statistics import median, quantiles

from controller.core.change import Configuration, follow
from controller.core.convergence import delay_ns
from controller.core.events import (
    CityConverged,
    CityHeld,
    CityMoved,
    Event,
    OverrideSet,
    PopSet,
    PopState,
)
from controller.core.steering import rank
from controller.core.world import World
from topologies.plan import plan
from topologies.sources import load

SECOND = 10**9
SLOW = World(plan(replace(load("europe"), convergence_ns=10 * SECOND)))
WITHDRAWN = PopSet("FRA", PopState.WITHDRAWN)


def moves(before: Configuration, *events: Event) -> tuple[Event, ...]:
    """What follows from these events for cities."""
    return follow(before, *events)[2][len(events) :]


def test_half_follow_within_the_median_and_some_take_much_longer() -> None:
    delays = [delay_ns(f"C{n}", 10 * SECOND) / SECOND for n in range(4000)]
    assert 9.5 < median(delays) < 10.5
    tenths = quantiles(delays, n=100)
    assert 2.8 < tenths[4] < 3.6  # the quickest twentieth
    assert 38 < tenths[97] < 47  # a long tail
    assert delay_ns("LHR", 10 * SECOND) == delay_ns("LHR", 10 * SECOND)


def test_cities_go_on_as_before_until_they_hear() -> None:
    before = Configuration.of(SLOW)
    served = [city for city, pops in before.ranking.items() if pops[0] == "FRA"]
    held = moves(before, WITHDRAWN)
    assert {x.city for x in held if isinstance(x, CityHeld)} == set(before.ranking)  # all rank it
    world = SLOW.after(WITHDRAWN, *held)
    assert rank(world) == before.ranking
    # One hears: it moves, and its connections are looked for where it was; the others stay.
    one = served[0]
    now = Configuration.of(world)
    assert moves(now, CityConverged(one)) == (CityMoved(one, "FRA"),)
    after = world.after(CityConverged(one), CityMoved(one, "FRA"))
    assert rank(after)[one][0] != "FRA"
    assert {city for city, pops in rank(after).items() if pops[0] == "FRA"} == set(served) - {one}
    everybody = world.after(*map(CityConverged, before.ranking))
    assert rank(everybody) == rank(SLOW.after(WITHDRAWN))


def test_what_is_done_by_hand_is_done_at_once() -> None:
    before = Configuration.of(SLOW)
    assert moves(before, OverrideSet("AMS", "ARN")) == (CityMoved("AMS", "LHR"),)


def test_all_at_once_is_the_rule() -> None:
    world = World(plan(load("europe")))
    found = moves(Configuration.of(world), WITHDRAWN)
    assert found
    assert all(isinstance(event, CityMoved) for event in found)
