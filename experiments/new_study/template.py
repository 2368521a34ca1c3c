"""How long does it take to open a connection to the service, and to one server?

Say here what is measured, and how, in a few lines.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from experiments.parameters import Parameter
from experiments.study import Evidence, Findings, Study, Trial
from experiments.verdict.result import Check, Metric
from experiments.verdict.truth import Timed
from topologies.plan import HostRole

if TYPE_CHECKING:
    import pandas as pd

ARMS = ("anycast", "one server")
"""What is compared: the first is the subject, the others are baselines."""

CONTROL = "closed port"
"""Nobody listens there: if a connection opened, this study could not tell yes from no."""

OPEN, CLOSED = 80, 81


def trial(t: Trial) -> None:
    """What happens in the lab: it stands, and every server holds a lease."""
    from experiments.measure.tcp import TcpAttempt, connect  # the trial must import lightly

    clients = t.plan.hosts_of(HostRole.CLIENT)
    fixed = t.plan.servers_of(t.oracle.one_site())[0]
    targets = {ARMS[0]: (t.service, OPEN), ARMS[1]: (t.address(fixed), OPEN)}
    targets |= {CONTROL: (t.service, CLOSED)}
    asked = [
        (arm, client, TcpAttempt(client.name, *target))
        for _ in range(t.count("connections"))
        for arm, target in targets.items()
        for client in clients
    ]  # arms take turns, so that whatever disturbs the machine disturbs them alike
    with t.timed_step(f"{len(asked)} connections", len(asked) * t.param("spacing_s")):
        rows = connect([attempt for *_, attempt in asked], spacing_s=t.param("spacing_s"))
    for (arm, client, _), row in zip(asked, rows, strict=True):
        nearest = t.plan.servers_of(t.oracle.nearest_pops(client.name)[0])[0]
        server = fixed if arm == ARMS[1] else nearest
        t.reporter.emit(
            {
                "arm": arm,
                "client": client.name,
                "outcome": row.outcome,
                "rtt_ms": None if row.handshake_rtt_ns is None else row.handshake_rtt_ns / 1e6,
                "model_rtt_ms": t.oracle.rtt_ms(client.name, server.name),
            }
        )


def evaluate(e: Evidence) -> Findings:
    """What the samples say. Pure: it is given the evidence, and builds nothing."""
    from experiments import stats

    metrics = {
        f"{arm.replace(' ', '_')}_rtt_p50": Metric(
            stats.median_of_medians(_of(e.samples, arm), "client", "rtt_ms"), "ms"
        )
        for arm in ARMS
    }
    metrics["connections"] = Metric(len(e.samples[e.samples["arm"] != CONTROL]), "1")
    ours, theirs = (metrics[f"{arm.replace(' ', '_')}_rtt_p50"].value for arm in ARMS)
    answer = "Nobody could connect."
    if ours is not None and theirs is not None:
        answer = (
            f"A connection opens in {ours:.1f} ms by anycast, in {theirs:.1f} ms to one server."
        )
    table = e.samples.groupby(["arm", "client"], sort=False)["rtt_ms"].median().reset_index()
    return Findings(answer, metrics, _checks(e.samples), {"clients": table})


def _of(samples: pd.DataFrame, arm: str) -> pd.DataFrame:
    return samples[samples["arm"] == arm]


def _checks(samples: pd.DataFrame) -> tuple[Check, ...]:
    """A control that must fail, and its twin, which must not."""
    asked, knocked = samples[samples["arm"] != CONTROL], _of(samples, CONTROL)
    opened, refused = int((asked["outcome"] == "ok").sum()), int((knocked["outcome"] != "ok").sum())
    return (
        Check(
            "control: a port where nobody listens opens for nobody",
            0 < len(knocked) == refused,
            f"{refused} of {len(knocked)} were refused",
        ),
        Check(
            "twin: the service opens for all",
            0 < len(asked) == opened,
            f"{opened} of {len(asked)} opened",
        ),
    )


def draw(e: Evidence, findings: Findings, folder: Path) -> list[Path]:
    """Figures; the run's page has the distribution of times and a map without them."""
    del e, findings, folder
    return []


STUDY = Study(
    name="template",
    question="How long does it take to open a connection to the service, and to one server?",
    baselines=("one server, the nearest to all clients together",),
    controls=("a port where nobody listens must not open",),
    parameters={
        "connections": Parameter(50, 5, "connections of each client by each arm"),
        "spacing_s": Parameter(0.02, 0.02, "between two connections, seconds"),
    },
    trial=trial,
    evaluate=evaluate,
    draw=draw,
    timed=Timed(("arm", "client"), where=lambda samples: samples["arm"] != CONTROL),
)
