"""How long is traffic away when something breaks, and who brings it back?

Probes go through a link or to a PoP all the time, and it breaks: a link between cities whose cable
is pulled, the same one that dies silently, a PoP with all its links, a link of the backbone. The
same failures meet a network whose switches go round them without a controller, one whose
controller alone reroutes, and one in which nobody does anything. The dead PoP meets a fourth:
cities hear of it as BGP would have it, each in its own time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import IPv4Address
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from controller.core.convergence import delay_ns
from experiments.breaks import DEAD_POP, PULLED, SERVICE, SILENT, Break, breaks, need_a_stand_in
from experiments.parameters import SOME, Parameter, Value
from experiments.runs.spec import Spec
from experiments.study import Evidence, Findings, Study, Trial
from experiments.verdict.result import Check, Metric
from topologies.model import Network
from topologies.sources import dump_json

if TYPE_CHECKING:
    import pandas as pd

    from experiments.measure.echo import EchoProbe, EchoRow

SWITCHES, CONTROLLER, BGP, NOBODY = "switches", "controller", "bgp", "nobody"
RECOVERIES = (SWITCHES, CONTROLLER, BGP, NOBODY)
MS = 10**6
PATIENCE_S = 0.7
CLEAR_S = 0.2
"""What is sent so long before a failure is answered before it."""
HEAL_S = 20.0
CONVERGED_MS = 300.0
"""A city may be off its time by so much: the controller hears, programs, and probes are apart."""


def prepare(network: Network, params: Mapping[str, Value]) -> Network:
    """With BFD, so that a silent failure can be seen. Raises UsageError without a second PoP."""
    need_a_stand_in(network)
    every_ms = params["bfd_ms"]
    assert isinstance(every_ms, int | float)
    return replace(network, bfd_ns=round(every_ms) * MS, failover=True)


def trial(t: Trial) -> None:
    """Every failure under every kind of recovery."""
    t.observed["breaks"] = []
    for recovery in RECOVERIES:
        with t.step(f"recovery by {recovery}"):
            _recover_by(t, recovery)
        turns = t.count("turns") if recovery in (SWITCHES, CONTROLLER) else 1
        for broken in breaks(t.plan, t.count("streams")):
            if recovery == BGP and broken.name != DEAD_POP:
                continue  # links between cities are not chosen by BGP here
            seconds = _pace(t, recovery, broken).seconds + PATIENCE_S
            with t.timed_step(f"{broken.name}, recovery by {recovery}", turns * seconds):
                for turn in range(turns):
                    _break(t, recovery, broken, turn)
    with t.step("the network as it was"):
        _start_controller(t, t.plan.network)


@dataclass(frozen=True, slots=True)
class Pace:
    """How many packets each stream sends, how far apart, and when the failure comes, in seconds."""

    count: int
    interval_s: float
    before_s: float

    @property
    def seconds(self) -> float:
        """How long it takes."""
        return self.count * self.interval_s


def _pace(t: Trial, recovery: str, broken: Break) -> Pace:
    """Around a failure; where BGP recovers, until the last city has heard of it."""
    count, interval_s = t.count("packets"), t.param("interval_s")
    if recovery != BGP:
        return Pace(count, interval_s, count * interval_s / 2)
    hosts = (t.plan.host(stream.host) for stream in broken.streams)
    last_s = max(hears_ns(t.spec, host.city) for host in hosts) / 1e9 + 1.0
    interval_s = max(interval_s, last_s / count)
    before_s = max(1.0, 20 * interval_s)
    return Pace(ceil((before_s + last_s) / interval_s), interval_s, before_s)


def hears_ns(spec: Spec, city: str) -> int:
    """How long after a change a city hears of it, as BGP would have it."""
    return delay_ns(city, round(spec.number("convergence_s") * 1e9))


def _recover_by(t: Trial, recovery: str) -> None:
    """The switches alone have no controller; nobody has neither it nor detours."""
    t.lab.kill("controller")
    if recovery in (CONTROLLER, BGP):
        slow_ns = round(t.param("convergence_s") * 1e9) if recovery == BGP else 0
        _start_controller(t, replace(t.plan.network, failover=False, convergence_ns=slow_ns))


def _start_controller(t: Trial, network: Network) -> None:
    """Start the controller again; it gives the switches detours, or takes them away."""
    t.lab.network_file.write_text(dump_json(network))
    t.lab.restart("controller")
    t.lab.wait(t.lab.controller_api.is_listening, "the controller to answer", HEAL_S)
    t.lab.wait(t.lab.controller_api.is_ready, "the controller to program the switches", HEAL_S)


def _break(t: Trial, recovery: str, broken: Break, turn: int) -> None:
    """Probes all the time, and the failure in the middle; then all is mended."""
    from experiments.control.words import link_name

    pace = _pace(t, recovery, broken)
    rows: list[EchoRow] = []
    send = partial(_send, t, broken, pace.count, pace.interval_s)
    sending = threading.Thread(target=lambda: rows.extend(send()))
    sending.start()
    time.sleep(pace.before_s)
    broke_ns = time.monotonic_ns()
    for link in broken.links:
        if broken.silent:
            t.lab.control.link_blackhole(link_name(link))
        else:
            t.lab.control.link_cut(link_name(link))
    sending.join()
    told_ns = _told(t, broke_ns) if recovery == CONTROLLER else None
    case = {"recovery": recovery, "failure": broken.name, "turn": turn}
    t.observed["breaks"].append(case | {"broke_ns": broke_ns, "told_ns": told_ns})
    for row in rows:
        stream = broken.streams[row.probe]
        t.reporter.emit(
            case
            | {"stream": row.probe, "host": stream.host, "target": stream.target}
            | {"way_ms": stream.way_ns / MS, "sequence": row.sequence, "sent_ns": row.sent_ns}
            | {"outcome": row.outcome, "rtt_ms": None if row.rtt_ns is None else row.rtt_ns / MS}
        )
    for link in broken.links:
        t.lab.control.link_restore(link_name(link))
    patience_s = HEAL_S + pace.seconds
    t.lab.wait(lambda: _mended(t, broken, recovery), "the network to be mended", patience_s)


def _send(t: Trial, broken: Break, count: int, interval_s: float) -> list[EchoRow]:
    """Echoes on every stream: by ICMP, or by UDP from the ports that a server has borrowed."""
    from experiments.measure.ping import ping
    from experiments.measure.udp import udp_echo

    send = ping
    if broken.borrowed:
        send = partial(udp_echo, ports=t.leases[broken.streams[0].host].ports)
    probes, seed = _probes(t, broken), t.spec.seed
    return send(probes, count=count, interval_s=interval_s, timeout_s=PATIENCE_S, seed=seed)


def _probes(t: Trial, broken: Break) -> list[EchoProbe]:
    from experiments.measure.echo import EchoProbe

    return [
        EchoProbe(
            stream.host,
            t.service if stream.target == SERVICE else t.address(t.plan.host(stream.target)),
            IPv4Address(t.leases[stream.host].address) if broken.borrowed else None,
        )
        for stream in broken.streams
    ]


def _told(t: Trial, broke_ns: int) -> int | None:
    """When the controller heard of the first port that is down since then, monotonic ns."""
    heard = (
        event["monotonic_ns"]
        for event in t.lab.controller_api.events()
        if event["event"] == "PortStatus" and not event["up"] and event["monotonic_ns"] >= broke_ns
    )
    return min(heard, default=None)


def _mended(t: Trial, broken: Break, recovery: str) -> bool:
    """Whether all links live, the controller knows it, and every stream is answered."""
    if not t.lab.hear():
        return False
    if recovery in (CONTROLLER, BGP):
        api = t.lab.controller_api
        world = api.world()
        if world["down"] or world["held"] or not api.is_ready():
            return False
    return all(row.outcome == "ok" for row in _send(t, broken, 1, 0.01))


# -- what the evidence says


def evaluate(e: Evidence) -> Findings:
    """How long each stream was away, by failure and by who repaired it."""
    from experiments import stats

    outages = outages_table(e)
    metrics: dict[str, Metric] = {}
    for recovery in (SWITCHES, CONTROLLER):
        for failure in dict.fromkeys(outages["failure"]):
            mine = _of(outages, recovery, failure)["repair_ms"]
            name = f"{recovery}_{failure.replace(' ', '_').lower()}"
            for part, q in (("p50", 0.5), ("p95", 0.95)):
                metrics[f"{name}_{part}"] = Metric(stats.quantile(mine, q), "ms")
    told = outages[(outages["recovery"] == CONTROLLER) & (outages["failure"] != SILENT)]
    metrics |= {
        "flight_p50": Metric(stats.median(outages["flight_ms"]), "ms"),
        "controller_detect_p50": Metric(stats.median(told["detect_ms"]), "ms"),
        "controller_install_p50": Metric(stats.median(told["repair_ms"] - told["detect_ms"]), "ms"),
        "bgp_dead_pop_p50": Metric(stats.median(_of(outages, BGP)["repair_ms"]), "ms"),
        "bgp_dead_pop_p95": Metric(stats.quantile(_of(outages, BGP)["repair_ms"], 0.95), "ms"),
        "streams": Metric(len(outages), "1"),
    }
    return Findings(_answer(outages), metrics, _checks(e, outages), {"outages": outages})


def outages_table(e: Evidence) -> pd.DataFrame:
    """A row per stream and failure.

    ``repair_ms`` is from the failure until the last packet that it cost came to where the link had
    been, None if the stream never came back; ``flight_ms`` the time before the failure in which
    packets were sent that it cost; ``detect_ms`` until the controller heard of it.
    """
    import pandas as pd

    keys = ["recovery", "failure", "turn"]
    streams = dict(list(e.samples.groupby(keys))) if len(e.samples) else {}
    rows = []
    for case in e.observed["breaks"]:
        mine = streams.get(tuple(case[key] for key in keys))
        if mine is None:
            continue
        for stream, sent in mine.groupby("stream"):
            whose = {"stream": stream, "host": sent["host"].iloc[0]}
            rows.append({key: case[key] for key in keys} | whose | _outage(case, sent))
    columns = [*keys, "stream", "host", "before_ok", "lost", "repair_ms", "flight_ms", "detect_ms"]
    return pd.DataFrame(rows, columns=columns)


def _outage(case: Mapping[str, Any], sent: pd.DataFrame) -> dict[str, Any]:
    """What one failure cost one stream."""
    broke = case["broke_ns"]
    reached = sent["sent_ns"] + sent["way_ms"] * MS
    bad = sent["outcome"] != "ok"
    back = bad.any() and reached[bad].max() < reached.max()
    repair = max(0.0, float(reached[bad].max() - broke)) / MS if back else None
    before = sent["sent_ns"] < broke - CLEAR_S * 1e9
    return {
        "before_ok": float((~bad[before]).mean()) if before.any() else None,
        "lost": int(bad.sum()),
        "repair_ms": repair if bad.any() else 0.0,
        "flight_ms": max(0.0, float(broke - sent["sent_ns"][bad].min())) / MS if back else None,
        "detect_ms": None if case["told_ns"] is None else (case["told_ns"] - broke) / MS,
    }


def _of(outages: pd.DataFrame, recovery: str, failure: str | None = None) -> pd.DataFrame:
    mine = outages[outages["recovery"] == recovery]
    return mine if failure is None else mine[mine["failure"] == failure]


P50_MS, P95_MS = 20.0, 60.0
"""What switches may take for a failure that they see; carriers are held to 50 ms."""
BFD_INTERVALS = 4
OK_SHARE = 0.9


def _checks(e: Evidence, outages: pd.DataFrame) -> tuple[Check, ...]:
    bound_ms = e.spec.number("bfd_ms") * BFD_INTERVALS + 1e3 * e.spec.number("interval_s")
    return (
        _quick(outages),
        _in_time(outages, bound_ms),
        _back(outages),
        _as_cities_hear(e, outages),
        _nobody(outages),
        _before(outages),
    )


def _quick(outages: pd.DataFrame) -> Check:
    from experiments import stats

    mine = _of(outages, SWITCHES)
    seen = mine[mine["failure"] != SILENT]["repair_ms"]
    p50, p95 = stats.quantile(seen, 0.5), stats.quantile(seen, 0.95)
    good = p50 is not None and p95 is not None and p50 < P50_MS and p95 < P95_MS
    found = "nothing came back" if p50 is None else f"p50 {p50:.1f} ms, p95 {p95:.1f} ms"
    return Check("switches repair at once what they see", good, found, noise=p50 is not None)


def _in_time(outages: pd.DataFrame, bound_ms: float) -> Check:
    mine = _of(outages, SWITCHES, SILENT)["repair_ms"]
    late = int((~(mine < bound_ms)).sum())
    return Check(
        "switches notice a silent loss within four BFD intervals",
        late == 0 if len(mine) else None,
        f"{late} of {len(mine)} streams were away for longer than {bound_ms:.0f} ms",
        noise=bool(mine.notna().all()),
    )


def _back(outages: pd.DataFrame) -> Check:
    mine = outages[outages["recovery"] != NOBODY]
    away = int(mine["repair_ms"].isna().sum())
    return Check(
        "everything comes back, by switches alone and by the controller alone",
        len(mine) > 0 and away == 0,
        f"{away} of {len(mine)} streams did not",
    )


def _as_cities_hear(e: Evidence, outages: pd.DataFrame) -> Check:
    """Where BGP recovers, a city is away until it has heard of the failure, and no longer."""
    mine = _of(outages, BGP)
    wrong = []
    for host, repair_ms in zip(mine["host"], mine["repair_ms"], strict=True):
        hears_ms = hears_ns(e.spec, e.plan.host(host).city) / MS
        if repair_ms is None or not abs(repair_ms - hears_ms) < CONVERGED_MS:
            wrong.append(host)
    return Check(
        "by BGP each city is away until it hears of the failure",
        len(mine) > 0 and not wrong,
        f"{len(wrong)} of {len(mine)} streams were away for another time"
        + (f"; first: {wrong[0]}" if wrong else ""),
        noise=bool(mine["repair_ms"].notna().all()),
    )


def _nobody(outages: pd.DataFrame) -> Check:
    mine = _of(outages, NOBODY)
    back = int(mine["repair_ms"].notna().sum())
    return Check(
        "control: nothing comes back by itself",
        len(mine) > 0 and back == 0,
        f"{back} of {len(mine)} streams did without switches and controller",
    )


def _before(outages: pd.DataFrame) -> Check:
    good = int((outages["before_ok"] >= OK_SHARE).sum())
    return Check(
        "twin: before the failure streams are answered",
        0 < len(outages) == good,
        f"{good} of {len(outages)} streams, at least {OK_SHARE:.0%} of their packets",
    )


def _answer(outages: pd.DataFrame) -> str:
    from experiments import stats

    pulled = [stats.median(_of(outages, who, PULLED)["repair_ms"]) for who in RECOVERIES[:2]]
    dead = [stats.median(_of(outages, who, DEAD_POP)["repair_ms"]) for who in RECOVERIES[:2]]
    (switches, controller), (pop, pop_controller) = pulled, dead
    if None in (pop, pop_controller):
        return "Not enough came back to tell how long a failure lasts."
    told = f"{pop:.1f} ms for a dead PoP (the controller alone {pop_controller:.1f} ms)"
    if switches is not None and controller is not None:
        told = f"{switches:.1f} ms for a cut link ({controller:.1f} ms), {told}"
    slow = stats.median(_of(outages, BGP)["repair_ms"])
    by_bgp = "" if slow is None else f" By BGP a dead PoP would be felt for {slow / 1e3:.1f} s."
    return f"By switches alone traffic is away for {told}.{by_bgp}"


def draw(e: Evidence, findings: Findings, folder: Path) -> list[Path]:
    """How long streams were away, by failure and by who repaired it."""
    from experiments.show.figures import failover as figure

    del e
    return [figure.draw(findings.tables["outages"], folder / "failover.png")]


STUDY = Study(
    name="failover",
    question="How long is traffic away when something breaks, and who brings it back?",
    baselines=("the controller alone", "as BGP converges", "nobody"),
    controls=("without switches that go round it and without a controller nothing comes back",),
    parameters={
        "turns": Parameter(5, 1, "times that each thing breaks under each recovery", least=1),
        "streams": Parameter(12, 4, "most streams that are watched at one failure", least=1),
        "packets": Parameter(600, 240, "packets of each stream around a failure", least=1),
        "interval_s": Parameter(
            0.005, 0.005, "between two packets of one stream, seconds", least=SOME
        ),
        "convergence_s": Parameter(10, 1, "half of the cities hear of a dead PoP within, seconds"),
        "bfd_ms": Parameter(100, 100, "how often switches tell each other that a link lives"),
    },
    trial=trial,
    evaluate=evaluate,
    draw=draw,
    families=(4,),
    prepare=prepare,
    measures_computing=True,
)
