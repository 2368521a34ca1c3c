"""How quickly is an address borrowed, used, handed over, and given back? What breaks meanwhile?

Every server borrows one more port set, connects from it, and returns it. Then sets are moved to
another server, in the same PoP and in another, while holder and heir both send from one port of it
without a pause: what is answered tells to the packet who may use it. At last a set is moved under
open connections, at once and drained.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.parameters import SOME, Parameter
from experiments.study import Evidence, Findings, Study, Trial
from experiments.verdict.result import Check, Metric
from topologies.plan import HostPlan, HostRole

if TYPE_CHECKING:
    import pandas as pd

SAME, OTHER = "same PoP", "other PoP"
HOLDER, HEIR = "holder", "heir"
AT_ONCE, DRAINED = "at once", "drained"
NAME = "agility"
"""The client identifier of the sets that are borrowed for this."""
PSID_BITS = 8
"""Sets of 256 ports: a server may have 64 of them, those in quarantine counted."""
DRAIN_S = 4.0
PATIENCE_S = 1.0


def trial(t: Trial) -> None:
    """Borrow and return, move under a stream of packets, move under open connections."""
    servers = t.plan.hosts_of(HostRole.SERVER)
    with t.step(f"{len(servers)} servers borrow, use, return"):
        for turn in range(t.count("borrows")):
            for server in servers:
                _borrow(t, server, turn)
    t.observed["moves"], t.observed["connections"] = [], {}
    for kind, holder, heir in _pairs(t):
        seconds = t.count("packets") * t.param("interval_s")
        with t.timed_step(f"a set moves: {kind}", t.count("moves") * seconds):
            for turn in range(t.count("moves")):
                _move(t, kind, holder, heir, turn)
    *_, (_, holder, heir) = _pairs(t)
    for how in (AT_ONCE, DRAINED):
        with t.step(f"a set moves under open connections, {how}", PATIENCE_S + DRAIN_S):
            t.observed["connections"][how] = _connections(t, holder, heir, how)


def _pairs(t: Trial) -> Iterator[tuple[str, HostPlan, HostPlan]]:
    """Who hands over to whom, within a PoP and to another, as far as the network has them."""
    pops = [servers for edge in t.plan.edges if (servers := t.plan.servers_of(edge.city))]
    crowded = next((servers for servers in pops if len(servers) > 1), None)
    if crowded is not None:
        yield SAME, crowded[0], crowded[1]
    if len(pops) > 1:
        yield OTHER, pops[0][0], pops[1][0]


def _origin(t: Trial) -> HostPlan:
    return t.plan.hosts_of(HostRole.ORIGIN)[0]


# -- borrow, use, return


def _borrow(t: Trial, server: HostPlan, turn: int) -> None:
    from experiments.measure.tcp import TcpAttempt, connect

    origin = _origin(t)
    began = time.monotonic_ns()
    lease = t.lab.control.server_borrow(server.name, client_id=NAME, psid_bits=PSID_BITS)
    held = time.monotonic_ns()
    ports = (lease["first_port"], lease["last_port"])
    source = IPv4Address(lease["address"])
    (row,) = connect([TcpAttempt(server.name, origin.address, source=source, ports=ports)])
    returning = time.monotonic_ns()
    t.lab.control.server_return(server.name, client_id=NAME)
    returned = time.monotonic_ns()
    who = {"server": server.name, "turn": turn}
    rtt_ns = row.handshake_rtt_ns
    _emit(t, "borrow", "ok", held - began, **who)
    rtt_ms = t.oracle.rtt_ms(server.name, origin.name)
    _emit(t, "connect", row.outcome, rtt_ns, **who, model_rtt_ms=rtt_ms)
    _emit(t, "return", "ok", returned - returning, **who)


def _emit(t: Trial, act: str, outcome: str, took_ns: int | None, **more: Any) -> None:
    blank: dict[str, Any] = {"kind": "", "role": "", "sequence": 0, "sent_ns": 0}
    blank |= {"arrived": None, "model_rtt_ms": None}
    took_ms = None if took_ns is None else took_ns / 1e6
    t.reporter.emit({"act": act, "outcome": outcome, "took_ms": took_ms} | blank | more)


# -- moves


@dataclass(frozen=True, slots=True)
class _Set:
    """A set that was lent by hand, for as long as it is looked at."""

    name: str
    address: IPv4Address
    first_port: int


@contextlib.contextmanager
def _lent(t: Trial, holder: HostPlan, heir: HostPlan) -> Iterator[_Set]:
    """A set of the holder's, whose address both kernels take; returned in the end."""
    from experiments.measure.claim import claim

    lease = t.lab.control.lease_acquire(holder.name, client_id=NAME, psid_bits=PSID_BITS)
    made = _Set(
        f"{lease['address']}:{lease['first_port']}",
        IPv4Address(lease["address"]),
        lease["first_port"],
    )
    with claim(holder.name, made.address), claim(heir.name, made.address):
        yield made
    t.lab.control.lease_revoke(made.name)


def _move(t: Trial, kind: str, holder: HostPlan, heir: HostPlan, turn: int) -> None:
    """Both send all the time, and the set is moved in the middle."""
    from experiments.measure.bpf import udp
    from experiments.measure.packets import Stamp
    from experiments.measure.udp import EchoProbe, EchoRow, udp_echo
    from experiments.measure.witness import Witness

    token = t.random.randbytes(8)
    count, interval_s = t.count("packets"), t.param("interval_s")
    with _lent(t, holder, heir) as lent, Witness([_origin(t).name], udp) as witness:
        probes = [EchoProbe(x.name, _origin(t).address, lent.address) for x in (holder, heir)]
        rows: list[EchoRow] = []

        def stream() -> None:
            rows.extend(
                udp_echo(
                    probes,
                    count=count,
                    interval_s=interval_s,
                    timeout_s=PATIENCE_S,
                    ports=(lent.first_port, lent.first_port),
                    seed=t.spec.seed + turn,
                    token=token,
                )
            )

        sending = threading.Thread(target=stream)
        sending.start()
        time.sleep(count * interval_s / 2)
        began = time.monotonic_ns()
        t.lab.control.lease_move(lent.name, heir.name)
        ended = time.monotonic_ns()
        sending.join()
        stamps = (Stamp.find(token, packet) for packet in witness.packets())
        arrived = {(x.probe, x.sequence) for x in stamps if x is not None}
    t.observed["moves"].append({"kind": kind, "turn": turn, "began_ns": began, "ended_ns": ended})
    for row in rows:
        server = (holder, heir)[row.probe]
        _emit(
            t,
            "move",
            row.outcome,
            row.rtt_ns,
            server=server.name,
            turn=turn,
            kind=kind,
            role=(HOLDER, HEIR)[row.probe],
            sequence=row.sequence,
            sent_ns=row.sent_ns,
            arrived=(row.probe, row.sequence) in arrived,
            model_rtt_ms=t.oracle.rtt_ms(server.name, _origin(t).name),
        )


def _connections(t: Trial, holder: HostPlan, heir: HostPlan, how: str) -> dict[str, int]:
    """How many connections there were, and how many did not outlive the move."""
    with _lent(t, holder, heir) as lent, contextlib.ExitStack() as opened:
        ports = range(lent.first_port, lent.first_port + t.count("connections"))
        made = [
            sock
            for port in ports
            if (sock := _connected(t, holder, lent.address, port, opened)) is not None
        ]
        drain = f"{DRAIN_S:g} s" if how == DRAINED else None
        t.lab.control.lease_move(lent.name, heir.name, drain)
        alive = _answered(made)
        if how == DRAINED:
            t.lab.wait(lambda: _holds(t, lent, heir), "the heir to have the set", 3 * DRAIN_S)
        # A SYN that is sent before its rules are there is sent again after 1 s (RFC 6298).
        port = lent.first_port + len(ports)
        first = _connected(t, heir, lent.address, port, opened, 3 * PATIENCE_S)
    return {
        "wanted": len(ports),
        "opened": len(made),
        "broken": len(made) - alive,
        "heir_connects": int(first is not None),
    }


def _connected(
    t: Trial,
    host: HostPlan,
    address: IPv4Address,
    port: int,
    opened: contextlib.ExitStack,
    patience_s: float = PATIENCE_S,
) -> socket.socket | None:
    """A connection to an origin from one port; None if it was not answered."""
    from experiments.measure.kernel import bind_source, open_in
    from topologies.emulation.endpoints.service import HTTP_PORT

    made = opened.enter_context(open_in(host.name, socket.SOCK_STREAM))
    made.settimeout(patience_s)
    bind_source(made, address, (port, port))
    try:
        made.connect((str(_origin(t).address), HTTP_PORT))
    except OSError:
        return None
    return made


def _answered(made: Sequence[socket.socket]) -> int:
    """On how many connections a request is answered; all ask at once."""
    for sock in made:
        sock.sendall(b"GET /trace HTTP/1.1\r\nHost: origin\r\n\r\n")
    deadline, alive = time.monotonic() + PATIENCE_S, 0
    for sock in made:
        sock.settimeout(max(0.001, deadline - time.monotonic()))
        with contextlib.suppress(OSError):
            alive += bool(sock.recv(4096))
    return alive


def _holds(t: Trial, lent: _Set, heir: HostPlan) -> bool:
    at = (str(lent.address), lent.first_port)
    return any(
        (x["address"], x["first_port"], x["server"], x["state"]) == (*at, heir.name, "lent")
        for x in t.lab.control.leases()
    )


# -- what the evidence says


def evaluate(e: Evidence) -> Findings:
    """Times by act; a move's blackout is from the holder's last packet to the heir's first."""
    from experiments import stats

    samples = e.samples
    moves = moves_table(e)
    took = {act: samples[samples["act"] == act] for act in ("borrow", "connect", "return")}
    good = {act: rows[rows["outcome"] == "ok"]["took_ms"] for act, rows in took.items()}
    metrics = {
        "borrow_p50": Metric(stats.median(good["borrow"]), "ms"),
        "borrow_p95": Metric(stats.quantile(good["borrow"], 0.95), "ms"),
        "return_p50": Metric(stats.median(good["return"]), "ms"),
        "move_p50": Metric(stats.median(moves["word_ms"]), "ms"),
        "connects_ok": Metric(len(good["connect"]), "1"),
        "connects_total": Metric(len(took["connect"]), "1"),
    }
    for kind, name in ((SAME, "same_pop"), (OTHER, "other_pop")):
        mine = moves[moves["kind"] == kind]["blackout_ms"]
        metrics[f"blackout_{name}_p50"] = Metric(stats.median(mine), "ms")
        metrics[f"blackout_{name}_max"] = Metric(stats.quantile(mine, 1.0), "ms")
    for how, name in ((AT_ONCE, "at_once"), (DRAINED, "drained")):
        found = e.observed["connections"].get(how, {"broken": 0, "opened": 0})
        metrics[f"broken_{name}_share"] = Metric(stats.share(found["broken"], found["opened"]), "1")
    return Findings(_answer(metrics), metrics, _checks(e, moves, took["connect"]), {"moves": moves})


def moves_table(e: Evidence) -> pd.DataFrame:
    """A row per move: how long the word took, the blackout, and who was answered when."""
    import pandas as pd

    columns = ["kind", "turn", "word_ms", "blackout_ms", "holder_ok", "heir_ok"]
    rows = []
    stream = e.samples[e.samples["act"] == "move"]
    for move in e.observed["moves"]:
        mine = stream[(stream["kind"] == move["kind"]) & (stream["turn"] == move["turn"])]
        good = mine[mine["outcome"] == "ok"]
        sent = {role: good[good["role"] == role]["sent_ns"] for role in (HOLDER, HEIR)}
        before = mine[(mine["role"] == HOLDER) & (mine["sent_ns"] < move["began_ns"])]
        after = mine[(mine["role"] == HEIR) & (mine["sent_ns"] > move["ended_ns"])]
        there = mine[mine["arrived"] == True]  # noqa: E712 (None where nothing was looked for)
        early = (there["role"] == HEIR) & (there["sent_ns"] < move["began_ns"])
        late = (there["role"] == HOLDER) & (there["sent_ns"] > move["ended_ns"])
        both = len(sent[HOLDER]) and len(sent[HEIR])
        rows.append(
            {
                "kind": move["kind"],
                "turn": move["turn"],
                "word_ms": (move["ended_ns"] - move["began_ns"]) / 1e6,
                "blackout_ms": (sent[HEIR].min() - sent[HOLDER].max()) / 1e6 if both else None,
                "holder_ok": float((before["outcome"] == "ok").mean()),
                "heir_ok": float((after["outcome"] == "ok").mean()),
                "early": int(early.sum()),
                "late": int(late.sum()),
                "late_ms": (there["sent_ns"][late].max() - move["ended_ns"]) / 1e6
                if any(late)
                else None,
            }
        )
    return pd.DataFrame(rows, columns=[*columns, "early", "late", "late_ms"])


STALE_MS = 20.0
"""For so long a switch on a busy machine may go by what it has cached (decision 008)."""

OK_SHARE = 0.9
"""Part of the packets that a lawful sender must get answered."""


def _checks(e: Evidence, moves: pd.DataFrame, connects: pd.DataFrame) -> tuple[Check, ...]:
    early, late = int(moves["early"].sum()), int(moves["late"].sum())
    ok = int((connects["outcome"] == "ok").sum())
    answered = moves[["holder_ok", "heir_ok"]].min(axis=1, skipna=False)
    lawful = int((answered >= OK_SHARE).sum())
    return (
        Check(
            "every borrowed set is of use at once",
            0 < len(connects) == ok,
            f"{ok} of {len(connects)} connects from a set that was just borrowed",
        ),
        Check(
            "control: nothing of the heir's gets through before the move",
            len(moves) > 0 and early == 0,
            f"{early} packets reached the origin in {len(moves)} moves",
        ),
        Check(
            "control: nothing of the holder's gets through after it",
            len(moves) > 0 and late == 0,
            f"{late} packets reached the origin in {len(moves)} moves",
            noise=late > 0 and bool(moves["late_ms"].max() <= STALE_MS),
        ),
        Check(
            "twin: the holder is answered before, the heir after",
            0 < len(moves) == lawful,
            f"in {lawful} of {len(moves)} moves at least {OK_SHARE:.0%} of either's packets",
        ),
        *_connection_checks(e.observed["connections"]),
    )


def _connection_checks(found: dict[str, dict[str, int]]) -> Iterator[Check]:
    for how, name, expected in (
        (AT_ONCE, "control: a set that moves at once breaks what is open", "opened"),
        (DRAINED, "a drained set breaks nothing", "nothing"),
    ):
        one = found.get(how, {"wanted": 1, "opened": 0, "broken": 0, "heir_connects": 0})
        broken = one["opened"] if expected == "opened" else 0
        yield Check(
            name,
            0 < one["wanted"] == one["opened"]
            and one["broken"] == broken
            and one["heir_connects"] == 1,
            f"{one['broken']} of {one['opened']} connections broke;"
            f" the heir {'connects' if one['heir_connects'] else 'does not connect'} afterwards",
        )


def _answer(metrics: dict[str, Metric]) -> str:
    names = ("borrow_p50", "blackout_same_pop_p50", "blackout_other_pop_p50")
    borrow, same, other = (metrics[name].value for name in names)
    if borrow is None or (same is None and other is None):
        return "Not enough was answered to tell how quickly addresses change hands."
    moved = " and ".join(
        f"{value:.1f} ms {how}"
        for how, value in (("within its PoP", same), ("to another", other))
        if value is not None
    )
    return (
        f"A server has borrowed, configured and may use a port set {borrow:.1f} ms after it wished"
        f" for one; a set that moves is nobody's for {moved}."
    )


def draw(e: Evidence, findings: Findings, folder: Path) -> list[Path]:
    """How long borrowing takes, and one move of each kind to the packet."""
    from experiments.show.figures import agility as figure

    return [figure.draw(e.samples, e.observed["moves"], folder / "agility.png")]


STUDY = Study(
    name="agility",
    question="How quickly do addresses change hands, and what breaks meanwhile?",
    baselines=("a move at once, without draining",),
    controls=(
        "of the heir nothing must get through before a move, of the holder nothing after it",
        "a set that moves at once must break what is open; drained, it breaks nothing",
    ),
    parameters={
        "borrows": Parameter(
            6, 3, "sets that each server borrows and returns, one by one", least=1
        ),
        "moves": Parameter(10, 3, "moves of each kind", least=1),
        "packets": Parameter(
            400, 200, "packets that holder and heir each send around a move", least=1
        ),
        "interval_s": Parameter(
            0.002, 0.002, "between two packets of one sender, seconds", least=SOME
        ),
        "connections": Parameter(40, 20, "connections that are open when a set moves", least=1),
    },
    trial=trial,
    evaluate=evaluate,
    draw=draw,
    families=(4,),
    measures_computing=True,
)
