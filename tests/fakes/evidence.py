"""What a perfect lab would bring home, made up from the model; tests then spoil it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pandas as pd

from controller.core.convergence import delay_ns
from controller.core.geofeed import geofeed
from experiments import study
from experiments.breaks import DEAD_POP, breaks
from experiments.measure.calls import arrivals
from experiments.parameters import Value
from experiments.runs import runner
from experiments.studies import failover, geo, isolation, scarcity
from experiments.study import Evidence, Findings
from experiments.verdict import controls
from experiments.verdict.oracle import Oracle, oracle
from tests.fakes.announcing import told
from tests.fakes.catchment import caught
from tests.fakes.churn import churned
from tests.fakes.computed import computed
from tests.fakes.convergence import followed
from tests.fakes.crosspop import landed
from tests.fakes.flood import flooded
from tests.fakes.inflation import brought
from tests.fakes.names import visited
from tests.fakes.playbook import played
from tests.fakes.scale import scaled
from tests.fakes.shedding import shed
from tests.fakes.sites import announced
from tests.fakes.urpf import checked
from tests.fakes.workloads import worked
from topologies import sources
from topologies.model import Network, Upstream
from topologies.plan import HostPlan, HostRole, Plan, plan

EMULATOR_ERROR_MS = 0.3


def perfect(name: str, network: str | Network = "triangle", **params: Value) -> Evidence:
    """Evidence of a study in which everything went as the model says."""
    source = network_for(name, network) if isinstance(network, str) else network
    spec = runner.make_spec(name, source, quick=True, params=params)
    made = plan(spec.network)
    model = oracle(made)
    if name in OF_SPEC:
        rows, observed = OF_SPEC[name](spec, made, model)
    else:
        rows, observed = MAKERS[name](made, model)
    return Evidence(spec, made, model, pd.DataFrame(rows), observed)


def network_for(name: str, network: str) -> Network:
    """A network by name, or one like it where BGP is what the study is about."""
    if Upstream.SDN in study.study(name).upstreams:
        return sources.load(network)
    if network == "triangle":
        return sources.load("tiers")
    return sources.load(network, upstream="bgp")


def of(**columns: Any) -> Callable[[pd.DataFrame], pd.Series[bool]]:
    """Which samples have these values: for ``spoil``."""

    def where(samples: pd.DataFrame) -> pd.Series[bool]:
        mine = pd.Series(True, index=samples.index)
        for column, value in columns.items():
            mine &= samples[column] == value
        return mine

    return where


def spoil(evidence: Evidence, where: Any, **columns: Any) -> Evidence:
    """The same evidence with columns changed in the rows where ``where(samples)`` holds."""
    samples = evidence.samples.copy()
    for column, value in columns.items():
        samples.loc[where(samples), column] = value
    return Evidence(evidence.spec, evidence.plan, evidence.oracle, samples, dict(evidence.observed))


def judged(evidence: Evidence) -> Findings:
    """What the study finds."""
    return study.study(evidence.spec.study).evaluate(evidence)


def failed(evidence: Evidence) -> list[str]:
    """The names of the checks that the study finds failed."""
    return [check.name for check in judged(evidence).checks if not check.passed]


def _latency(made: Plan, oracle: Oracle) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    rows = []
    landed = {}
    for client in made.hosts_of(HostRole.CLIENT):
        best = oracle.nearest_pops(client.name)[0]
        landed[client.name] = {"pop": best, "server": f"{best}-s1"}
        for arm in ("anycast", "unicast", "best"):
            pop = oracle.one_site() if arm == "unicast" else best
            model_ms = oracle.rtt_ms(client.name, made.servers_of(pop)[0].name)
            rows += [
                {
                    "arm": arm,
                    "client": client.name,
                    "city": client.city,
                    "sequence": sequence,
                    "outcome": "ok",
                    "rtt_ms": model_ms + EMULATOR_ERROR_MS,
                    "model_rtt_ms": model_ms,
                }
                for sequence in range(3)
            ]
    return rows, {"landed": landed, "knocks": _knocks(made)}


def _reachability(made: Plan, oracle: Oracle) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    blank = {"pop": None, "server": None}
    lost = {"outcome": "timeout", "rtt_ms": None, **blank}
    rows: list[dict[str, Any]] = []
    for client in made.hosts_of(HostRole.CLIENT):
        for method in ("icmp", "tcp", "http"):
            row = {"method": method, "source": client.name, "target": "service", **blank}
            rows.append(row | {"outcome": "ok", "rtt_ms": 2.0})
    for server in made.hosts_of(HostRole.SERVER):
        for origin in made.hosts_of(HostRole.ORIGIN):
            row = {"method": "egress", "source": server.name, "target": origin.name, **blank}
            rtt_ms = oracle.rtt_ms(server.name, origin.name)
            rows.append(row | {"outcome": "ok", "rtt_ms": rtt_ms})
    lies, knocks = _lies(made), _knocks(made)
    for one in (*lies["tries"], *knocks["tries"]):
        names = {"method": one["control"], "source": one["source"], "target": one["target"]}
        rows.append(names | lost | {"outcome": one["outcome"]})
    dropped = {edge.name: {"spoof": 4 * 2, "unlent": len(made.edges)} for edge in made.edges}
    return rows, {"lies": lies, "knocks": knocks, "dropped": dropped}


def _lies(made: Plan) -> dict[str, Any]:
    servers = made.hosts_of(HostRole.SERVER)
    tries = [
        _try(control, server.name, "an origin", server.city, outcome)
        for server in servers
        for control, outcome in (
            (controls.FOREIGN_PORT, "timeout"),
            (controls.FOREIGN_ADDRESS, "timeout"),
            (controls.OWN_SET, "ok"),
        )
    ]
    return {"tries": tries, "arrived": 0, "lawful_arrived": len(servers)}


def _knocks(made: Plan) -> dict[str, Any]:
    tries = [
        _try(control, f"client at {at.city}", f"address of {home.city}", home.city, outcome)
        for at in made.edges
        for home in made.edges
        for control, outcome in (
            (controls.UNLENT_SET, "timeout"),
            (controls.HELD_SET, "refused"),
        )
    ]
    return {"tries": tries, "delivered": len(tries) // 2, "misdelivered": 0}


def _try(control: str, source: str, target: str, pop: str, outcome: str) -> dict[str, Any]:
    return asdict(controls.Try(control, source, target, pop, outcome))


def _borrowing(made: Plan, oracle: Oracle) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    owner = made.servers_of(oracle.one_owner())[0]
    rows = []
    for server in made.hosts_of(HostRole.SERVER):
        seen = {
            "own": server.address,
            "owner": owner.address,
            "pop owner": made.servers_of(server.city)[0].address,
            "port sets": f"203.0.113.{made.edge(server.city).number}",
            "plain anycast": made.network.services[0],
        }
        for origin in made.hosts_of(HostRole.ORIGIN):
            for design, address in seen.items():
                rows.append(_fetch(oracle, design, server, origin, str(address)))
    away = [
        row for row in rows if row["design"] == "port sets" and row["pop"] != row["landing_pop"]
    ]
    total = sum(row["design"] == "port sets" for row in rows)
    counters = {"home": 10 * len(away), "return": 10 * total}
    return rows, {"delivered": 10 * total, "misdelivered": 0, "counters": counters}


def _fetch(
    oracle: Oracle, design: str, server: HostPlan, origin: HostPlan, address: str
) -> dict[str, Any]:
    landing = oracle.nearest_pops(origin.name)[0]
    lost = design == "plain anycast" and landing != server.city
    model_ms = oracle.rtt_ms(server.name, origin.name)
    return {
        "phase": "paced",
        "design": design,
        "server": server.name,
        "pop": server.city,
        "origin": origin.name,
        "landing_pop": landing,
        "outcome": "timeout" if lost else "ok",
        "seen_address": None if lost else address,
        "rtt_ms": None if lost else model_ms + EMULATOR_ERROR_MS,
        "model_rtt_ms": model_ms,
    }


def _agility(made: Plan, oracle: Oracle) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    origin = made.hosts_of(HostRole.ORIGIN)[0].name
    blank = {"kind": "", "role": "", "turn": 0, "sequence": 0, "sent_ns": 0, "outcome": "ok"}
    blank["arrived"] = None
    rows: list[dict[str, Any]] = []
    for server in made.hosts_of(HostRole.SERVER):
        for act, ms in (("borrow", 9.0), ("connect", 20.0), ("return", 4.0)):
            row = {"act": act, "server": server.name, "took_ms": ms, "model_rtt_ms": None}
            rows.append(row | blank)
    one, two = made.edges[:2]
    here, there = made.servers_of(one.city), made.servers_of(two.city)
    moves = []
    for kind, holder, heir in (("same PoP", *here[:2]), ("other PoP", here[0], there[0])):
        moves.append({"kind": kind, "turn": 0, "began_ns": 100_000_000, "ended_ns": 110_000_000})
        for role, server, lawful in (
            ("holder", holder, lambda at: at <= 104),
            ("heir", heir, lambda at: at >= 108),
        ):
            for sequence, at_ms in enumerate(range(0, 200, 2)):
                ok = lawful(at_ms)
                row = {"act": "move", "kind": kind, "role": role, "server": server.name}
                row |= {"sequence": sequence, "sent_ns": at_ms * 1_000_000}
                row |= {
                    "outcome": "ok" if ok else "lost",
                    "took_ms": 20.0 if ok else None,
                    "arrived": ok,
                }
                rows.append(blank | {"model_rtt_ms": oracle.rtt_ms(server.name, origin)} | row)
    broken = {"wanted": 20, "opened": 20, "broken": 20, "heir_connects": 1}
    return rows, {
        "moves": moves,
        "connections": {"at once": broken, "drained": broken | {"broken": 0}},
    }


def _failover(made: Plan, _oracle: Oracle) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    away_ms = {failover.SWITCHES: 8, failover.CONTROLLER: 40, failover.BGP: 0}
    away_ms |= {failover.NOBODY: 10**6}
    rows, cases = [], []
    for recovery, usual in away_ms.items():
        for broken in breaks(made, 4):
            if recovery == failover.BGP and broken.name != DEAD_POP:
                continue
            case = {"recovery": recovery, "failure": broken.name, "turn": 0}
            told = 1_010 * failover.MS if recovery == failover.CONTROLLER else None
            cases.append(case | {"broke_ns": 1_000 * failover.MS, "told_ns": told})
            for number, stream in enumerate(broken.streams):
                way = stream.way_ns / failover.MS
                away, last, apart = usual + (250 if broken.silent else 0), 2_000, 4
                if recovery == failover.BGP:
                    away = delay_ns(made.host(stream.host).city, 10**9) / failover.MS
                    last, apart = 20_000, 50
                end = 1_000 + away
                for sequence, sent in enumerate(range(0, last, apart)):
                    lost = 1_000 <= sent + way < end
                    row = case | {"stream": number, "way_ms": way, "sequence": sequence}
                    row |= {"host": stream.host}
                    row |= {"sent_ns": sent * failover.MS, "rtt_ms": None if lost else 20.0}
                    rows.append(row | {"outcome": "lost" if lost else "ok"})
    return rows, {"breaks": cases}


def _isolation(made: Plan, _oracle: Oracle) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    rows = [
        {
            "attack": attack,
            "server": server.name,
            "pop": server.city,
            "outcome": "arrived" if attack in isolation.LAWFUL else "dropped",
            "seen_by": "an origin" if attack in isolation.LAWFUL else "",
        }
        for server in made.hosts_of(HostRole.SERVER)
        for attack in (*isolation.FORGERIES, *isolation.LAWFUL)
    ]
    lent = [[server.name, "203.0.113.1", 2048, 1] for server in made.hosts_of(HostRole.SERVER)]
    return rows, {
        "dropped": {edge.name: {"spoof": 100} for edge in made.edges},
        "thefts": 2 * len(lent),
        "leases": {"before": lent, "after": list(lent)},
        "own_release": True,
    }


def _slices(made: Plan, oracle: Oracle) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    origin = made.hosts_of(HostRole.ORIGIN)[0].name
    chance, rows = random.Random(1), []
    for ports in (16, 32):
        for load in (0.6, 0.9, 1.2):
            busy: list[float] = []
            for call in arrivals(0, load * ports, 1.0, 100.0, chance):
                server = made.hosts_of(HostRole.SERVER)[0].name
                rtt_ms = oracle.rtt_ms(server, origin)
                busy = [end for end in busy if end > call.at_s]
                free = len(busy) < ports
                busy += [call.at_s + rtt_ms / 1000 + call.hold_s] if free else []
                row = {"server": server, "ports": ports, "load": load, "at_s": call.at_s}
                row |= {"hold_s": call.hold_s, "outcome": "ok" if free else "no port"}
                rows.append(row | {"connect_ms": rtt_ms, "model_rtt_ms": rtt_ms})
    full = {"ports": 16, "opened": 16, "used": 16, "one_more": "no port", "elsewhere": "ok"}
    return rows, {"filled": full}


def _geo(made: Plan, oracle: Oracle) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    leases = _tagged_leases(made)
    landed, rows = [], []
    clients = made.hosts_of(HostRole.CLIENT)
    countries = {client.name: made.network.city(client.city).country for client in clients}
    owners = {
        country: oracle.nearest_pops(client)[0] for client, country in reversed(countries.items())
    }
    known = sorted({pool.country for pool in made.network.pools} - {""})
    for without in ("", made.edges[0].city):
        for client, country in countries.items():
            pops = oracle.nearest_pops(client, without)
            landed.append({"without": without, "client": client, "pop": pops[0], "nearest": pops})
            here = made.network.city(pops[0]).country
            other = known[(known.index(country) + 1) % len(known)]
            ways = [
                (geo.POP_COUNTRY, geo.tag(here), pops[0]),
                (geo.OWNER, geo.tag(country), owners[country]),
                (geo.BORROWED, geo.tag(country), pops[0]),
            ]
            if not without:
                ways += [
                    (geo.ABROAD, geo.scarce(country), pops[0]),
                    (geo.WRONG, geo.tag(other), pops[0]),
                    (geo.NOWHERE, geo.NO_TAG, pops[0]),
                ]
            who = {"without": without, "client": client, "country": country, "pop": pops[0]}
            who["pop_country"] = here
            rows += [
                who | _fetch_by_tag(made, oracle, leases, pops[0], design, tag, via, origin.name)
                for design, tag, via in ways
                for origin in made.hosts_of(HostRole.ORIGIN)
            ]
    return rows, {
        "landed": landed,
        "leases": leases,
        "owners": owners,
        "geofeed": geofeed(made.network),
        "refusal": "The controller refused: no pool is tagged 'nowhere'; ask for one of: any",
        "abroad_packets": 30,
    }


def _tagged_leases(made: Plan) -> list[dict[str, Any]]:
    """A set of each tag in each PoP; of the scarce tags all sets are of one address."""
    leases = []
    for pool in made.network.pools:
        for n, edge in enumerate(made.edges):
            few = pool.tag.endswith(geo.SCARCE)
            lease = {"tag": pool.tag, "pop": edge.city, "first_port": 2048 * (n + 1)}
            lease["home"] = made.edges[0].city if few else edge.city
            lease |= {"address": str(pool.prefix[0 if few else n])}
            leases.append(lease | {"last_port": lease["first_port"] + 2047})
    return leases


def _fetch_by_tag(
    made: Plan,
    oracle: Oracle,
    leases: list[dict[str, Any]],
    pop: str,
    design: str,
    tag: str,
    via: str,
    origin: str,
) -> dict[str, Any]:
    held = [x for x in leases if (x["tag"], x["pop"]) == (tag, via)]
    server, proxy = (made.servers_of(x)[0].name for x in (pop, via))
    model_ms = oracle.rtt_ms(server, proxy) + oracle.borrowed_rtt_ms(proxy, origin, oracle.pops)
    return {
        "design": design,
        "server": server,
        "origin": origin,
        "tag": tag,
        "outcome": "ok" if held else "proxy refused",
        "seen_address": held[0]["address"] if held else None,
        "seen_port": held[0]["first_port"] + 5 if held else None,
        "rtt_ms": model_ms + EMULATOR_ERROR_MS if held else None,
        "model_rtt_ms": model_ms,
    }


def _scarcity(made: Plan, _oracle: Oracle) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    params = study.study("scarcity").params(True, {})
    points = {
        scarcity.LAB: scarcity.lab_points(made.network, params),
        scarcity.BOOK: scarcity.book_points(params),
    }
    rows = [
        _counted(place, point)
        for place, mine in points.items()
        for point in mine
        if not point.name.endswith((scarcity.SHORT, scarcity.ENOUGH))
    ]
    held = [{"pop": "LHR", "since_ns": 5}, {"pop": "FCO", "since_ns": 3}]
    dry_ns = 5 + scarcity.TERMS.lifetime_ns + scarcity.TERMS.quarantine_ns
    short = {"pool": 2, "lent": held, "refused": [{"pop": "LHR", "earliest_ns": dry_ns}]}
    enough = {"pool": 3, "lent": [*held, {"pop": "LHR", "since_ns": 7}], "refused": []}
    lab = {scarcity.SHORT: short, scarcity.ENOUGH: enough}
    book = lab | {scarcity.SHORT: short | {"again": [False, True]}}
    return rows, {"controls": {scarcity.LAB: lab, scarcity.BOOK: book}}


def _counted(place: str, point: scarcity.Point) -> dict[str, Any]:
    """A point at which as much is taken as the closed form says."""
    by_pop, size = point.servers, {"tags": point.tags, "ports": point.ports}
    taken = scarcity.needed(point.design, by_pop, **size)
    sharing = point.design == scarcity.SHARED
    return {
        "place": place,
        "design": point.design,
        "servers_by_pop": " ".join(map(str, by_pop)),
        "servers": sum(by_pop),
        "pool": point.pool,
        "outcome": "ok",
        "sets": sum(by_pop) * point.tags,
        "abroad": int(sharing and taken < scarcity.needed(scarcity.PORT_SETS, by_pop, **size)),
        "taken": taken,
        "told": taken,
        **size,
    }


MAKERS = {
    "scarcity": _scarcity,
    "geo": _geo,
    "latency": _latency,
    "reachability": _reachability,
    "borrowing": _borrowing,
    "agility": _agility,
    "failover": _failover,
    "isolation": _isolation,
    "slices": _slices,
    "churn": churned,
    "catchment": caught,
    "shedding": shed,
    "sites": announced,
    "flood": flooded,
    "internet": computed,
}

OF_SPEC = {
    "announcing": told,
    "convergence": followed,
    "inflation": brought,
    "playbook": played,
    "names": visited,
    "scale": scaled,
    "urpf": checked,
    "crosspop": landed,
    "workloads": worked,
}
"""Those whose model is about the parameters of the run too."""
