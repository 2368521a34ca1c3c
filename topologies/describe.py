"""A network in tables: rows for people, as text that needs no further formatting."""

from __future__ import annotations

from dataclasses import dataclass

from topologies.family import written
from topologies.model import Line
from topologies.plan import HostRole, LinkKind, Plan, SwitchPlan
from topologies.units import format_rate


@dataclass(frozen=True, slots=True)
class Table:
    """A titled table; every row has as many cells as there are columns."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(plan: Plan) -> list[Table]:
    """Everything worth showing about a network, in reading order."""
    return [pops(plan), links(plan), addresses(plan)]


def pops(plan: Plan) -> Table:
    """One row per PoP."""
    rows = []
    for edge in plan.edges:
        city = plan.network.city(edge.city)
        near = [x for x in plan.links_of(edge.name) if x.kind is LinkKind.BACKBONE]
        peers = ", ".join(plan.switch(link.far(edge.name).node).city for link in near)
        servers = plan.servers_of(edge.city)
        uplink = next(x for x in plan.links_of(edge.name) if x.kind is LinkKind.UPLINK)
        rows.append(
            (edge.city, city.name, str(len(servers)), milliseconds(uplink.line), peers or "-")
        )
    return Table("PoPs", ("PoP", "city", "servers", "uplink", "backbone to"), tuple(rows))


def links(plan: Plan) -> Table:
    """One row per long-haul link and backbone link."""
    rows = []
    for link in plan.links:
        if link.kind in (LinkKind.TRANSIT, LinkKind.BACKBONE):
            ends = [plan.switch(end.node).city for end in (link.a, link.b)]
            rows.append((*ends, link.kind.value, milliseconds(link.line), limits(link.line)))
    return Table("Links", ("from", "to", "kind", "one way", "limits"), tuple(rows))


def addresses(plan: Plan) -> Table:
    """One row per prefix: what it is for and who is in it."""
    network = plan.network
    rows = [(written(prefix), "service", "every server") for prefix in network.service_prefixes]
    for pool in network.pools:
        ports = 65536 >> network.port_set_bits
        each = f"{network.sets_per_address} port sets of {ports} ports per address"
        pieces = f", /{pool.more_specifics} from home" if pool.more_specifics else ""
        rows.append((str(pool.prefix), f"lending pool, tag {pool.tag}{pieces}", each))
    rows += [(str(edge.prefix), f"PoP {edge.city}", _members(plan, edge)) for edge in plan.edges]
    rows += [(str(at.prefix), f"city {at.city}", _members(plan, at)) for at in plan.transits]
    return Table("Addresses", ("prefix", "for", "hosts"), tuple(rows))


def milliseconds(line: Line) -> str:
    """A line's one-way delay, with its jitter if it has any: ``10.98 ms ± 1 ms``."""
    jitter = f" ± {line.jitter_ns / 1e6:.3g} ms" if line.jitter_ns else ""
    return f"{line.delay_ns / 1e6:.2f} ms{jitter}"


def limits(line: Line) -> str:
    """What a line does beside delay: rate, loss, queue; a dash if nothing."""
    found = []
    if line.rate_bit_s is not None:
        found.append(format_rate(line.rate_bit_s))
    if line.loss:
        found.append(f"{line.loss * 100:g} % loss")
    if line.limit_packets is not None:
        found.append(f"{line.limit_packets} packets")
    return ", ".join(found) or "-"


def _members(plan: Plan, switch: SwitchPlan) -> str:
    found = []
    for role in (HostRole.CLIENT, HostRole.SERVER, HostRole.ORIGIN):
        names = [h.name for h in plan.hosts_of(role, switch.city) if h.switch == switch.name]
        if names:
            found.append(names[0] if len(names) == 1 else f"{names[0]} ... {names[-1]}")
    return ", ".join(found) or "-"
