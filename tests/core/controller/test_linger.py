from controller.core.events import CityMoved, CitySettled, PopSettled, WeightSet
from controller.core.linger import Linger
from controller.core.world import World
from topologies.plan import plan
from topologies.sources import load

WORLD = World(plan(load("triangle")))


def test_what_has_not_changed_for_so_long_has_settled() -> None:
    linger = Linger(10)
    world = WORLD.after(WeightSet("LHR-s1", 0))
    assert linger.settled(WORLD, 0) == ()
    assert linger.settled(world, 5) == ()  # seen from now on
    world = world.after(CityMoved("FCO", "LHR"))
    assert linger.settled(world, 14) == ()
    assert linger.settled(world, 15) == (PopSettled("LHR"),)
    world = world.after(PopSettled("LHR"))
    assert linger.settled(world, 23) == ()
    assert linger.settled(world, 24) == (CitySettled("FCO"),)


def test_another_change_is_waited_for_anew() -> None:
    linger = Linger(10)
    world = WORLD.after(WeightSet("LHR-s1", 0))
    linger.settled(world, 0)
    world = world.after(WeightSet("LHR-s1", 3))
    assert linger.settled(world, 9) == ()
    assert linger.settled(world, 18) == ()
    assert linger.settled(world, 19) == (PopSettled("LHR"),)
