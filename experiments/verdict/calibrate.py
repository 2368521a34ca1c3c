"""The emulator's own error in this very run, and its compensation.

Every switch and every emulated link on a path takes time of its own. Pings on plain paths, before
the study, tell how much; the link emulator then sends that much earlier. Pings on other paths,
after the study, tell what is left, and that is the run's error bar.
"""

from __future__ import annotations

import itertools
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from experiments.verdict.result import Check, Fidelity

if TYPE_CHECKING:
    from experiments.runs.testbed import Testbed
    from experiments.verdict.oracle import Oracle
    from topologies.plan import HostPlan

    Pairs: TypeAlias = Sequence[tuple[HostPlan, HostPlan]]

PATHS = 12
PINGS = 11
RATE_PER_S = 100

BOUND_US = 1000.0
BOUND_SHARE = 0.05
"""The median error may be 1 ms, or this share of the median RTT if that is more."""

LATE_BOUND_US = 1000.0
LATE_BOUND_SHARE = 0.02
"""One packet in a hundred may leave a link 1 ms late, or this share of the least RTT."""

REPLIES_LACKING = 0.1
"""By how much the share of answered pings may be less than what the links' loss leaves."""

STEAL_HIGH, BUSY_HIGH = 0.05, 0.8
"""Shares of CPU time above which they explain late packets."""

ADVANCE_MOST_US = 400.0
"""More than this on every link is no cost of the emulator but a host that cannot keep up."""


@dataclass(frozen=True, slots=True)
class PathError:
    """One path's replies: the model's RTT and measured minus modelled, in us.

    ``sent`` pings count, and the links' loss lets a share ``survival`` of them be answered.
    """

    source: str
    target: str
    model_rtt_us: float
    emulated_links: int
    errors_us: tuple[float, ...]
    sent: int = PINGS - 1
    survival: float = 1.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """Some paths without compensation, others with it; ``advance_us`` is taken off each link."""

    advance_us: float
    raw: tuple[PathError, ...]
    compensated: tuple[PathError, ...] = ()


def choose(oracle: Oracle, seed: int) -> tuple[Pairs, Pairs]:
    """Paths from a client to a server, by the seed alone: to learn from, and to be judged by.

    The two have no path in common, unless the network has but one.
    """
    from topologies.plan import HostRole

    chance = random.Random(seed)  # its own, so that the same paths are chosen each time
    plan = oracle.plan
    servers = [plan.servers_of(pop)[0] for pop in oracle.pops]
    clients = plan.hosts_of(HostRole.CLIENT)
    learned = [
        (client, chance.choice(servers))
        for client in chance.sample(clients, min(PATHS, len(clients)))
    ]
    others = [pair for pair in itertools.product(clients, servers) if pair not in learned]
    return learned, chance.sample(others, min(PATHS, len(others))) or learned


def measure(oracle: Oracle, pairs: Pairs, seed: int) -> tuple[PathError, ...]:
    """Ping each client's server."""
    from experiments.measure.ping import EchoProbe, ping

    rows = ping(
        [EchoProbe(client.name, server.address) for client, server in pairs],
        count=PINGS,
        interval_s=max(0.05, len(pairs) / RATE_PER_S),
        timeout_s=2.0,
        seed=seed,
    )
    paths = []
    for index, (client, server) in enumerate(pairs):
        model_us = oracle.rtt_ms(client.name, server.name) * 1000
        errors = tuple(
            row.rtt_ns / 1000 - model_us
            for row in rows
            # The first packet of a flow pays for its set-up in the switches.
            if row.probe == index and row.sequence > 0 and row.rtt_ns is not None
        )
        links = oracle.emulated_links(client.name, server.name)
        survival = oracle.survival(client.name, server.name)
        found = PathError(client.name, server.name, model_us, links, errors, PINGS - 1, survival)
        paths.append(found)
    return tuple(paths)


def compensate(lab: Testbed, oracle: Oracle, seed: int) -> Calibration:
    """Measure without compensation, then have the emulator send earlier, if it can.

    A path has as many switches as emulated links, so one figure for each link, the same
    everywhere, makes up for both.
    """
    raw = measure(oracle, choose(oracle, seed)[0], seed)
    assert lab.emulator is not None
    in_force_ns = lab.emulator.compensate(round(excess_us(raw) * 1000))
    return Calibration(in_force_ns / 1000, raw)


def excess_us(paths: Sequence[PathError]) -> float:
    """What a link with its switch adds to a one-way trip: a low estimate, and bounded.

    The lower quartile of each path and the median over paths: a busy moment during calibration
    must not make the study's links too fast. 0 if times scatter (between the quartiles) by more
    than would be taken off: they tell nothing of the links then.
    """
    shares, scatter = [], []
    for path in paths:
        if len(path.errors_us) > 1 and path.emulated_links:
            low, _, high = statistics.quantiles(path.errors_us, n=4)
            shares.append(low / (2 * path.emulated_links))
            scatter.append((high - low) / (2 * path.emulated_links))
    if not shares or statistics.median(scatter) > statistics.median(shares):
        return 0.0
    return min(max(statistics.median(shares), 0.0), ADVANCE_MOST_US)


def fidelity(links: Mapping[str, Any], found: Calibration, load: Mapping[str, float]) -> Fidelity:
    """Sum up a calibration, the links' own account and the host's load.

    Errors and shares are NaN if no ping was answered or sent.
    """
    import numpy as np

    paths = found.compensated
    errors = [error for path in paths for error in path.errors_us]
    raw = [error for path in found.raw for error in path.errors_us]
    medians = [float(np.median(path.errors_us)) for path in paths if path.errors_us]
    p50, p99 = np.quantile(errors, [0.5, 0.99]) if errors else (float("nan"), float("nan"))
    rtts = [path.model_rtt_us for path in paths] or [0.0]
    bound = max(BOUND_US, BOUND_SHARE * float(np.median(rtts)))
    sent = sum(path.sent for path in paths) or float("nan")
    return Fidelity(
        backend=links["backend"],
        rtt_error_p50_us=round(float(p50), 1),
        rtt_error_p99_us=round(float(p99), 1),
        links=links["emulated"],
        worst_path_us=round(_worst(medians, bound), 1),
        bound_us=round(bound, 1),
        samples=len(errors),
        advance_us=round(found.advance_us, 1),
        uncompensated_p50_us=round(float(np.median(raw)) if raw else float("nan"), 1),
        late_p99_us=links["timed"]["lateness_p99_us"],
        late_bound_us=round(max(LATE_BOUND_US, LATE_BOUND_SHARE * min(rtts)), 1),
        steal_share=round(load["steal_mean"], 4),
        busy_share=round(load["busy_mean"], 4),
        reply_share=round(len(errors) / sent, 4),
        model_reply_share=round(sum(path.sent * path.survival for path in paths) / sent, 4),
        overruns=links["overruns"],
    )


def _worst(medians: Sequence[float], bound: float) -> float:
    """The path that is farthest off; one that is much too fast is never hidden by a slower one."""
    if not medians:
        return float("nan")
    earliest = min(medians)
    return earliest if earliest < -bound else max(medians, key=abs)


def checks(found: Fidelity, *, judged: bool) -> tuple[Check, ...]:
    """Whether the emulator was true enough, path by path and link by link.

    ``judged`` says that packets cannot have been late unseen: the study's own times are judged
    too, time is virtual, or no packets are part of the study. Otherwise what no backend tells
    stays unknown.
    """
    always = (_check_paths(found), _check_replies(found), _check_overruns(found))
    if found.late_p99_us is None and judged:
        return always
    return (*always, _check_links(found))


def _check_paths(found: Fidelity) -> Check:
    """No delay is missing, none much too long.

    Load lengthens RTTs but nothing shortens them by more than the compensation, so a path that is
    much too fast lacks a delay.
    """
    p50, worst, bound = found.rtt_error_p50_us, found.worst_path_us, found.bound_us
    not_early = found.samples > 0 and p50 >= -bound and worst >= -bound
    return Check(
        "the emulator is true to the model",
        not_early and p50 <= bound,
        f"RTT error over {found.samples} pings: median {p50:.0f} us "
        f"({found.uncompensated_p50_us:.0f} us uncompensated), "
        f"p99 {found.rtt_error_p99_us:.0f} us, worst path {worst:.0f} us; "
        f"the bound is {bound:.0f} us",
        noise=not_early and p50 > bound,
    )


def _check_replies(found: Fidelity) -> Check:
    """The error bar rests on as many replies as the links' loss allows."""
    return Check(
        "the emulator's pings are answered",
        found.reply_share >= found.model_reply_share - REPLIES_LACKING,
        f"{found.reply_share:.0%} are; the links' loss leaves {found.model_reply_share:.0%}",
    )


def _check_overruns(found: Fidelity) -> Check:
    """No packet was lost but those that the links' loss and queues were meant to take."""
    return Check(
        "the emulator took in every packet",
        found.overruns == 0,
        f"{found.overruns} were lost before it saw whose they were",
        noise=found.overruns > 0,
    )


def _check_links(found: Fidelity) -> Check:
    """While times were measured, packets left the links when they should."""
    if found.late_p99_us is None:
        return Check("links kept their time", None, f"{found.backend} does not tell")
    in_time = found.late_p99_us <= found.late_bound_us
    detail = (
        f"p99 of lateness {found.late_p99_us:.0f} us, the bound is {found.late_bound_us:.0f} us; "
        f"host {found.busy_share:.0%} busy, {found.steal_share:.1%} stolen"
    )
    return Check(
        "links kept their time",
        in_time,
        detail if in_time else f"{detail}: {_cause(found)}",
        noise=not in_time,
    )


def _cause(found: Fidelity) -> str:
    if found.steal_share > STEAL_HIGH:
        return "the hypervisor gave this machine too little CPU"
    if found.busy_share > BUSY_HIGH:
        return "the CPU was busy: end what else runs here, or choose a smaller network"
    return "too many packets at once for this machine"


def parse(data: Mapping[str, Any]) -> Calibration:
    """The calibration that ``dataclasses.asdict`` made plain."""

    def paths(items: Sequence[Mapping[str, Any]]) -> tuple[PathError, ...]:
        return tuple(PathError(**{**x, "errors_us": tuple(x["errors_us"])}) for x in items)

    return Calibration(data["advance_us"], paths(data["raw"]), paths(data["compensated"]))
