"""What an attack does to PoPs' uplinks, in closed form.

A queue that overflows loses the same share of all that arrives at random times, whoever sent it:
what is offered beyond the rate. Over the catchments of anycast the loads add up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from experiments.runs.spec import Spec
from experiments.verdict.oracle import Oracle
from topologies import paths
from topologies.plan import HostRole, Plan

PAYLOAD, REQUEST = 500, 56
"""Bytes that an attacker's datagram holds, and a request."""

_HEADERS = 14 + 20 + 8  # Ethernet, IPv4, UDP
FRAME_BITS, REQUEST_BITS = 8 * (PAYLOAD + _HEADERS), 8 * (REQUEST + _HEADERS)
"""The same as an uplink counts them."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to be attacked: by anycast or at one server, and what stands in the way."""

    name: str
    anycast: bool = True
    attacked: bool = True
    limited: bool = True
    withdrawn: bool = False
    lent: bool = False
    """The attack goes to a borrowed address of the victim's, while clients ask the service."""
    moved: bool = False
    """What is lent has gone to the target."""


QUIET, UNICAST = Arm("quiet", attacked=False), Arm("unicast", anycast=False)
ANYCAST, WITHDRAWN = Arm("anycast"), Arm("withdrawn", withdrawn=True)
LENT, MOVED = Arm("lent", lent=True), Arm("moved", lent=True, moved=True)
UNLIMITED = Arm("unlimited", anycast=False, limited=False)
ARMS = (QUIET, UNICAST, ANYCAST, WITHDRAWN, LENT, MOVED, UNLIMITED)
"""``quiet`` and ``unlimited``, where no uplink has a rate, are the controls."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent over an uplink: packets a second, and bits as a share of its rate.

    ``lost`` is the share of it that is lost. It is the same for all packets unless they are
    ``paced``: what has been through another full uplink comes in step with this one, and takes
    each place in the queue as it gets free (phase effects; Floyd and Jacobson, 1992).
    """

    requests_s: float
    attack_s: float
    offered: float
    lost: float
    paced: bool = False


def target(oracle: Oracle) -> str:
    """The PoP that most clients are nearest to: there the attack is strongest."""
    return oracle.clients_by_pop().most_common(1)[0][0]


def victim(oracle: Oracle) -> str:
    """The PoP that fewest clients are nearest to, and not the target: it lends an address."""
    full, near = target(oracle), oracle.clients_by_pop()
    return min((pop for pop in oracle.pops if pop != full), key=lambda pop: near[pop])


def attack(oracle: Oracle, spec: Spec) -> dict[str, float]:
    """By attacker, one beside each client: datagrams a second.

    Those that are nearest to the target send, together, ``strength`` times the rate of an uplink;
    any other one ``elsewhere`` times as much as one of those.
    """
    full = target(oracle)
    clients = [client.name for client in oracle.plan.hosts_of(HostRole.CLIENT)]
    near = {client for client in clients if oracle.nearest_pops(client)[0] == full}
    one = spec.number("strength") * rate_bit_s(spec) / FRAME_BITS / len(near)
    far = one * spec.number("elsewhere")
    return {client: one if client in near else far for client in clients}


def rate_bit_s(spec: Spec) -> int:
    """What each uplink carries."""
    return round(spec.number("rate_mbit_s") * 1e6)


def lost_share(offered: float) -> float:
    """What a link loses of what is offered, which is given as a share of its rate."""
    return max(0.0, 1 - 1 / offered) if offered > 0 else 0.0


def loads(oracle: Oracle, spec: Spec, arm: Arm, homes: Mapping[str, str]) -> dict[str, Load]:
    """By PoP: what goes over its uplink, if ``homes`` is where each client and attacker goes.

    Without a rate nothing is lost. What goes to a borrowed address lands like all else, and what
    is left of it goes on to the borrower: by that PoP's uplink too, unless the backbone has it.
    """
    landed = _landing(oracle, spec, arm, homes, {})
    if not arm.lent:
        return landed
    holder = target(oracle) if arm.moved else victim(oracle)
    coming = [
        load
        for pop, load in landed.items()
        if pop != holder and _by_uplink(oracle.plan, pop, holder)
    ]
    left = sum(load.attack_s * (1 - load.lost) for load in coming)
    all_there = _landing(oracle, spec, arm, homes, {holder: left})
    paced = all_there[holder].lost > 0 and any(load.lost > 0 for load in coming)
    return all_there | {holder: replace(all_there[holder], paced=paced)}


def _by_uplink(made: Plan, landing: str, home: str) -> bool:
    """Whether what has landed in a PoP comes home by the uplink: from the home's city."""
    way = paths.label_route(made, made.edge(landing).name, home)
    return way[-2] == made.transit(home).name


def _landing(
    oracle: Oracle,
    spec: Spec,
    arm: Arm,
    homes: Mapping[str, str],
    besides_s: Mapping[str, float],
) -> dict[str, Load]:
    """As ``loads``, where nothing goes on; ``besides_s`` more of the attack comes, by PoP."""
    shots = attack(oracle, spec)
    one = spec.number("requests_per_s") / len(shots)
    found = {}
    for pop in oracle.pops:
        here = [client for client, home in homes.items() if home == pop]
        requests_s = one * len(here)
        attack_s = besides_s.get(pop, 0.0)
        attack_s += sum(shots[client] for client in here) if arm.attacked else 0.0
        offered = (requests_s * REQUEST_BITS + attack_s * FRAME_BITS) / rate_bit_s(spec)
        lost = lost_share(offered) if arm.limited else 0.0
        found[pop] = Load(requests_s, attack_s, offered, lost)
    return found


def idle_rtt_ms(oracle: Oracle, spec: Spec, arm: Arm, client: str, server: str) -> float:
    """A request's round trip without a queue: shortest paths, and its time at the uplink's rate."""
    own = REQUEST_BITS / rate_bit_s(spec) * 1000 if arm.limited else 0.0
    return oracle.rtt_ms(client, server) + own
