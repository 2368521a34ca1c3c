"""The whole program, its parts, and the ways between programs agree."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.borrowing import borrowed_rules, home_rules, lease_rules
from controller.core.lending import Book, LeaseState
from controller.core.pipeline import programs, static_programs
from controller.core.rules import Duty, Rule, duty_of
from controller.core.state import State
from controller.core.steering import nearest
from tests.core.topologies.network_strategies import networks
from tests.fakes.network import FakeNetwork
from tests.fakes.world import world
from topologies.model import Network
from topologies.plan import HostRole, Plan, plan
from topologies.sources import load


def _some_leases(p: Plan, data: st.DataObject) -> Book:
    """A book after some servers came, and some of them went."""
    book = Book(p.network.pools, p.network.port_set_bits)
    tag = p.network.pools[0].tag
    for server in data.draw(st.lists(st.sampled_from(p.hosts_of(HostRole.SERVER)), max_size=6)):
        decided = book.acquire(server.name, server.city, 0, tag)
        if decided.before is None or decided.before.state is LeaseState.FREE:
            book.apply(decided)
        else:
            book.apply(book.release(server.name, decided.after.address, decided.after.psid, 0))
    return book


@given(networks(max_cities=6), st.data())
@settings(max_examples=15)
def test_a_program_is_its_static_part_and_every_leases_part(
    network: Network, data: st.DataObject
) -> None:
    p = plan(network)
    book = _some_leases(p, data)
    state = State.of(p, nearest(p), book)
    whole: dict[str, set[Rule]] = {n: set(x.rules) for n, x in static_programs(state).items()}
    parts = [lease_rules(p, lease) for lease in book.entries()]
    parts += [home_rules(p, address, pop) for address, pop in book.homes().items()]
    for part in parts:
        for name, rules in part.items():
            assert not whole[name] & rules
            whole[name] |= rules
    assert whole == {name: set(x.rules) for name, x in programs(state).items()}


@given(networks(max_cities=5), st.data())
@settings(max_examples=15)
def test_from_any_state_to_any_other_and_then_nothing(
    network: Network, data: st.DataObject
) -> None:
    p = plan(network)
    ranking = nearest(p)
    before = State.of(p, ranking, _some_leases(p, data))
    weights = {s.name: data.draw(st.integers(0, 2)) for s in p.hosts_of(HostRole.SERVER)}
    after = State.of(p, ranking, _some_leases(p, data), weights)
    fake = FakeNetwork(p, programs(before))
    fake.reconcile(programs(after))
    assert {n: s.program for n, s in fake.switches.items()} == programs(after)
    assert fake.reconcile(programs(after)) == 0


def test_equal_networks_give_equal_programs() -> None:
    assert programs(world(load("europe")).state) == programs(world(load("europe")).state)


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
    server = w.servers[0]
    lease = w.lent[server.name]
    w.book.apply(w.book.release(server.name, lease.address, lease.psid, 0))
    assert w.update(leases=w.book.live(), homes=w.book.homes()) == 4
