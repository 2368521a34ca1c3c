from dataclasses import replace

from hypothesis import given, settings

from controller.core.steering import nearest
from controller.core.steering.ranking import Pops
from controller.core.world import World
from tests.core.topologies.network_strategies import networks
from topologies import paths
from topologies.model import Attachment, City, Line, Link, Network, Pop
from topologies.plan import Plan, plan


@given(networks())
@settings(max_examples=30)
def test_every_city_ranks_every_pop_by_the_models_delay(network: Network) -> None:
    p = plan(network)
    ranking = nearest(World(p), _pops(p))
    assert list(ranking) == [city.code for city in network.cities]
    for city, pops in ranking.items():
        delays = paths.service_delays(p, city)
        assert sorted(pops) == sorted(delays)
        assert [delays[pop] for pop in pops] == sorted(delays.values())


def _pops(p: Plan) -> Pops:
    return tuple(edge.city for edge in p.edges)


def _nearest(network: Network) -> Pops:
    p = plan(network)
    return nearest(World(p), _pops(p))["M"]


def _star(delays: dict[str, int], hub_to: str | None = None) -> Network:
    """A hub M, and a PoP at the end of each ray."""
    cities = tuple(City(code, code, 0, 0) for code in ("M", "X", *delays))
    links = [Link("M", "X", Line(0))]
    links += [Link("X" if code == hub_to else "M", code, Line(d)) for code, d in delays.items()]
    pops = tuple(Pop(code, 1, Line(0)) for code in delays)
    return Network("star", cities, tuple(links), pops, (Attachment("M"),), ())


def test_equal_delay_goes_to_fewer_hops_then_to_the_lower_number() -> None:
    # A stands behind X, one hop more; B and C are equal, B is numbered first.
    assert _nearest(_star({"A": 5, "B": 5, "C": 5}, hub_to="A")) == ("B", "C", "A")


def test_a_slow_uplink_counts() -> None:
    network = _star({"A": 5, "B": 6})
    slow = replace(network, pops=(replace(network.pops[0], uplink=Line(2)), network.pops[1]))
    assert _nearest(network) == ("A", "B")
    assert _nearest(slow) == ("B", "A")
