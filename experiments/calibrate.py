"""The emulator's own error in this very run: pings on plain paths against the model."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from experiments.result import Check, Fidelity

if TYPE_CHECKING:
    from experiments.study import Trial

PATHS = 12
PINGS = 11
RATE_PER_S = 100

BOUND_US = 2000.0
BOUND_SHARE = 0.15
BOUND_MOST_US = 5000.0
"""The median error may be 2 ms, or this share of the median RTT if that is more, but never 5 ms.

Each switch and link on the way adds about 0.2 ms of its own, so long paths err more.
"""


@dataclass(frozen=True, slots=True)
class PathError:
    """One path's replies: the model's RTT and measured minus modelled, in us."""

    source: str
    target: str
    model_rtt_us: float
    errors_us: tuple[float, ...]


def calibrate(t: Trial) -> list[PathError]:
    """Ping from some clients to a server of some PoP each, chosen by the seed alone."""
    from experiments.measure.ping import EchoProbe, ping
    from topologies.plan import HostRole

    chance = random.Random(t.spec.seed)  # its own, so that the same paths are pinged each time
    clients = list(t.plan.hosts_of(HostRole.CLIENT))
    chosen = chance.sample(clients, min(PATHS, len(clients)))
    pairs = [(client, t.plan.servers_of(chance.choice(t.oracle.pops))[0]) for client in chosen]
    rows = ping(
        [EchoProbe(client.name, server.address) for client, server in pairs],
        count=PINGS,
        interval_s=max(0.05, len(pairs) / RATE_PER_S),
        timeout_s=2.0,
        seed=t.spec.seed,
    )
    paths = []
    for index, (client, server) in enumerate(pairs):
        model_us = t.oracle.rtt_ms(client.name, server.name) * 1000
        errors = tuple(
            row.rtt_ns / 1000 - model_us
            for row in rows
            # The first packet of a flow pays for its set-up in the switches.
            if row.probe == index and row.sequence > 0 and row.rtt_ns is not None
        )
        paths.append(PathError(client.name, server.name, model_us, errors))
    return paths


def pooled(before: Sequence[PathError], after: Sequence[PathError]) -> list[PathError]:
    """Two calibrations of the same paths as one."""
    return [
        replace(first, errors_us=first.errors_us + second.errors_us)
        for first, second in zip(before, after, strict=True)
    ]


def fidelity(backend: str, links: int, paths: Sequence[PathError]) -> Fidelity:
    """Sum up a calibration. Errors are NaN if no ping was answered."""
    import numpy as np

    errors = [error for path in paths for error in path.errors_us]
    medians = [float(np.median(path.errors_us)) for path in paths if path.errors_us]
    p50, p99 = np.quantile(errors, [0.5, 0.99]) if errors else (float("nan"), float("nan"))
    worst = max(medians, key=abs) if medians else float("nan")
    typical_us = float(np.median([path.model_rtt_us for path in paths]))
    return Fidelity(
        backend=backend,
        rtt_error_p50_us=round(float(p50), 1),
        rtt_error_p99_us=round(float(p99), 1),
        links=links,
        worst_path_us=round(worst, 1),
        bound_us=round(min(max(BOUND_US, BOUND_SHARE * typical_us), BOUND_MOST_US), 1),
        samples=len(errors),
    )


def check(found: Fidelity) -> Check:
    """Whether the emulator was true enough: no delay missing, none much too long.

    Load lengthens RTTs but nothing shortens them, so a path that is too fast lacks a delay.
    """
    p50, worst, bound = found.rtt_error_p50_us, found.worst_path_us, found.bound_us
    return Check(
        "the emulator is true to the model",
        found.samples > 0 and abs(p50) <= bound and worst >= -bound,
        f"RTT error over {found.samples} pings: median {p50:.0f} us, p99 "
        f"{found.rtt_error_p99_us:.0f} us, worst path {worst:.0f} us; the bound is {bound:.0f} us",
    )


def parse(data: Sequence[dict[str, Any]]) -> list[PathError]:
    """The paths that ``dataclasses.asdict`` made plain."""
    return [PathError(**item | {"errors_us": tuple(item["errors_us"])}) for item in data]
