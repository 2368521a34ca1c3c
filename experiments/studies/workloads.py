"""What does the same service look like to different workloads?

For a while in the middle of every arm no program serves: all services stand still (SIGSTOP), and go
on. Open loops ask when a request is due, whatever has become of those before; a closed loop waits
for each answer, so it sends least when waiting is longest (coordinated omission). Then a bulk
transfer, through an access line with a rate and without.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from experiments.errors import UsageError
from experiments.parameters import SOME, Parameter, Value
from experiments.study import Evidence, Findings, Study, Trial
from experiments.verdict import workloads
from experiments.verdict.result import Check, Metric
from experiments.verdict.truth import Timed
from experiments.verdict.workloads import (
    ARMS,
    CLOSED,
    CONNECT,
    EVEN,
    HTTP_ARMS,
    POISSON,
    TRACE,
    UDP,
    Arm,
    Stall,
)
from topologies.model import Network
from topologies.plan import HostPlan, HostRole

if TYPE_CHECKING:
    import pandas as pd

    from experiments.measure.http import HttpRow
    from experiments.measure.tcp import ConnectRow

    Attempt = TypeVar("Attempt")
    Row = TypeVar("Row", HttpRow, ConnectRow)

SERVICES = "endpoints"
"""The program that serves in all hosts."""

LEAST_STALL, MOST_STALL = 0.03, 0.25
"""Of an arm's time: so long that one request in a hundred cannot miss it, and no longer."""

TAIL = 0.99
"""The quantile that is compared."""

NEAR, NEAR_REQUESTS = 0.05, 2
"""A quantile may be off the closed form's by so much of the stall, and so many mean gaps between
requests: one that comes on the edge of the stall may meet it or not.
"""

LATE_MS = 5.0
"""So late a request may start."""

WINDOW_S = 0.05
"""In windows of so long arrivals are counted, for their dispersion."""

SIGMAS = 4.0
"""How many standard deviations chance is allowed."""

QUEUE_PACKETS = 200
"""What may wait for the rate of an access line: more than ``WINDOW_BYTES`` needs."""

WINDOW_BYTES = 32_768
"""The buffers of a bulk transfer, so that nothing is lost, and a line without a rate is no race."""

OMIT_S = 1
"""The beginning of a transfer, until the line is full: it does not count."""

BULK_NEAR = 0.02
"""By so much goodput may be off the closed form."""

MORE = 2.0
"""So many times the goodput there must be without a rate."""

CORRECTED = "closed, corrected"
"""The closed loop's times, and those of the requests that it kept back."""


def prepare(network: Network, params: Mapping[str, Value]) -> Network:
    """The network without health checks, which would tell of the stall.

    Raises UsageError for a stall that would not be seen or not be waited for, for a trace without
    time, and if an access line cannot be given a rate or has one.
    """
    seconds, stall_s = _number(params, "seconds"), _number(params, "stall_ms") / 1000
    if not LEAST_STALL * seconds <= stall_s <= MOST_STALL * seconds:
        raise UsageError(
            f"A stall of {stall_s:g} s in {seconds:g} s: give it from {LEAST_STALL:.0%} to"
            f" {MOST_STALL:.0%} of the time (stall_ms, seconds)."
        )
    if _number(params, "timeout_s") <= 2 * stall_s:
        raise UsageError(f"Waiting must be longer than a stall of {stall_s:g} s: raise timeout_s.")
    gaps = params["trace_gaps_ms"]
    assert isinstance(gaps, tuple)
    if sum(float(gap) for gap in gaps) <= 0:
        raise UsageError("The gaps of trace_gaps_ms must add up to more than 0.")
    wrong = [c.city for c in network.clients if c.access.rate_bit_s or not c.access.delay_ns]
    if wrong:
        raise UsageError(
            f"{network.name}: the study gives an access line a rate, and takes it away: give those"
            f" of {wrong[0]} a delay and no rate of their own."
        )
    return replace(network, health_ns=0)


def _number(params: Mapping[str, Value], name: str) -> float:
    value = params[name]
    assert isinstance(value, int | float)
    return value


# -- what is done in the lab


def trial(t: Trial) -> None:
    """Each workload by itself, with its stall; then bulk."""
    t.observed["stalls"] = {}
    for arm in ARMS:
        with t.timed_step(f"{arm.name}: a stall in the middle", t.param("seconds")):
            _WAYS[arm.name](t, arm)
    _wrk(t)
    t.observed["bulk"] = {}
    for name, rate_bit_s in (("rated", _rate_bit_s(t)), ("unrated", None)):
        with t.step(f"bulk, {name}", OMIT_S + t.param("bulk_s")):
            _limit(t, rate_bit_s)
            t.observed["bulk"][name] = _transfer(t)
            _limit(t, None)


def _stand_still(t: Trial, name: str, began_ns: int) -> Stall:
    """Let all services stand still in the middle of an arm; return when its time is over."""

    def sleep_until(at_s: float) -> float:
        time.sleep(max(0.0, at_s - (time.monotonic_ns() - began_ns) / 1e9))
        return (time.monotonic_ns() - began_ns) / 1e9

    seconds, lasts_s = t.param("seconds"), t.param("stall_ms") / 1000
    stopped_s = sleep_until((seconds - lasts_s) / 2)
    t.lab.pause(SERVICES)
    went_on_s = sleep_until(stopped_s + lasts_s)
    t.lab.resume(SERVICES)
    stall = Stall(stopped_s, went_on_s)
    t.observed["stalls"][name] = asdict(stall)
    t.reporter.event("stall", f"{name}: from {stopped_s:.3f} s to {went_on_s:.3f} s of the arm")
    sleep_until(seconds)
    return stall


def _open(t: Trial, arm: Arm) -> None:
    """Fetches, each on a connection of its own, when they are due."""
    from experiments.measure.http import Request, fetch

    async def ask(turn: int, request: Request) -> HttpRow:
        return await fetch(turn, request, t.param("timeout_s"))

    requests = [Request(client.name, t.service) for client in _clients(t)]
    _offer(t, arm, requests, ask, lambda row: row.total_ns if row.outcome == "ok" else None)


def _connect(t: Trial, arm: Arm) -> None:
    """Connects, which end as soon as they have begun."""
    from experiments.measure.tcp import TcpAttempt, connect_one

    async def ask(turn: int, attempt: TcpAttempt) -> ConnectRow:
        return await connect_one(turn, attempt, t.param("timeout_s"))

    attempts = [TcpAttempt(client.name, t.service) for client in _clients(t)]
    _offer(t, arm, attempts, ask, lambda row: row.connect_ns)


def _offer(
    t: Trial,
    arm: Arm,
    requests: Sequence[Attempt],
    ask: Callable[[int, Attempt], Awaitable[Row]],
    took: Callable[[Row], int | None],
) -> None:
    """Ask in an open loop, with a stall; ``took`` is how long a row's request took."""
    from experiments.measure.meanwhile import Meanwhile
    from experiments.measure.open_loop import offer

    began_ns = time.monotonic_ns()
    times = workloads.times(t.spec, arm)
    with Meanwhile(lambda _: offer(requests, ask, times)) as load:
        stall = _stand_still(t, arm.name, began_ns)
    for one in load.rows:
        row, due_ns = one.row, one.due_ns - began_ns
        _emit(t, arm, stall, row.host, due_ns, row.outcome, one.late_ns, took(row))


def _echo(t: Trial, arm: Arm) -> None:
    """UDP echoes; times are the kernel's, from when it sent."""
    from experiments.measure.meanwhile import Meanwhile
    from experiments.measure.udp import EchoProbe, EchoRow, udp_echo

    clients = _clients(t)
    count, interval_ns = workloads.echoes(t.spec, len(clients))

    def send(_over: threading.Event) -> list[EchoRow]:
        return udp_echo(
            [EchoProbe(client.name, t.service) for client in clients],
            count=count,
            interval_s=interval_ns / 1e9,
            timeout_s=t.param("timeout_s"),
            seed=t.spec.seed,
        )

    began_ns = time.monotonic_ns()
    with Meanwhile(send) as load:
        stall = _stand_still(t, arm.name, began_ns)
    for row in load.rows:
        _emit(t, arm, stall, row.host, row.sent_ns - began_ns, row.outcome, None, row.rtt_ns)


def _circle(t: Trial, arm: Arm) -> None:
    """Connections that stay, each asking when it is answered and has thought."""
    from experiments.measure.closed_loop import Turn, circle
    from experiments.measure.meanwhile import Meanwhile

    def go_round(over: threading.Event) -> list[Turn]:
        return circle(
            workloads.circles(t.spec, t.oracle),
            t.service,
            over,
            think_s=t.param("think_ms") / 1000,
            stagger_s=workloads.stagger_s(t.spec, t.oracle),
            timeout_s=t.param("timeout_s"),
        )

    began_ns = time.monotonic_ns()
    with Meanwhile(go_round) as load:
        stall = _stand_still(t, arm.name, began_ns)
    for turn in load.rows:
        at_ns = turn.sent_ns - began_ns
        _emit(t, arm, stall, turn.host, at_ns, turn.outcome, None, turn.rtt_ns)


_WAYS: Mapping[str, Callable[[Trial, Arm], None]] = {
    EVEN.name: _open,
    POISSON.name: _open,
    TRACE.name: _open,
    UDP.name: _echo,
    CLOSED.name: _circle,
    CONNECT.name: _connect,
}


def _clients(t: Trial) -> tuple[HostPlan, ...]:
    return t.plan.hosts_of(HostRole.CLIENT)


def _emit(
    t: Trial,
    arm: Arm,
    stall: Stall,
    client: str,
    due_ns: int,
    outcome: str,
    late_ns: int | None,
    took_ns: int | None,
) -> None:
    """Keep a request; its time counts from when it was due."""
    rtt_ms = workloads.rtts_ms(t.oracle)[client]
    started_s = (due_ns + (late_ns or 0)) / 1e9
    t.reporter.emit(
        {
            "arm": arm.name,
            "client": client,
            "city": t.plan.host(client).city,
            "due_s": due_ns / 1e9,
            "late_ms": None if late_ns is None else late_ns / 1e6,
            "outcome": outcome,
            "rtt_ms": None if took_ns is None else (took_ns + (late_ns or 0)) / 1e6,
            "model_rtt_ms": workloads.latency_ms(arm, started_s, rtt_ms, stall),
        }
    )


def _wrk(t: Trial) -> None:
    """The closed loop of wrk, where there is one: for comparison, as it is not part of the kit."""
    from experiments.measure import wrk
    from experiments.measure.meanwhile import Meanwhile

    t.observed["wrk"] = None
    if not wrk.is_there():
        t.reporter.event("wrk", "it is not installed, so nothing is compared with it")
        return
    client = _nearest(t)[0]
    with t.step("wrk: a stall in the middle", t.param("seconds")):
        began_ns = time.monotonic_ns()
        connections, seconds = t.count("connections"), t.param("seconds")
        with Meanwhile(lambda _: [wrk.run(client, t.service, connections, seconds)]) as load:
            _stand_still(t, "wrk", began_ns)
    t.observed["wrk"] = asdict(load.rows[0])


def _nearest(t: Trial) -> tuple[str, str]:
    """The client that is nearest to its PoP, and a server there."""
    rtts = workloads.rtts_ms(t.oracle)
    client = min(rtts, key=lambda name: rtts[name])
    return client, t.plan.servers_of(t.oracle.nearest_pops(client)[0])[0].name


def _transfer(t: Trial) -> dict[str, Any]:
    from experiments.measure import bulk

    client, server = _nearest(t)
    done = bulk.transfer(
        client,
        server,
        t.address(t.plan.host(server)),
        seconds=t.param("bulk_s"),
        omit_s=OMIT_S,
        window_bytes=WINDOW_BYTES,
    )
    return asdict(done) | {"goodput_bit_s": done.goodput_bit_s}


def _rate_bit_s(t: Trial) -> int:
    return round(t.param("rate_mbit_s") * 1e6)


def _limit(t: Trial, rate_bit_s: int | None) -> None:
    """Have the client's access line carry no more than that from it; by None what is planned."""
    assert t.lab.emulator is not None
    client, _ = _nearest(t)
    (link,) = t.plan.links_of(client)
    wanted = t.lab.planned(link)
    if rate_bit_s is not None:
        wanted = replace(wanted, rate_bit_s=rate_bit_s, limit_packets=QUEUE_PACKETS)
    way = "a_to_b" if link.a.node == client else "b_to_a"
    t.lab.emulator.set(link.number, **{way: wanted})


# -- what the evidence says


def evaluate(e: Evidence) -> Findings:
    """What each workload saw, beside what it would have seen had it asked when it meant to."""
    table = arms_table(e)
    metrics = dict(_metrics(e, table))
    return Findings(_answer(e, metrics), metrics, _checks(e, table), {"arms": table})


def answered(e: Evidence, arm: str) -> pd.Series[float]:
    """The times of an arm, ms; of the corrected one those that were kept back too."""
    import pandas as pd

    from experiments.measure.closed_loop import corrected

    mine = e.samples[e.samples["arm"] == (CLOSED.name if arm == CORRECTED else arm)]
    if arm != CORRECTED:
        return mine["rtt_ms"].astype(float)
    rtts = workloads.rtts_ms(e.oracle)
    expected_ms = {client: workloads.expected_ms(e.spec, rtt) for client, rtt in rtts.items()}
    known = mine.dropna(subset="rtt_ms")
    pairs = zip(known["client"], known["rtt_ms"], strict=True)
    return pd.Series(
        [value for client, rtt in pairs for value in corrected(float(rtt), expected_ms[client])],
        dtype=float,
    )


def arms_table(e: Evidence) -> pd.DataFrame:
    """A row per arm: how many requests, how long they took, and the closed form's tail.

    ``model_p99_ms`` is that of requests that are sent when they are meant to be, and served.
    """
    import pandas as pd

    from experiments import stats

    rows = []
    for arm in ARMS:
        meant = pd.Series(_meant_ms(e, arm), dtype=float)
        for name in (arm.name, CORRECTED) if arm is CLOSED else (arm.name,):
            times = answered(e, name)
            row: dict[str, Any] = {"arm": name, "meant": len(meant), "requests": len(times)}
            row["answered"] = int(times.notna().sum())
            row |= {
                f"p{level:g}_ms".replace(".", "_"): stats.quantile(times, level / 100)
                for level in (50, 90, 99, 99.9)
            }
            rows.append(row | {"max_ms": stats.quantile(times, 1.0),
                               "model_p99_ms": stats.quantile(meant, TAIL)})  # fmt: skip
    return pd.DataFrame(rows)


def _meant_ms(e: Evidence, arm: Arm) -> list[float]:
    """By the closed form, from the moment when the arm really began to ask."""
    due_s = e.samples[e.samples["arm"] == arm.name]["due_s"]
    first_s = float(due_s.min()) if len(due_s) else None
    stall = Stall(**e.observed["stalls"][arm.name])
    return workloads.meant_latencies_ms(e.spec, e.oracle, arm, stall, first_s)


def _metrics(e: Evidence, table: pd.DataFrame) -> Iterator[tuple[str, Metric]]:
    for row in table.to_dict("records"):
        name = str(row["arm"]).replace(", ", "_")
        yield f"{name}_requests", Metric(int(row["requests"]), "1")
        yield f"{name}_p50", Metric(_float(row["p50_ms"]), "ms")
        yield f"{name}_p99", Metric(_float(row["p99_ms"]), "ms")
        yield f"{name}_p99_model", Metric(_float(row["model_p99_ms"]), "ms")
    for arm in HTTP_ARMS:
        yield f"{arm.name}_dispersion", Metric(_dispersion(e, arm), "1")
    yield "late_max", Metric(_latest_ms(e), "ms")
    for name, transfer in e.observed["bulk"].items():
        yield f"bulk_{name}_goodput", Metric(transfer["goodput_bit_s"] / 1e6, "Mbit/s")
    yield "bulk_rated_goodput_model", Metric(_model_bit_s(e) / 1e6, "Mbit/s")
    if wrk := e.observed["wrk"]:
        yield "wrk_requests", Metric(wrk["requests"], "1")
        yield "wrk_p99", Metric(wrk["p99_ms"], "ms")


def _float(value: Any) -> float | None:
    return None if value is None or math.isnan(value) else float(value)


def _dispersion(e: Evidence, arm: Arm) -> float | None:
    """Of the starts of an arm's requests."""
    from experiments.measure.arrivals import dispersion

    mine = e.samples[e.samples["arm"] == arm.name].dropna(subset="late_ms")
    starts = mine["due_s"] + mine["late_ms"] / 1000
    return dispersion(starts, e.spec.number("seconds"), WINDOW_S)


def _model_bit_s(e: Evidence) -> float:
    return workloads.goodput_bit_s(e.spec.number("rate_mbit_s") * 1e6)


def _checks(e: Evidence, table: pd.DataFrame) -> tuple[Check, ...]:
    tails = {str(row["arm"]): row for row in table.to_dict("records")}
    apart_ms = max(workloads.expected_ms(e.spec, x) for x in workloads.rtts_ms(e.oracle).values())
    return (
        _all_answered(e),
        _offered(e, table),
        _random(e),
        _regular(e),
        *(
            _sees(e, f"what is asked when it is due sees the stall: {arm.name}", tails[arm.name])
            for arm in (*HTTP_ARMS, UDP)
        ),
        _does_not(e, "control: a closed loop does not see the stall", tails[CLOSED.name]),
        _sees(e, "twin: corrected by its expected interval it does", tails[CORRECTED], apart_ms),
        _does_not(e, "control: who only connects does not see it", tails[CONNECT.name]),
        _carried(e),
        _carried_more(e),
    )


def _all_answered(e: Evidence) -> Check:
    lost = int((e.samples["outcome"] != "ok").sum())
    name = "every request is answered, those that met the stall after it"
    return Check(name, len(e.samples) > 0 and lost == 0, f"{lost} of {len(e.samples)} were not")


def _offered(e: Evidence, table: pd.DataFrame) -> Check:
    """As many requests as are due, none of which waited for others."""
    mine = table[table["arm"].isin([arm.name for arm in ARMS if arm.open])]
    off = int((mine["requests"] - mine["meant"]).abs().sum())
    worst = _latest_ms(e)
    return Check(
        "open loops offer what is due, when it is due",
        off == 0 and worst is not None and worst <= LATE_MS,
        f"{off} requests too many or too few; the worst is {_two(worst)} ms off its time,"
        f" {LATE_MS:g} ms are allowed",
        noise=off == 0 and worst is not None and worst > LATE_MS,
    )


def _latest_ms(e: Evidence) -> float | None:
    """How far a start is off its time by the schedule at most; None if some are missing."""
    worst = 0.0
    for arm in ARMS:
        if not arm.open:
            continue
        mine = e.samples[e.samples["arm"] == arm.name]
        started = sorted(mine["due_s"] + mine["late_ms"].fillna(0.0) / 1000)
        meant = sorted(at_s for _, at_s in workloads.meant(e.spec, e.oracle, arm))
        if len(started) != len(meant) or not meant:
            return None
        first_s = float(mine["due_s"].min()) - meant[0]
        offs = (abs(a - b - first_s) for a, b in zip(started, meant, strict=True))
        worst = max(worst, 1000 * max(offs))
    return worst


def _random(e: Evidence) -> Check:
    windows = int(e.spec.number("seconds") / WINDOW_S)
    found, bound = _dispersion(e, POISSON), SIGMAS * math.sqrt(2 / (windows - 1))
    return Check(
        "Poisson arrivals scatter as chance has it",
        found is not None and abs(found - 1) <= bound,
        f"variance over mean of the counts of {windows} windows: {_two(found)}, not further from"
        f" 1 than {bound:.2f}",
    )


def _regular(e: Evidence) -> Check:
    windows = int(e.spec.number("seconds") / WINDOW_S)
    found, bound = _dispersion(e, EVEN), SIGMAS * math.sqrt(2 / (windows - 1))
    return Check(
        "control: even arrivals do not pass for chance",
        found is not None and found < 1 - bound,
        f"theirs is {_two(found)}",
    )


def _two(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


def _tail_off_ms(e: Evidence, row: Mapping[Any, Any], more_ms: float) -> tuple[float, float, bool]:
    """How far a tail is above the closed form's, how far it may be, and whether it agrees.

    The closed form must have something to see: a good part of the stall.
    """
    stall_ms, gap_ms = e.spec.number("stall_ms"), 1000 / e.spec.number("rate_per_s")
    bound_ms = NEAR * stall_ms + NEAR_REQUESTS * gap_ms + more_ms
    seen, model = (_float(row[name]) for name in ("p99_ms", "model_p99_ms"))
    if seen is None or model is None:
        return math.inf, bound_ms, False
    off_ms = seen - model
    return off_ms, bound_ms, abs(off_ms) <= bound_ms and model > stall_ms / 2


def _sees(e: Evidence, name: str, row: Mapping[Any, Any], more_ms: float = 0.0) -> Check:
    """Whether a tail is what requests meet that are sent when they are meant to be."""
    off_ms, bound_ms, agrees = _tail_off_ms(e, row, more_ms)
    return Check(name, agrees, _told(row, bound_ms), noise=off_ms > bound_ms)


def _does_not(e: Evidence, name: str, row: Mapping[Any, Any]) -> Check:
    """Whether the very same check fails, as the tail is too short."""
    off_ms, bound_ms, agrees = _tail_off_ms(e, row, 0.0)
    return Check(name, not agrees and off_ms < 0, _told(row, bound_ms))


def _told(row: Mapping[Any, Any], bound_ms: float) -> str:
    seen, model = (_float(row[name]) for name in ("p99_ms", "model_p99_ms"))
    if seen is None or model is None:
        return "nothing was answered"
    return f"p99 is {seen:.1f} ms; in time it is {model:.1f} ms, give or take {bound_ms:.1f} ms"


def _carried(e: Evidence) -> Check:
    found, model = e.observed["bulk"]["rated"]["goodput_bit_s"], _model_bit_s(e)
    return Check(
        "bulk gets what the line's rate leaves for payload",
        abs(found - model) <= BULK_NEAR * model,
        f"{found / 1e6:.3f} Mbit/s of {model / 1e6:.3f} Mbit/s",
        noise=found < model,
    )


def _carried_more(e: Evidence) -> Check:
    rated, free = (e.observed["bulk"][name]["goodput_bit_s"] for name in ("rated", "unrated"))
    return Check(
        "twin: without a rate there is more",
        free >= MORE * rated > 0,
        f"{free / 1e6:.1f} Mbit/s beside {rated / 1e6:.1f} Mbit/s",
        noise=0 < free < MORE * rated,
    )


def _answer(e: Evidence, metrics: Mapping[str, Metric]) -> str:
    tails = [
        metrics[f"{name}_p99"].value
        for name in (POISSON.name, CLOSED.name, CORRECTED.replace(", ", "_"))
    ]
    if None in tails:
        return "Not every workload was answered, so there is nothing to compare."
    by_chance, closed, mended = tails
    beside = "" if e.observed["wrk"] else " wrk is not installed, so nothing is compared with it."
    return (
        f"Of the requests that came at random one in a hundred waited {by_chance:.0f} ms or longer"
        f" around a stall of {e.spec.number('stall_ms'):g} ms; a closed loop tells of {closed:.1f}"
        f" ms, and of {mended:.0f} ms once corrected.{beside}"
    )


def draw(e: Evidence, findings: Findings, folder: Path) -> list[Path]:
    """How long requests take by arm, up to the tail; and what bulk gets."""
    from experiments.show.figures import workloads as figure

    names = [*(arm.name for arm in ARMS), CORRECTED]
    times = {name: answered(e, name) for name in names}
    goodputs = {name: x["goodput_bit_s"] / 1e6 for name, x in e.observed["bulk"].items()}
    model = _model_bit_s(e) / 1e6
    return [figure.draw(times, goodputs, model, folder / "workloads.png")]


STUDY = Study(
    name="workloads",
    question="What does the same service look like to different workloads?",
    baselines=(
        "a closed loop",
        "a closed loop, corrected",
        "connects alone",
        "bulk without a rate",
    ),
    controls=(
        "a closed loop must not see the stall, nor who only connects",
        "even arrivals must not pass for random ones",
    ),
    parameters={
        "seconds": Parameter(20, 5, "how long each arm lasts, whole seconds", least=1),
        "stall_ms": Parameter(1000, 250, "how long services stand still, ms"),
        "rate_per_s": Parameter(100, 100, "requests per second of each open loop", least=SOME),
        "trace_gaps_ms": Parameter(
            (2, 2, 2, 2, 42), (2, 2, 2, 2, 42), "gaps that repeat, ms", series=True
        ),
        "connections": Parameter(2, 1, "connections of each client in the closed loop", least=1),
        "think_ms": Parameter(20, 20, "from an answer to the next question, ms", least=SOME),
        "timeout_s": Parameter(5, 2, "how long to wait for an answer, seconds", least=SOME),
        "rate_mbit_s": Parameter(
            10, 10, "what the access line carries of bulk, Mbit/s", least=SOME
        ),
        "bulk_s": Parameter(10, 1, "how long each bulk transfer counts, whole seconds", least=1),
    },
    trial=trial,
    evaluate=evaluate,
    draw=draw,
    prepare=prepare,
    families=(4,),
    timed=Timed(
        ("arm", "client"),
        where=lambda samples: samples["outcome"] == "ok",
        floor_us=2000.0,  # programs answer, and programs ask
    ),
)
