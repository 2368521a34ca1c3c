"""What can a server do with addresses, ports and identities that are not its own?

Every server sends forged frames straight onto its wire, past its own kernel: from other servers'
port sets and addresses, by other MAC addresses, with labels, tags, fragments, false answers of ARP,
DHCP and IPv6 routers. A witness in every host of the network looks for them. None may arrive; what
differs in the one lawful thing must.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.parameters import Parameter
from experiments.study import Borrowed, Evidence, Findings, Study, Trial
from experiments.verdict.controls import counted_at_each_pop
from experiments.verdict.result import Check, Metric
from topologies.plan import GATEWAY_ADDRESS, GATEWAY_ADDRESS6, GATEWAY_MAC, HostPlan, HostRole

if TYPE_CHECKING:
    import pandas as pd

    from experiments.measure.forge import Forged

LAWFUL = ("own port set", "own echo")
"""The twins: frames by the same hands that are right in everything."""

SETTLE_S = 1.0
"""Between the last frame and the witness's last look; the longest way is shorter."""


def trial(t: Trial) -> None:
    """Send every forgery from every server, then the lawful ones, and look who saw what."""
    from experiments.measure import forge
    from experiments.measure.witness import Marked

    before = _lent(t)
    hosts = [host.name for host in t.plan.hosts]
    servers = t.plan.hosts_of(HostRole.SERVER)
    token = t.random.randbytes(8)
    number, sent = 0, {}
    dropped = t.counters()
    with Marked(hosts, token) as witness, t.timed_step(f"{len(servers)} servers forge"):
        for server in servers:
            frames = []
            for attack in _attacks(t, server):
                for _ in range(t.count("frames")):
                    number += 1
                    mark = token + number.to_bytes(4, "big")
                    frames.append(_frame(t, server, attack, mark))
                    sent[number] = (server.name, attack)
            forge.send(server.name, frames)
            time.sleep(t.param("pause_s"))
        time.sleep(SETTLE_S)
        seen = witness.seen()
    for one, (source, attack) in sent.items():
        others = sorted(host for host in seen.get(one, ()) if host != source)
        outcome = "arrived" if others else "dropped"
        row = {"attack": attack, "server": source, "pop": t.plan.host(source).city}
        t.reporter.emit(row | {"outcome": outcome, "seen_by": " ".join(others)})
    t.observed["dropped"] = t.counters_since(dropped)
    t.observed["thefts"] = _steal_names(t, servers)
    t.observed["leases"] = {"before": before, "after": _lent(t)}
    t.observed["own_release"] = _release_own(t, servers[0])


def _lent(t: Trial) -> list[list[Any]]:
    """Who holds what, by the book: server, address, first port, number of the lending."""
    facts = ("server", "address", "first_port", "number")
    return [[x[fact] for fact in facts] for x in t.lab.control.leases() if x["state"] == "lent"]


# -- the forgeries


def _attacks(t: Trial, server: HostPlan) -> Iterator[str]:
    """What this server can try: some need a neighbour, or another PoP."""
    alone = len(t.plan.servers_of(server.city)) == 1
    for attack in (*FORGERIES, *LAWFUL):
        if not (alone and attack in NEED_A_NEIGHBOUR):
            yield attack


def _frame(t: Trial, server: HostPlan, attack: str, mark: bytes) -> bytes:
    from experiments.measure.forge import Forged

    lease = t.leases[server.name]
    origin = t.plan.hosts_of(HostRole.ORIGIN)[0]
    own = Forged(
        eth_src=server.mac,
        eth_dst=GATEWAY_MAC,
        source=IPv4Address(lease.address),
        target=origin.address,
        source_port=t.random.randint(*lease.ports),
        mark=mark,
    )
    return bytes(_forge(t, server, lease, attack, own))


def _forge(t: Trial, server: HostPlan, lease: Borrowed, attack: str, own: Forged) -> bytes:
    """The frame of one attempt, made from the lawful one."""
    from controller.core import labels
    from experiments.measure import forge

    neighbour = _neighbour(t, server)
    match attack:
        case "own port set":
            return own.frame()
        case "own echo":
            return forge.echo(own, lease.last_port)
        case "foreign port set":
            return replace(own, source_port=lease.foreign_port).frame()
        case "system port":
            return replace(own, source_port=443).frame()
        case "foreign address":
            return replace(own, source=t.foreign_address(lease)).frame()
        case "address nobody borrowed":
            return replace(own, source=t.unlent_address()).frame()
        case "neighbour's own address":
            return replace(own, source=neighbour.address).frame()
        case "client's address":
            client = t.plan.hosts_of(HostRole.CLIENT)[0]
            return replace(own, source=client.address).frame()
        case "neighbour's MAC":
            return replace(own, eth_src=neighbour.mac).frame()
        case "straight to a neighbour":
            return replace(own, eth_dst=neighbour.mac, target=neighbour.address).frame()
        case "label":
            there = t.plan.edge(_other_pop(t, server)).number
            label = labels.encode(there).to_bytes(6, "big").hex(":")
            return replace(own, eth_dst=label).frame()
        case "VLAN tag":
            return forge.tagged(own.frame(), 5)
        case "first fragment":
            return forge.fragment(own.frame(), more=True, offset=0)
        case "later fragment":
            return forge.fragment(own.frame(), more=False, offset=2)
        case "false DHCP answer":
            answer = replace(own, source=GATEWAY_ADDRESS, source_port=67, target_port=68)
            return replace(answer, eth_dst=neighbour.mac, target=neighbour.address).frame()
        case "false ARP answer":
            return forge.arp_reply(own, GATEWAY_ADDRESS)
        case "false router advertisement":
            return forge.router_advertisement(own)
        case "false neighbour advertisement":
            return forge.neighbour_advertisement(own, GATEWAY_ADDRESS6)
        case "foreign echo":
            return forge.echo(own, lease.foreign_port)
    raise ValueError(attack)


FORGERIES = (
    "foreign port set",
    "system port",
    "foreign address",
    "address nobody borrowed",
    "neighbour's own address",
    "client's address",
    "neighbour's MAC",
    "straight to a neighbour",
    "label",
    "VLAN tag",
    "first fragment",
    "later fragment",
    "false DHCP answer",
    "false ARP answer",
    "false router advertisement",
    "false neighbour advertisement",
    "foreign echo",
)
NEED_A_NEIGHBOUR = (
    "neighbour's own address",
    "neighbour's MAC",
    "straight to a neighbour",
    "false DHCP answer",
)
COUNTED = ("foreign port set", "system port", "foreign address", "address nobody borrowed")
"""Those that its PoP's switch must count as spoofed, one by one."""


def _neighbour(t: Trial, server: HostPlan) -> HostPlan:
    """Another server of the same PoP; itself where there is none."""
    others = [other for other in t.plan.servers_of(server.city) if other != server]
    return others[0] if others else server


def _other_pop(t: Trial, server: HostPlan) -> str:
    pops = [edge.city for edge in t.plan.edges if edge.city != server.city]
    return pops[0] if pops else server.city


# -- names


def _steal_names(t: Trial, servers: tuple[HostPlan, ...]) -> int:
    """End a neighbour's lease by DHCP, in its name and in one's own; how many tries."""
    tries = 0
    for server in servers:
        victim = _neighbour(t, server)
        if victim is server:
            continue
        theirs = t.leases[victim.name]
        bits = t.plan.network.port_set_bits
        for mac in (victim.mac, server.mac):
            _release(server, mac, IPv4Address(theirs.address), theirs.first_port, bits, "")
            tries += 1
    time.sleep(SETTLE_S)
    return tries


def _release_own(t: Trial, server: HostPlan) -> bool:
    """The twin: whether the same message by the holder ends a lease."""
    lease = t.lab.control.lease_acquire(server.name, client_id=OWN)
    address, first_port = IPv4Address(lease["address"]), lease["first_port"]
    _release(server, server.mac, address, first_port, lease["psid_bits"], OWN)
    time.sleep(SETTLE_S)
    at = (lease["address"], first_port, "quarantined")
    return any((x["address"], x["first_port"], x["state"]) == at for x in t.lab.control.leases())


OWN = "isolation"
"""The client identifier of the lease that its holder ends itself."""


def _release(
    sender: HostPlan, mac: str, address: IPv4Address, first_port: int, bits: int, client_id: str
) -> None:
    """Say by DHCP that a lease is returned, as the client with this MAC address."""
    from controller import dhcp
    from controller.frames import octets
    from experiments.measure.forge import Forged, send

    ports = dhcp.PortParameters(bits, first_port >> (16 - bits))
    options = [(int(dhcp.Option.PORT_PARAMETERS), ports.encode())]
    if client_id:
        name = dhcp.client_identifier(client_id)
        options.append((int(dhcp.Option.CLIENT_ID), name))
    said = dhcp.Message(dhcp.Kind.RELEASE, 1, octets(mac), tuple(options), ciaddr=address)
    everybody = IPv4Address("255.255.255.255")
    whole = Forged(sender.mac, "ff:ff:ff:ff:ff:ff", IPv4Address(0), everybody, 68, 67)
    send(sender.name, [replace(whole, mark=dhcp.build(said)).frame()])


# -- what the evidence says


def evaluate(e: Evidence) -> Findings:
    """By kind of forgery: how many were sent, and how many arrived anywhere."""
    table = attacks_table(e.samples)
    forged = table[~table["attack"].isin(LAWFUL)]
    lawful = table[table["attack"].isin(LAWFUL)]
    through = int(forged["arrived"].sum())
    metrics = {
        "forged": Metric(int(forged["sent"].sum()), "1"),
        "kinds": Metric(len(forged), "1"),
        "got_through": Metric(through, "1"),
        "lawful": Metric(int(lawful["sent"].sum()), "1"),
        "lawful_arrived": Metric(int(lawful["arrived"].sum()), "1"),
        "thefts": Metric(int(e.observed["thefts"]), "1"),
    }
    answer = (
        f"Of {metrics['forged'].value} frames of {len(forged)} kinds that servers forged, {through}"
        " reached anybody."
    )
    return Findings(answer, metrics, _checks(e, table), {"attacks": table})


def attacks_table(samples: pd.DataFrame) -> pd.DataFrame:
    """A row per kind: frames sent, frames that arrived, and who saw the first of them."""
    by_kind = samples.assign(arrived=samples["outcome"] == "arrived").groupby("attack", sort=False)
    table = by_kind["arrived"].agg(sent="size", arrived="sum").reset_index()
    seen = samples[samples["seen_by"] != ""].groupby("attack")["seen_by"].first().to_dict()
    return table.assign(seen_by=[str(seen.get(attack, "")) for attack in table["attack"]])


def _checks(e: Evidence, table: pd.DataFrame) -> tuple[Check, ...]:
    rows = table.set_index("attack")
    forged = [kind for kind in FORGERIES if kind in rows.index]
    through = {kind: int(rows["arrived"][kind]) for kind in forged if rows["arrived"][kind]}
    first = next(iter(through), "")
    detail = f"; first: {first}, at {rows['seen_by'][first]}" if first else ""
    leases = e.observed["leases"]
    return (
        Check(
            "control: no forged frame reaches anybody",
            bool(forged) and not through,
            f"{len(through)} of {len(forged)} kinds{detail}",
        ),
        *(_arrives(kind, rows) for kind in LAWFUL),
        counted_at_each_pop(
            "spoofed frames are counted at every PoP",
            "spoof",
            list(e.samples["pop"][e.samples["attack"].isin(COUNTED)]),
            e.plan,
            e.observed["dropped"],
        ),
        Check(
            "control: nobody ends a lease in another's name",
            bool(leases["before"]) and leases["before"] == leases["after"],
            f"{e.observed['thefts']} tries; {len(leases['before'])} leases before, "
            f"{sum(x in leases['after'] for x in leases['before'])} of them after",
        ),
        Check(
            "twin: its holder ends a lease by the same message",
            bool(e.observed["own_release"]),
            "it went into quarantine" if e.observed["own_release"] else "it is still lent",
        ),
    )


def _arrives(kind: str, rows: pd.DataFrame) -> Check:
    """A twin: every lawful frame was seen to arrive."""
    known = kind in rows.index
    arrived, sent = (int(rows[part][kind]) if known else 0 for part in ("arrived", "sent"))
    return Check(f"twin: its {kind} arrives", 0 < arrived == sent, f"{arrived} of {sent} frames")


def draw(e: Evidence, findings: Findings, folder: Path) -> list[Path]:
    """How many of each kind were sent, and how many arrived."""
    from experiments.show.figures import isolation as figure

    return [figure.draw(findings.tables["attacks"], LAWFUL, folder / "isolation.png")]


STUDY = Study(
    name="isolation",
    question="What can a server do with addresses, ports and names that are not its own?",
    baselines=(),
    controls=(
        "no forged frame of any kind may reach anybody; lawful ones by the same hands do",
        "no lease may end because of what somebody else says in its holder's name",
    ),
    parameters={
        "frames": Parameter(20, 4, "frames of each kind that each server sends", least=1),
        "pause_s": Parameter(0.05, 0.02, "between two servers, seconds"),
    },
    trial=trial,
    evaluate=evaluate,
    draw=draw,
    families=(4,),
)
