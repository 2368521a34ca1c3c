"""What does lending cost the switches and the controller, as PoPs, servers and leases grow?

Servers of the lab borrow one set after the other. After each the controller is asked how many
changes it has sent; after each round the switches are asked for their rules. Then connections are
made, by clients and from what is borrowed, and the controller is asked how many packets it was
handed. What a lab is too small for is counted in the rules that the controller's core makes for
larger networks.
"""

from __future__ import annotations

import itertools
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from controller.core.lease import Terms
from experiments.errors import UsageError
from experiments.parameters import SOME, Parameter, Value
from experiments.study import Evidence, Findings, Study, Trial, total
from experiments.verdict import scale
from experiments.verdict.result import Check, Metric
from experiments.verdict.scale import Held, Size
from experiments.verdict.truth import Timed
from topologies.model import Network
from topologies.plan import HostRole

if TYPE_CHECKING:
    import pandas as pd

    from experiments.measure.tcp import TcpAttempt

LAB, CORE = "lab", "core"
"""Where rules are counted: in switches, or in what the controller's core makes."""

ACQUIRE, RELEASE = "acquire", "release"
BORROW, RETURN = "borrow", "return"
CONNECT, FETCH = "connect", "fetch"
COUNT = "count"
CONFIRMED = (ACQUIRE, RELEASE, BORROW)
"""What is over when the switches have confirmed it; who returns by DHCP waits for nobody."""
HANDED_UP: Mapping[str, int] = {BORROW: 2, RETURN: 1}
"""Messages of a server that its switch hands up: DISCOVER and REQUEST, RELEASE (RFC 2131)."""

NAME = "scale"
USUAL_BITS = 2
"""In the lab an address has three sets at most."""

MOST_LEASES = Terms().sets_per_server - 2
"""What a server may borrow over REST, besides its first set and one more by DHCP."""


def prepare(network: Network, params: Mapping[str, Value]) -> Network:
    """The network with larger port sets, so that addresses fill and PoPs open more.

    Raises UsageError for more leases than a server may keep.
    """
    leases = params["leases"]
    assert isinstance(leases, int | float)
    if not 1 <= leases <= MOST_LEASES:
        raise UsageError(f"A server borrows 1 to {MOST_LEASES} sets more, not {leases:g}.")
    for size in _sizes(params):
        if min(size.pops, size.servers, size.leases) < 1 or size.leases > Terms().sets_per_server:
            raise UsageError(f"No network has such a size: {size}.")
    return replace(network, port_set_bits=min(network.port_set_bits, USUAL_BITS))


def _sizes(params: Mapping[str, Value]) -> list[Size]:
    """All that are counted in the core."""
    axes = (_whole(params, f"core_{name}") for name in ("pops", "servers", "leases"))
    return list(itertools.starmap(Size, itertools.product(*axes)))


def _whole(params: Mapping[str, Value], name: str) -> list[int]:
    found = params[name]
    assert isinstance(found, tuple)
    return [int(value) for value in found]


# -- what is done


def trial(t: Trial) -> None:
    """Leases come and go, then connections and punted packets; then larger networks."""
    t.observed |= {"cpu_s": {}, "handed": {}, "model": []}
    t.observed["build_s"] = dict(t.lab.phases)
    lent = _grow(t)
    _connect(t)
    _ask_in_band(t)
    with t.step("leases are given back"), _computing(t, RELEASE):
        for server, address, port in lent:
            give_back = partial(t.lab.control.lease_release, f"{address}:{port}", server)
            _act(t, RELEASE, server, give_back, lambda _lease: scale.OF_A_LEASE)
    with t.step("rules of larger networks"):
        for size in _sizes(t.spec.params):
            _count_core(t, size)


Act = Callable[[], Any]


def _grow(t: Trial) -> list[tuple[str, str, int]]:
    """Every server borrows more and more sets; what was lent: server, address, first port."""
    servers, rounds = t.plan.hosts_of(HostRole.SERVER), t.count("leases")
    _count(t, 0)
    lent = []
    for turn in range(1, rounds + 1):
        order = list(servers)
        t.random.shuffle(order)
        with (
            t.step(f"round {turn} of {rounds}: {len(order)} servers borrow"),
            _computing(t, ACQUIRE),
        ):
            for server in order:
                made = _acquire(t, server.name, f"{NAME}-{turn}")
                lent.append((server.name, made["address"], made["first_port"]))
        _count(t, turn)
    return lent


def _acquire(t: Trial, server: str, client_id: str) -> Mapping[str, Any]:
    """One more set over REST; the model says how many rules come with it."""
    control, pops = t.lab.control, len(t.oracle.pops)
    known = {lease["address"] for lease in control.leases()}

    def model(lease: Mapping[str, Any]) -> int:
        return scale.changed(pops, _held(lease), opened=lease["address"] not in known)

    made: Mapping[str, Any] = _act(
        t, ACQUIRE, server, lambda: control.lease_acquire(server, client_id=client_id), model
    )
    return made


def _held(lease: Mapping[str, Any]) -> Held:
    return Held(lease["address"], lease["home"], lease["pop"])


def _act(
    t: Trial,
    act: str,
    server: str,
    do: Act,
    model: Callable[[Mapping[str, Any]], int] | None = None,
) -> Any:
    """Do something, and keep how long it took and how many changes the controller sent."""
    before, began_ns = t.lab.controller_api.status()["changes"], time.monotonic_ns()
    found = do()
    took_ms = (time.monotonic_ns() - began_ns) / 1e6
    sent = t.lab.controller_api.status()["changes"] - before
    t.reporter.emit(
        {
            "place": LAB,
            "act": act,
            "server": server,
            "outcome": "ok",
            "took_ms": took_ms,
            "changes": sent,
            "model_changes": None if model is None else model(found),
        }
    )
    return found


def _count(t: Trial, turn: int) -> None:
    """The rules of every switch, as it says itself, beside the closed form for what is lent."""
    live = [x for x in t.lab.control.leases() if x["state"] in ("lent", "draining")]
    model = scale.rules(t.plan, map(_held, live))
    for switch, duties in t.lab.control.counters().items():
        counted = {duty: count["rules"] for duty, count in duties.items()}
        _emit_rules(t, LAB, {"round": turn, "leases": len(live), "switch": switch}, counted)
    t.observed["model"].append(model)


def _count_core(t: Trial, size: Size) -> None:
    """The rules of a network that is not there, all switches together and the fullest one."""
    programs = scale.programmed(size)
    total: Counter[str] = Counter()
    for counted in programs.values():
        total.update(counted)
    most = max(sum(counted.values()) for counted in programs.values())
    row = {"pops": size.pops, "servers": size.servers, "leases": size.leases}
    _emit_rules(t, CORE, row | {"most": most}, total)


def _emit_rules(t: Trial, place: str, row: Mapping[str, Any], counted: Mapping[str, int]) -> None:
    """A row for each duty that leases need rules for, and one for all others."""
    found = {duty: counted.get(duty, 0) for duty in scale.LEASED}
    found["others"] = sum(counted.values()) - sum(found.values())
    for duty, rules in found.items():
        told = {"place": place, "act": COUNT, "outcome": "ok", "duty": duty, "rules": rules}
        t.reporter.emit(dict(row) | told)


def _connect(t: Trial) -> None:
    """Connections to the service, and to origins from what is borrowed; no packet is handed up."""
    from experiments.measure.tcp import TcpAttempt

    origins = itertools.cycle(t.plan.hosts_of(HostRole.ORIGIN))
    asked = [
        TcpAttempt(client.name, t.service, 80)
        for _ in range(t.count("connections"))
        for client in t.plan.hosts_of(HostRole.CLIENT)
    ]
    fetches = []
    for _ in range(t.count("connections")):
        for name, lease in t.leases.items():
            source = (IPv4Address(lease.address), lease.ports)
            fetches.append(TcpAttempt(name, next(origins).address, 80, *source))
    for act, attempts in ((CONNECT, asked), (FETCH, fetches)):
        _connect_all(t, act, attempts)


def _connect_all(t: Trial, act: str, attempts: Sequence[TcpAttempt]) -> None:
    from experiments.measure.tcp import connect

    with (
        _handing_up(t, act),
        t.timed_step(f"{len(attempts)} connections: {act}"),
        _computing(t, act),
    ):
        rows = connect(attempts, spacing_s=1 / t.param("rate_per_s"))
    hosts = {str(host.address): host.name for host in t.plan.hosts_of(HostRole.ORIGIN)}
    for attempt, row in zip(attempts, rows, strict=True):
        rtt_ns, target = row.handshake_rtt_ns, hosts.get(str(attempt.destination))
        t.reporter.emit(
            {
                "place": LAB,
                "act": act,
                "host": attempt.host,
                "target": target or "service",
                "outcome": row.outcome,
                "rtt_ms": None if rtt_ns is None else rtt_ns / 1e6,
                "model_rtt_ms": _model_rtt_ms(t, attempt.host, target),
            }
        )


def _model_rtt_ms(t: Trial, host: str, origin: str | None) -> float:
    """To the nearest PoP; or to an origin, and back by way of where the reply lands."""
    if origin is None:
        nearest = t.plan.servers_of(t.oracle.nearest_pops(host)[0])[0]
        return t.oracle.rtt_ms(host, nearest.name)
    return t.oracle.borrowed_rtt_ms(host, origin, t.oracle.pops)


def _handed_up(t: Trial) -> dict[str, int]:
    """What the controller was handed, and of that the servers' DHCP, as their switches count."""
    counted = {"dhcp": total(t.counters(), "punt")}
    return counted | {"packet_ins": t.lab.controller_api.status()["packet_ins"]}


@contextmanager
def _handing_up(t: Trial, act: str) -> Iterator[None]:
    """Keep what the controller is handed meanwhile; a server that returns waits for no answer."""
    before = _handed_up(t)
    yield
    after = _handed_up(t)
    t.observed["handed"][act] = {key: after[key] - before[key] for key in after}


def _ask_in_band(t: Trial) -> None:
    """Every server borrows one more set by DHCP, which its switch hands up, and returns it."""
    servers, control = t.plan.hosts_of(HostRole.SERVER), t.lab.control
    for act, do in ((BORROW, control.server_borrow), (RETURN, control.server_return)):
        with t.step(f"{len(servers)} servers {act} by DHCP"), _handing_up(t, act):
            for server in servers:
                _act(t, act, server.name, partial(do, server.name, client_id=f"{NAME}-dhcp"))


@contextmanager
def _computing(t: Trial, act: str) -> Iterator[None]:
    """Keep how long the controller computes meanwhile; virtual time has no such time."""
    before = _cpu_s(t)
    yield
    if t.spec.options.clock == "real":
        so_far = t.observed["cpu_s"].get(act, 0.0)
        t.observed["cpu_s"][act] = so_far + _cpu_s(t) - before


def _cpu_s(t: Trial) -> float:
    """The controller's processor time so far, s (proc(5): utime and stime)."""
    pid = t.lab.program("controller").process.pid
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


# -- what the evidence says


def evaluate(e: Evidence) -> Findings:
    """Rules beside the closed form; what the controller sends and is handed, by what is done."""
    lab, core, acts = lab_table(e), core_table(e), acts_table(e)
    last = lab[lab["round"] == lab["round"].max()]
    metrics = {
        "pops": Metric(len(e.oracle.pops), "1"),
        "servers": Metric(len(e.plan.hosts_of(HostRole.SERVER)), "1"),
        "leases": Metric(int(last["leases"].max()), "1"),
        "rules": Metric(int(last[["leased", "others"]].to_numpy().sum()), "1"),
        "lease_rules": Metric(int(last["leased"].sum()), "1"),
        "lease_rules_model": Metric(int(last["model_leased"].sum()), "1"),
        "switch_rules_max": Metric(int((last["leased"] + last["others"]).max()), "1"),
        "core_rules_max": Metric(int((core["leased"] + core["others"]).max()), "1"),
        "core_switch_rules_max": Metric(int(core["most"].max()), "1"),
    }
    metrics |= _per_act(e, acts)
    tables = {"rules": lab, "core": core, "acts": acts}
    return Findings(_answer(metrics), metrics, tuple(_checks(e, lab, core, acts)), tables)


def _counts(e: Evidence, place: str) -> pd.DataFrame:
    return e.samples[(e.samples["place"] == place) & (e.samples["act"] == COUNT)]


def _wide(counts: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """A column for each duty that leases need, their sum as ``leased``, and ``others``."""
    whole = counts.astype(dict.fromkeys([name for name in by if name != "switch"], int))
    wide = whole.pivot_table(index=by, columns="duty", values="rules", sort=False).astype(int)
    wide = wide.reset_index()
    wide.columns.name = None
    return wide.assign(leased=wide[list(scale.LEASED)].sum(axis=1))


def lab_table(e: Evidence) -> pd.DataFrame:
    """A row per round and switch: rules by duty, as counted and by the closed form."""
    table = _wide(_counts(e, LAB), ["round", "leases", "switch"])
    models = [
        e.observed["model"][turn].get(switch, {})
        for turn, switch in zip(table["round"], table["switch"], strict=True)
    ]
    for duty in scale.LEASED:
        table[f"model_{duty}"] = [int(model.get(duty, 0)) for model in models]
    return table.assign(model_leased=table[[f"model_{x}" for x in scale.LEASED]].sum(axis=1))


def core_table(e: Evidence) -> pd.DataFrame:
    """A row per size of network: rules by duty, those of the fullest switch, the closed form."""
    table = _wide(_counts(e, CORE), ["pops", "servers", "leases", "most"])
    sizes = itertools.starmap(Size, table[["pops", "servers", "leases"]].to_numpy().tolist())
    models = list(map(scale.total, sizes))
    for duty in scale.LEASED:
        table[f"model_{duty}"] = [model.get(duty, 0) for model in models]
    return table


def acts_table(e: Evidence) -> pd.DataFrame:
    """A row per kind of act: how many, their time, and what the controller sent and was handed.

    ``cpu_ms`` is the controller's processor time for each; virtual time has none.
    """
    import pandas as pd

    from experiments import stats

    rows = []
    for act in (ACQUIRE, RELEASE, BORROW, RETURN, CONNECT, FETCH):
        mine = e.samples[e.samples["act"] == act]
        row: dict[str, Any] = {"act": act, "times": len(mine), "packet_ins": _handed(e, act)}
        row |= {"ok": int((mine["outcome"] == "ok").sum())}
        if act in CONFIRMED:
            row |= {
                "took_p50_ms": stats.median(mine["took_ms"]),
                "changes": int(mine["changes"].sum()),
            }
        cpu_s = e.observed["cpu_s"].get(act)
        row |= {"cpu_ms": None if cpu_s is None else 1000 * cpu_s / max(len(mine), 1)}
        rows.append(row)
    numbers = dict.fromkeys(("took_p50_ms", "changes", "cpu_ms", "packet_ins"), float)
    return pd.DataFrame(rows).astype(numbers)


def _handed(e: Evidence, act: str) -> int | None:
    """Packets that the controller was handed; renewals of leases by DHCP are not connections'."""
    found = e.observed["handed"].get(act)
    if found is None:
        return None
    handed, dhcp = int(found["packet_ins"]), int(found["dhcp"])
    return max(handed - dhcp, 0) if act in (CONNECT, FETCH) else handed


def _per_act(e: Evidence, acts: pd.DataFrame) -> Iterator[tuple[str, Metric]]:
    """What one act costs the controller: packets, changes, time."""
    real = e.spec.options.clock == "real"
    for row in acts.to_dict("records"):
        act, times = row["act"], max(row["times"], 1)
        if act in e.observed["handed"]:
            yield f"{act}_packet_ins", Metric(row["packet_ins"] / times, "1")
        yield f"{act}_cpu", Metric(_known(row["cpu_ms"]), "ms")
        if act in CONFIRMED:
            yield f"{act}_changes", Metric(row["changes"] / times, "1")
            yield f"{act}_p50", Metric(_known(row["took_p50_ms"]) if real else None, "ms")
    for phase in ("programming", "leases"):
        yield f"{phase}_time", Metric(e.observed["build_s"].get(phase) if real else None, "s")


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _checks(
    e: Evidence, lab: pd.DataFrame, core: pd.DataFrame, acts: pd.DataFrame
) -> Iterator[Check]:
    for where, table in (("every switch has", lab), ("for larger networks the core makes", core)):
        off = sum((table[x] - table[f"model_{x}"]).abs().sum() for x in scale.LEASED)
        yield Check(
            f"{where} as many rules for leases as the closed form says",
            bool(off == 0) and int(table["leased"].sum()) > 0,
            f"{int(table['leased'].sum())} rules in {len(table)} counts, {int(off)} of them wrong",
        )
    for where, table, by in (
        ("of the lab", lab, ["switch"]),
        ("of larger networks", core, ["pops", "servers"]),
    ):
        kinds = table.groupby(by)["others"].nunique()
        yield Check(
            f"no other rule {where} comes or goes with leases",
            bool((kinds == 1).all()),
            f"{int((kinds == 1).sum())} of {len(kinds)} counts stay as they are",
        )
    yield _as_changed(e)
    opened = acts[acts["act"].isin([CONNECT, FETCH])]
    yield Check(
        "every connection opens",
        bool((opened["ok"] == opened["times"]).all()) and int(opened["times"].min()) > 0,
        f"{int(opened['ok'].sum())} of {int(opened['times'].sum())}",
    )
    yield Check(
        "twin: no connection is handed to the controller",
        int(opened["packet_ins"].sum()) == 0 < int(opened["times"].min()),
        f"{int(opened['packet_ins'].sum())} packets for {int(opened['times'].sum())} connections;"
        " who decides at the first packet of each would be handed as many",
    )
    yield _handed_as_known(acts.set_index("act"))


def _as_changed(e: Evidence) -> Check:
    """A lease that comes adds so many rules; one that goes takes its own four away."""
    mine = e.samples[e.samples["act"].isin([ACQUIRE, RELEASE])]
    right = int((mine["changes"] == mine["model_changes"]).sum())
    return Check(
        "a lease changes as many rules as the closed form says",
        0 < len(mine) == right,
        f"{right} of {len(mine)} that came or went",
    )


def _handed_as_known(acts: pd.DataFrame) -> Check:
    """The counter that sees no connection sees each message of DHCP."""
    times, handed = (acts[name].loc[list(HANDED_UP)].tolist() for name in ("times", "packet_ins"))
    known = [n * each for n, each in zip(times, HANDED_UP.values(), strict=True)]
    return Check(
        "control: what switches hand up is counted: two messages to borrow by DHCP, one to return",
        handed == known and min(times) > 0,
        f"{handed[0]:g} to borrow {times[0]} times, {handed[1]:g} to return {times[1]} times",
    )


def _answer(metrics: Mapping[str, Metric]) -> str:
    leases, leased, each = (
        metrics[name].value for name in ("leases", "lease_rules", "acquire_changes")
    )
    handed = (metrics[f"{act}_packet_ins"].value for act in (CONNECT, FETCH))
    return (
        f"{leases} leases take {leased} rules in all switches together, {each:.1f} more with each;"
        f" a connection takes {sum(x or 0 for x in handed):g} packets of"
        " the controller."
    )


def draw(e: Evidence, findings: Findings, folder: Path) -> list[Path]:
    """Rules over leases, in the lab and beyond it."""
    from experiments.show.figures import scale as figure

    tables = findings.tables
    return [figure.draw(tables["rules"], tables["core"], folder / "scale.png")]


STUDY = Study(
    name="scale",
    question="What does lending cost switches and controller, as PoPs, servers and leases grow?",
    baselines=(
        "who decides at the first packet of each connection: one packet handed up for each",
    ),
    controls=("packets that switches do hand up must be counted: DHCP",),
    parameters={
        "leases": Parameter(MOST_LEASES, 2, "sets that each server borrows besides its first"),
        "connections": Parameter(50, 10, "connections of each client, and of each server", least=1),
        "rate_per_s": Parameter(
            200, 200, "connections per second in the whole network", least=SOME
        ),
        "core_pops": Parameter((2, 5, 10, 20), (2, 5), "PoPs of networks beyond the lab"),
        "core_servers": Parameter((2, 10, 31), (2, 31), "servers in each of their PoPs"),
        "core_leases": Parameter((1, 2, 4), (1, 2), "leases of each of these servers"),
    },
    trial=trial,
    evaluate=evaluate,
    draw=draw,
    families=(4,),  # what is lent is IPv4
    prepare=prepare,
    timed=Timed(
        ("act", "host", "target"), where=lambda s: s["act"].isin([CONNECT, FETCH]), arm="act"
    ),
    measures_computing=True,
)
