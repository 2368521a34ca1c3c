"""The policy bgp beside FRR's speakers, in a guest: see ``test_speakers.py``.

On random networks that change, both must choose the same PoP for every city, over the same
networks. Prints a JSON object for each state that is compared, ``{"compared": ROUTERS, "differ":
[SENTENCE, ...]}``.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from benchmarks.ases import network
from controller.core.announcing import announcements
from controller.core.events import Event, PopSet, PopState, PrependSet, ScopeSet
from controller.core.steering import vectorised
from controller.core.steering.bgp import OURS, routes
from controller.core.steering.bgp import Route as Modelled
from controller.core.steering.vectorised import Sites
from controller.core.world import World
from tests.core.topologies.network_strategies import networks
from topologies.emulation import netns, routers, rtnetlink, vty, wiring
from topologies.emulation import speakers as emulated
from topologies.emulation.rtnetlink import CableEnd, Netlink
from topologies.emulation.speakers import Route, Speakers
from topologies.internet.generate import generate
from topologies.model import Network, Policy, Scope, Timers, Upstream
from topologies.plan import (
    HostRole,
    LinkKind,
    LinkPlan,
    Plan,
    plan,
    router_mac,
    speaker_name,
)
from topologies.speakers import US, changed, numbers, speakers

REST_S = 15.0
"""Nothing changes for so long: BGP has come to rest. A session that was lost is back by then."""
LOOK_S, LONGEST_S = 5.0, 120.0
LOGS = Path("logs")


SPOKEN = (LinkKind.TRANSIT, LinkKind.UPLINK)
"""Links over which BGP is spoken."""


def tidy(network: Network) -> Network:
    """With BGP, and delays in whole microseconds, the unit of a kernel's metric."""

    def link(x):  # type: ignore[no-untyped-def]
        return replace(x, line=replace(x.line, delay_ns=x.line.delay_ns // 1000 * 1000))

    links = tuple(map(link, network.links))
    return replace(network, links=links, upstream=Upstream.BGP, steering=Policy.BGP)


def wire(made: Plan) -> None:
    """Routers and PoPs' speakers, with plain cables between them and no switch."""
    names = [x.name for x in (*made.routers, *made.hosts_of(HostRole.SPEAKER))]
    for name in names:
        netns.create(name)
        with netns.inside(name):
            wiring.raise_loopback()
    with wiring.open_namespaces(names) as there, Netlink() as here:
        for link in (link for link in made.links if link.kind in SPOKEN):
            a = CableEnd(link.a.interface, there.get(link.a.node), router_mac(link, link.a))
            if link.kind is LinkKind.UPLINK:
                speaker = made.speaker(made.switch(link.a.node).city)
                assert speaker is not None
                a = CableEnd("eth0", there[speaker.name], speaker.mac)
            b = CableEnd(link.b.interface, there[link.b.node], router_mac(link, link.b))
            here.send([rtnetlink.cable(a, b)])


def bare(made: Plan) -> Plan:
    """The plan without hosts other than speakers, whose links were never made."""
    links = tuple(link for link in made.links if link.kind in SPOKEN)
    return replace(made, links=links, hosts=made.hosts_of(HostRole.SPEAKER))


@contextmanager
def speaking(made: Plan) -> Iterator[Speakers]:
    """The network's speakers at rest."""
    wire(made)
    routers.configure(bare(made))
    routers.join(made, made.links)
    both = Speakers(speakers(made), LOGS, Timers())
    told = announcements(World(made))
    try:
        both.start({speaker_name(pop): what for pop, what in told.items()})
        until(both.rest(()))
        settle(both)
        yield both
    finally:
        both.stop()
        for x in (*made.routers, *made.hosts_of(HostRole.SPEAKER)):
            subprocess.run(["ip", "netns", "del", x.name], check=True)
        subprocess.run(["rm", "-rf", "/run/speakers"], check=True)


def until(holds) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + LONGEST_S
    while not holds():
        assert time.monotonic() < deadline, "the speakers do not come to an end"
        time.sleep(LOOK_S / 10)


def settle(both: Speakers) -> None:
    """Until no table changes any more."""
    time.sleep(LOOK_S)
    before, since = both.tables(), time.monotonic()
    while time.monotonic() < since + REST_S:
        time.sleep(LOOK_S)
        now = both.tables()
        if now != before:
            before, since = now, time.monotonic()


def changes(made: Plan) -> st.SearchStrategy[Event | LinkPlan]:
    """What may happen: a link breaks or heals; a PoP announces otherwise."""
    pops = st.sampled_from([edge.city for edge in made.edges])
    states = st.sampled_from([PopState.WITHDRAWN, PopState.ANNOUNCED])
    return st.one_of(
        st.builds(PopSet, pops, states),
        st.builds(PrependSet, pops, st.integers(0, 3)),
        st.builds(ScopeSet, pops, st.sampled_from(Scope)),
        st.sampled_from([link for link in made.links if link.kind in SPOKEN]),
    )


def happen(both: Speakers, world: World, change: Event | LinkPlan) -> World:
    """Have it happen in the model and in the network."""
    if isinstance(change, LinkPlan):
        assert change.b.port is not None
        after = replace(world, down=world.down ^ {(change.b.node, change.b.port)})
        set_link(world.plan, change, after.is_up(change))
        routers.join(world.plan, [link for link in world.plan.links if after.is_up(link)])
        return after
    after = world.after(change)
    before, now = announcements(world)[change.pop], announcements(after)[change.pop]
    vty.say(speaker_name(change.pop), *changed(before, now))
    return after


def set_link(made: Plan, link: LinkPlan, up: bool) -> None:
    """Pull or plug a cable: both ends see it at once."""
    change = rtnetlink.up if up else rtnetlink.down
    with netns.inside(link.b.node), Netlink() as own:
        own.send([change(link.b.interface)])
    if link.kind is LinkKind.TRANSIT:
        with netns.inside(link.a.node), Netlink() as own:
            own.send([change(link.a.interface)])
    if up:
        routers.restore(bare(made), link)


def differences(both: Speakers, world: World) -> Iterator[str]:
    """Every router that does not choose as the policy says."""
    made = world.plan
    pops = tuple(
        edge.city for edge in made.edges if world.pop_state(edge.city) is not PopState.WITHDRAWN
    )
    model = routes(world, pops)
    for prefix in made.service_prefixes(4):
        assert isinstance(prefix, IPv4Network)
        found = both.routes(prefix)
        for transit in made.transits:
            spoken = next((x for x in found[transit.name] if x.best), None)
            wanted = next(iter(model[transit.city]), None)
            if chosen(spoken) != modelled(made, wanted):
                yield f"{transit.city}: {spoken} is spoken, {wanted} modelled"


def chosen(route: Route | None) -> tuple[int, tuple[int, ...]] | None:
    return None if route is None else (route.pop, route.path)


def modelled(made: Plan, route: Modelled | None) -> tuple[int, tuple[int, ...]] | None:
    if route is None:
        return None
    of = numbers(made)
    asn = {made.network.city(t.city).network: of[t.name] for t in made.transits} | {OURS: US}
    return route.number, tuple(asn[name] for name in route.path)


def three(number: int, ases: int, count: int) -> None:
    """Compare FRR, the policy, and the policy on arrays, on a generated Internet with sites."""
    LOGS.mkdir(exist_ok=True)
    internet = generate(ases, number)
    rng = np.random.default_rng(number)
    at = np.sort(rng.choice(ases, count, replace=False)).astype(np.int32)
    sites = Sites(at, np.zeros(count, np.int32), (Scope.ALL,) * count, np.ones(count, np.bool_))
    drawn = replace(network(internet, sites), upstream=Upstream.BGP, steering=Policy.BGP)
    world = World(plan(drawn))
    arrays = vectorised.routes(internet, sites)
    with speaking(world.plan) as both:
        differ = list(differences(both, world))
        (prefix,) = world.plan.service_prefixes(4)
        assert isinstance(prefix, IPv4Network)
        for name, known in both.routes(prefix).items():
            if name in {router.name for router in world.plan.routers}:
                node = int(world.plan.switch(name).city[1:])
                pop = next((route.pop for route in known if route.best), 0)
                if pop != int(arrays.site[node]) + 1:
                    differ.append(
                        f"AS {node}: PoP {pop} is spoken, {arrays.site[node] + 1} by arrays"
                    )
        print(json.dumps({"compared": ases, "differ": differ}), flush=True)


def leak() -> None:
    """Have every router tell everybody everything."""
    usual = emulated.configuration

    def leaky(*words: Any, **named: Any) -> str:
        return usual(*words, **named).replace(" match community OF-CUSTOMERS\n", "")

    emulated.configuration = leaky


def main(number: int, count: int, most: int, leaks: int = 0) -> None:
    """Compare so many networks as they begin, and after each of so many changes."""
    LOGS.mkdir(exist_ok=True)
    if leaks:
        leak()

    @seed(number)
    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(networks(max_cities=8).map(tidy), st.data())
    def compare(drawn: Network, data: st.DataObject) -> None:
        made = plan(drawn)
        world = World(made)
        with speaking(made) as both:
            say(both, world, "as it begins")
            for _ in range(most):
                change = data.draw(changes(made))
                world = happen(both, world, change)
                settle(both)
                say(both, world, str(change))

    def say(both: Speakers, world: World, after: str) -> None:
        differ = [f"after {after}: {text}" for text in differences(both, world)]
        print(json.dumps({"compared": len(world.plan.transits), "differ": differ}), flush=True)

    compare()
