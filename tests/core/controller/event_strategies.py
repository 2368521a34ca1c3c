"""Hypothesis strategies: what may happen to a network, as its book and its switches would tell."""

from __future__ import annotations

from functools import partial

from hypothesis import strategies as st

from controller.core.events import (
    BalancingSet,
    CityConverged,
    CityHeld,
    CityMoved,
    CitySettled,
    Event,
    HealthSeen,
    HealthSet,
    LeaseChanged,
    MetricSet,
    OverrideSet,
    PolicySet,
    PopSet,
    PopSettled,
    PopState,
    PortStatus,
    PrependSet,
    ScopeSet,
    ServiceSet,
    ShareSet,
    ShedSet,
    WeightSet,
)
from controller.core.lease import LendingError, Terms, Transition
from controller.core.lending import Book
from controller.core.world import FABRIC
from topologies.model import Balancing, Policy, Scope
from topologies.plan import HostRole, Plan

TERMS = Terms(lifetime_ns=12, quarantine_ns=6, sets_per_server=1000)


def settings_of(plan: Plan, *unwanted: type[Event]) -> st.SearchStrategy[Event]:
    """Events that are about no lease, of all kinds but some."""
    pops = st.sampled_from([edge.city for edge in plan.edges])
    cities = st.sampled_from([city.code for city in plan.network.cities])
    servers = st.sampled_from([server.name for server in plan.hosts_of(HostRole.SERVER)])
    ports = [
        (switch.name, port)
        for switch in plan.switches
        for link in plan.links_of(switch.name)
        if (port := link.near(switch.name).port) is not None
    ]
    kinds: dict[type[Event], st.SearchStrategy[Event]] = {
        PolicySet: st.builds(PolicySet, st.sampled_from(Policy)),
        OverrideSet: st.builds(OverrideSet, cities, st.none() | pops),
        PopSet: st.builds(PopSet, pops, st.sampled_from(PopState)),
        ServiceSet: st.builds(
            ServiceSet, st.sampled_from(plan.network.services), pops, st.booleans()
        ),
        ShareSet: st.builds(ShareSet, pops, st.integers(0, 3)),
        PrependSet: st.builds(PrependSet, pops, st.integers(0, 3)),
        ScopeSet: st.builds(ScopeSet, pops, st.sampled_from(Scope)),
        ShedSet: st.builds(ShedSet, cities, pops, st.booleans()),
        CityMoved: st.builds(CityMoved, cities, pops),
        CityHeld: st.builds(CityHeld, cities, st.lists(pops, max_size=3, unique=True).map(tuple)),
        CityConverged: st.builds(CityConverged, cities),
        CitySettled: st.builds(CitySettled, cities),
        PopSettled: st.builds(PopSettled, pops),
        BalancingSet: st.builds(BalancingSet, st.sampled_from(Balancing), st.booleans()),
        WeightSet: st.builds(WeightSet, servers, st.integers(0, 3)),
        HealthSeen: st.builds(HealthSeen, servers, st.booleans()),
        HealthSet: st.builds(HealthSet, servers, st.booleans()),
        PortStatus: st.sampled_from(ports).flatmap(
            lambda at: st.builds(PortStatus, st.just(at[0]), st.just(at[1]), st.booleans())
        ),
    }
    fabric = [link.number for link in plan.links if link.kind in FABRIC]
    if fabric:
        delays = st.none() | st.integers(0, 10**9)
        kinds[MetricSet] = st.builds(MetricSet, st.sampled_from(fabric), delays)
    return st.one_of([made for kind, made in kinds.items() if kind not in unwanted])


@st.composite
def histories(draw: st.DrawFn, plan: Plan) -> tuple[Event, ...]:
    """Events in an order that is possible: leases come and go as the book says."""
    book = Book(plan.network.pools, plan.network.port_set_bits, TERMS)
    servers = st.sampled_from(plan.hosts_of(HostRole.SERVER))
    found: list[Event] = []
    now = 0
    pops = tuple(edge.city for edge in plan.edges)
    verbs = st.sampled_from(["lend", "lend", "end", "move", "wait", "set"])
    for verb in draw(st.lists(verbs, max_size=12)):
        if verb == "set":
            found.append(draw(settings_of(plan)))
            continue
        decided: tuple[Transition, ...] = ()
        try:
            if verb == "lend":
                server = draw(servers)
                lend = partial(book.acquire, server.name, server.city, now)
                tag, client_id = plan.network.pools[0].tag, draw(st.sampled_from("abc"))
                bits = draw(st.sampled_from([None, None, 0, 3, 12]))
                decided = (lend(tag, psid_bits=bits, client_id=client_id, abroad=pops),)
            elif verb == "wait":
                now += draw(st.integers(1, 12))
                decided = book.expire(now)
            elif book.live():
                lease = draw(st.sampled_from(book.live()))
                if verb == "end":
                    decided = (book.revoke(*lease.key, now),)
                else:
                    heir, later = draw(servers), draw(st.none() | st.integers(0, 6))
                    until = None if later is None else now + later
                    decided = (book.move(*lease.key, heir.name, heir.city, now, until),)
        except LendingError:
            continue
        book.apply(*decided)
        found += [LeaseChanged(transition.after) for transition in decided]
    return tuple(found)
