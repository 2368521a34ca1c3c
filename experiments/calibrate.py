"""The emulator's own error in this very run: pings on plain paths against the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experiments.result import Check, Fidelity

if TYPE_CHECKING:
    from experiments.study import Trial

PATHS = 12
PINGS = 11
RATE_PER_S = 100

BOUND_US = 1000.0
BOUND_SHARE = 0.05
"""The median error may be 1 ms, or this share of the median RTT if that is more."""


@dataclass(frozen=True, slots=True)
class PathError:
    """One path's replies: the model's RTT and measured minus modelled, in us."""

    source: str
    target: str
    model_rtt_us: float
    errors_us: tuple[float, ...]


def calibrate(t: Trial) -> list[PathError]:
    """Ping from some clients to a server of some PoP each, chosen by the seed."""
    from experiments.measure.ping import EchoProbe, ping
    from topologies.plan import HostRole

    clients = list(t.plan.hosts_of(HostRole.CLIENT))
    chosen = t.random.sample(clients, min(PATHS, len(clients)))
    pairs = [(client, t.plan.servers_of(t.random.choice(t.oracle.pops))[0]) for client in chosen]
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
        bound_us=round(max(BOUND_US, BOUND_SHARE * typical_us), 1),
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
