"""What is to be seen of a lab: one small JSON value, made from what the lab says of itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.control.screen import View
from experiments.control.words import lease_name, link_name
from topologies.model import SYSTEM_PORTS, Policy
from topologies.plan import LinkKind, LinkPlan, Plan

__all__ = [
    "KILLED",
    "MAPPED",
    "NO_CARRIER",
    "SERVING",
    "SICK",
    "SILENT",
    "UP",
    "Told",
    "announced",
    "state",
]

State = dict[str, Any]

MAPPED = frozenset({LinkKind.TRANSIT, LinkKind.BACKBONE})
"""The kinds of links that are drawn: those between cities, and between PoPs."""

_KINDS = {LinkKind.TRANSIT: "link", LinkKind.BACKBONE: "backbone", LinkKind.UPLINK: "uplink"}

UP, CUT, SILENT, NO_CARRIER = "up", "cut", "silent", "no carrier"
"""What a link is: its cable was pulled, or it loses everything and tells nobody, or a switch at
its end has no carrier though nobody pulled the cable."""

SERVING, SICK, KILLED = "serving", "sick", "killed"
"""What a server is: one that is sick gets no new connections, one that is killed answers nobody."""

PORTS = 1 << 16


@dataclass(frozen=True, slots=True)
class Told:
    """What a lab says at one moment: its view, its links, and the time (Unix, seconds)."""

    view: View
    links: Sequence[Mapping[str, Any]]
    now_s: float


def state(plan: Plan, told: Told) -> State:
    """All that the page shows, but for the log. Nothing in it changes while nothing happens."""
    status, world = told.view.status, told.view.world
    return {
        "network": status["network"],
        "purpose": status["purpose"],
        "ready": status["ready"],
        "fault": status["fault"],
        "policy": world["policy"],
        "policies": [policy.value for policy in Policy],
        "cities": {city: pops[0] if pops else None for city, pops in world["ranking"].items()},
        "pops": [
            _pop(plan, told, edge.city, uplink)
            for edge, uplink in zip(plan.edges, _uplinks(plan, told), strict=True)
        ],
        "links": list(_links(plan, told, MAPPED)),
        "addresses": list(_addresses(told)),
        "servers": list(_servers(plan, told)),
        "floods": [{"target": x, "bit_s": rate} for x, rate in told.view.status["floods"].items()],
    }


def announced(found: State) -> list[str]:
    """The PoPs that announce in a state."""
    return [pop["pop"] for pop in found["pops"] if pop["state"] == "announced"]


def _pop(plan: Plan, told: Told, pop: str, uplink: State) -> State:
    """A PoP: its state, whom it serves, what it has lent, its link to the Internet."""
    world, leases = told.view.world, told.view.leases
    names = [server.name for server in plan.servers_of(pop)]
    switch = told.view.status["switches"].get(plan.edge(pop).name)
    here = [lease for lease in leases if lease["pop"] == pop]
    return {
        "pop": pop,
        "name": plan.network.city(pop).name,
        "state": world["pops"][pop],
        "cities": sorted(city for city, pops in world["ranking"].items() if pops[:1] == [pop]),
        "servers": len(names),
        "serving": sum(world["servers"][name] > 0 for name in names),
        "lent": sum(lease["state"] == "lent" for lease in here),
        "addresses": len({lease["address"] for lease in here}),
        "switch": bool(switch and switch["connected"]),
        "uplink": uplink,
    }


def _servers(plan: Plan, told: Told) -> Iterator[State]:
    """Every server: whether it serves, and what it has borrowed."""
    killed = told.view.status["killed"]
    held: defaultdict[str, list[str]] = defaultdict(list)
    for lease in told.view.leases:
        if lease["state"] == "lent":
            held[lease["server"]].append(lease_name(lease))
    for name, weight in told.view.world["servers"].items():
        yield {
            "server": name,
            "pop": plan.host(name).city,
            "state": KILLED if name in killed else SERVING if weight else SICK,
            "weight": weight,
            "leases": held[name],
        }


def _uplinks(plan: Plan, told: Told) -> Iterator[State]:
    """The uplink of each PoP, in their order."""
    found = {end: link for link in _links(plan, told, {LinkKind.UPLINK}) for end in link["ends"]}
    return (found[edge.city] for edge in plan.edges)


def _links(plan: Plan, told: Told, kinds: Container[LinkKind]) -> Iterator[State]:
    """The links of some kinds. One without delay is a plain cable: carriers alone tell of it."""
    said = {link["link"]: link for link in told.links}
    down = set(told.view.world["down"])
    for link in plan.links:
        if link.kind in kinds:
            found = said.get(link_name(link), {})
            ways = found.get("ways", ())
            delay_ms = round(_most(ways, "delay_ns", link.line.delay_ns) / 1e6, 3)
            loss = _most(ways, "loss", link.line.loss if not ways else 0.0)
            rate = _most(ways, "rate_bit_s", 0 if ways else link.line.rate_bit_s or 0) or None
            yield {
                "link": link_name(link),
                "kind": _KINDS[link.kind],
                "ends": [plan.switch(end.node).city for end in (link.a, link.b)],
                "state": _condition(found, ways, _dark(link, down)),
                "shaped": bool(ways),
                "changed": (delay_ms, loss, rate) != _planned(link),
                "delay_ms": delay_ms,
                "loss": loss,
                "rate_bit_s": rate,
            }


def _planned(link: LinkPlan) -> tuple[float, float, int | None]:
    """Delay (ms), loss and rate (bit/s), as the network has them."""
    return round(link.line.delay_ns / 1e6, 3), link.line.loss, link.line.rate_bit_s


def _condition(found: Mapping[str, Any], ways: Iterable[Mapping[str, Any]], dark: bool) -> str:
    if found.get("cut"):
        return CUT
    if dark:
        return NO_CARRIER
    return SILENT if any(way.get("blackhole") for way in ways) else UP


def _dark(link: LinkPlan, down: set[str]) -> bool:
    """Whether a switch at an end of it says that it has no carrier."""
    return any(f"{end.node} port {end.port}" in down for end in (link.a, link.b))


def _most(ways: Sequence[Mapping[str, Any]], what: str, planned: float) -> float:
    """The larger of both ways; as planned where the lab does not tell."""
    return max((way.get(what) or 0 for way in ways), default=planned)


def _addresses(told: Told) -> Iterator[State]:
    """Every address of which something is lent, as a strip of port sets that are and are not."""
    by_address: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for lease in told.view.leases:
        by_address[lease["address"]].append(lease)
    for address in sorted(by_address, key=lambda text: [int(part) for part in text.split(".")]):
        taken = sorted(by_address[address], key=lambda lease: lease["first_port"])
        first = taken[0]
        yield {
            "address": address,
            "tag": first["tag"],
            "home": first["home"],
            "sets": list(_strip(taken, told.now_s)),
        }


def _strip(taken: Iterable[Mapping[str, Any]], now_s: float) -> Iterator[State]:
    """All ports of an address in order: sets that somebody has, and what is free between."""
    at = SYSTEM_PORTS
    for lease in taken:
        if lease["first_port"] > at:
            yield _free(at, lease["first_port"] - 1)
        yield _set(lease, now_s)
        at = lease["last_port"] + 1
    if at < PORTS:
        yield _free(at, PORTS - 1)


def _free(first: int, last: int) -> State:
    return {"first": first, "last": last, "state": "free"}


def _set(lease: Mapping[str, Any], now_s: float) -> State:
    """A port set that is not free. Who holds it renews it, so only other ends are told."""
    ends = lease["state"] != "lent"
    return {
        "first": lease["first_port"],
        "last": lease["last_port"],
        "state": lease["state"],
        "lease": lease_name(lease),
        "server": lease["server"],
        "pop": lease["pop"],
        "heir": lease["heir"],
        "until_s": round(now_s + lease["expires_in_s"]) if ends else None,
    }
