"""Every switch is a hop: where a packet's hops run out, and how its sender hears of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.rules import FROM_CONTROLLER, Duty, mac
from tests.core.topologies.network_strategies import networks
from tests.fakes.network import HOPS, ICMP, ICMP6, IPV4, IPV6, Fate, Journey, frame
from tests.fakes.world import FakeWorld, world
from topologies import family as families
from topologies.model import Network
from topologies.plan import GATEWAY_MAC, HostPlan, SwitchPlan
from topologies.sources import load


@given(networks(max_cities=5), st.data())
@settings(max_examples=25)
def test_each_switch_on_the_way_is_a_hop_of_it(network: Network, data: st.DataObject) -> None:
    w = world(network)
    for host, target, more in _asked(w, data):
        whole = w.network.only(host, frame(host, target, slot=1, **more))
        assert whole.fate is Fate.DELIVERED
        assert whole.packet["ip_ttl"] == HOPS - len(whole.hops)
        for hops, where in enumerate(whole.hops, 1):
            there = w.network.only(host, frame(host, target, slot=1, ip_ttl=hops, **more))
            assert (there.fate, there.where) == (Fate.PUNTED, where)
            assert there.packet["ip_ttl"] == 1
            _check_answer(w, w.plan.switch(where), host, there)
        enough = len(whole.hops) + 1
        last = w.network.only(host, frame(host, target, slot=1, ip_ttl=enough, **more))
        assert (last.fate, last.packet["ip_ttl"]) == (Fate.DELIVERED, 1)


def _asked(w: FakeWorld, data: st.DataObject) -> Iterator[tuple[HostPlan, Any, dict[str, Any]]]:
    """Who sends what where: to services, to hosts by both families, and from what is borrowed."""
    if not all(w.ranking.values()):
        return
    for client in w.clients:
        yield client, data.draw(st.sampled_from(w.plan.services(4))), {}
        yield client, data.draw(st.sampled_from(w.plan.services(6))), {}
        other = data.draw(st.sampled_from([*w.clients, *w.origins, *w.servers]))
        if other is not client:
            yield client, other.at(data.draw(st.sampled_from(families.FAMILIES))), {}
    for server in w.servers:
        lease = w.lent[server.name]
        for origin in w.origins:
            yield server, origin.address, {"source": lease.address, "sport": lease.first_port}


def _check_answer(w: FakeWorld, switch: SwitchPlan, host: HostPlan, there: Journey) -> None:
    """What the controller lets the switch say comes to the sender, or to who knows the borrower."""
    six = there.packet["eth_type"] == IPV6
    name = "ipv6" if six else "ipv4"
    ours = families.address(switch.address, 6 if six else 4)
    said = {
        "eth_src": mac(GATEWAY_MAC),
        "eth_dst": mac(GATEWAY_MAC),
        "eth_type": IPV6 if six else IPV4,
        "ip_ttl": HOPS,
        "ip_proto": ICMP6 if six else ICMP,
        f"{name}_src": int(ours),
        f"{name}_dst": there.packet[f"{name}_src"],
    }
    if not six:
        said |= {"icmpv4_type": 11, "icmpv4_code": 0}
    back = w.network.resume((switch.name, FROM_CONTROLLER, tuple(sorted(said.items()))))
    assert back.trail[0].cookie >> 32 & 0xFF == Duty.EXCEEDED
    if there.packet[f"{name}_src"] == int(host.at(6 if six else 4)):
        assert (back.fate, back.where) == (Fate.DELIVERED, host.name)
    else:
        assert (back.fate, back.duty) == (Fate.PUNTED, Duty.ICMP)


def test_nobody_but_the_controller_speaks_for_a_switch() -> None:
    w = world(load("triangle"))
    client, other = w.clients[:2]
    forged = frame(client, other.address, source=w.plan.switch(other.switch).address, protocol=ICMP)
    journey = w.network.only(client, forged | {"icmpv4_type": 11})
    assert (journey.fate, journey.duty) == (Fate.DROPPED, Duty.SPOOF)
