"""No step of any change gives a borrowed packet to a server that does not hold its port."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.change import Configuration, advance
from controller.core.events import LeaseChanged
from controller.core.lease import Lease
from controller.core.world import World
from tests.core.controller.event_strategies import histories
from tests.core.topologies.network_strategies import networks
from tests.fakes.network import FakeNetwork, Fate, frame, reply
from topologies.model import Network
from topologies.plan import HostRole, plan


@given(networks(max_cities=4), st.data())
@settings(max_examples=25)
def test_at_every_step_of_every_change(network: Network, data: st.DataObject) -> None:
    """Within a phase the switches go in any order, each with its whole part at once."""
    p = plan(network)
    history = data.draw(histories(p))
    now = Configuration.of(World(p))
    fake = FakeNetwork(p, now.programs())
    for event in history:
        before = now
        now, phases = advance(before, event)
        lent = [lease for w in (before.world, now.world) for lease in w.leases.values()]
        for phase in phases:
            for name in data.draw(st.permutations(sorted(phase))):
                fake.switches[name].apply(phase[name])
                _check_holders(fake, lent)
                if isinstance(event, LeaseChanged) and not now.world.down:
                    _check_returns(fake, now, lent)
    assert all(_may_send(fake, lease) for lease in now.world.leases.values())


def _check_holders(fake: FakeNetwork, lent: Sequence[Lease]) -> None:
    """What comes for a port set goes to one who held it before or after the change, or nowhere."""
    hosts = (fake.plan.hosts_of(HostRole.CLIENT)[:1], fake.plan.hosts_of(HostRole.ORIGIN)[:1])
    for sender in itertools.chain(*hosts):
        for lease in lent:
            holders = {other.server for other in lent if _shares_a_port(other, lease)}
            for journey in fake.send(sender, frame(sender, lease.address, dport=lease.last_port)):
                assert journey.fate is Fate.DROPPED or journey.where in holders


def _shares_a_port(one: Lease, other: Lease) -> bool:
    """A set that moved has two holders: before the change, and after it."""
    return one.address == other.address and one.first_port <= other.last_port <= one.last_port


def _check_returns(fake: FakeNetwork, now: Configuration, lent: Sequence[Lease]) -> None:
    """What a server may send is answered, whatever else is under way."""
    for lease in lent:
        for origin in fake.plan.hosts_of(HostRole.ORIGIN):
            if _may_send(fake, lease) and now.ranking[origin.city]:
                out = frame(
                    fake.plan.host(lease.server),
                    origin.address,
                    source=lease.address,
                    sport=lease.first_port,
                )
                there = fake.only(lease.server, out)
                assert there.where == origin.name
                assert fake.only(origin, reply(origin, there.packet)).where == lease.server


def _may_send(fake: FakeNetwork, lease: Lease) -> bool:
    """Whether the source guard lets the holder send."""
    server = fake.plan.host(lease.server)
    packet = frame(server, server.address, source=lease.address, sport=lease.first_port)
    (outcome,) = fake.switches[server.switch].receive(packet, server.port)
    return len(outcome.trail) > 1
