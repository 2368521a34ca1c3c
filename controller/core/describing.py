"""World and leases as plain data for JSON: what doors tell, and what playback makes again."""

from __future__ import annotations

from typing import Any

from controller.core.lease import Lease
from controller.core.steering import Ranking
from controller.core.world import World
from topologies.plan import HostRole

__all__ = ["describe_lease", "describe_world"]


def describe_lease(lease: Lease) -> dict[str, Any]:
    """A lease as people see it, but for its end."""
    return {
        "address": str(lease.address),
        "psid": lease.psid,
        "psid_bits": lease.psid_bits,
        "first_port": lease.first_port,
        "last_port": lease.last_port,
        "server": lease.server,
        "pop": lease.pop,
        "home": lease.home,
        "tag": lease.tag,
        "client_id": lease.client_id,
        "state": lease.state.value,
        "number": lease.number,
        "heir": lease.heir,
    }


def describe_world(now: World, ranking: Ranking) -> dict[str, Any]:
    """What steers: policy, overrides, PoPs, ranking, servers, ports, metrics."""
    plan = now.plan
    return {
        "policy": now.policy.value,
        "balancing": now.balancing.value,
        "second_chance": now.second_chance,
        "former": {pop: [dict(x.weights) for x in spreads] for pop, spreads in now.former.items()},
        "held": {city: list(pops) for city, pops in sorted(now.held.items())},
        "trails": {city: list(pops) for city, pops in sorted(now.trails.items())},
        "overrides": dict(sorted(now.overrides.items())),
        "pops": {edge.city: now.pop_state(edge.city).value for edge in plan.edges},
        "shares": {edge.city: now.share(edge.city) for edge in plan.edges},
        "prepends": {edge.city: now.prepend(edge.city) for edge in plan.edges},
        "scopes": {edge.city: now.scope(edge.city).value for edge in plan.edges},
        "withheld": [f"{service} at {pop}" for service, pop in sorted(now.withheld)],
        "shed": [f"{city} from {pop}" for city, pop in sorted(now.shed)],
        "ranking": {city: list(pops) for city, pops in ranking.items()},
        "servers": {s.name: now.weight(s.name) for s in plan.hosts_of(HostRole.SERVER)},
        "sick": sorted(now.sick),
        "silent": sorted(now.silent),
        "down": [f"{switch} port {port}" for switch, port in sorted(now.down)],
        "metrics": {str(link): delay_ns for link, delay_ns in sorted(now.metrics.items())},
    }
