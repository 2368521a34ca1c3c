"""What workloads would see in a perfect lab, by the model of the study of that name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from experiments.runs.spec import Spec
from experiments.verdict import workloads
from experiments.verdict.oracle import Oracle
from experiments.verdict.workloads import Arm, Stall
from topologies.plan import Plan

UNRATED_BIT_S = 125e6


def worked(spec: Spec, made: Plan, oracle: Oracle) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Requests of every arm around a stall, and what bulk gets."""
    stall = stall_of(spec)
    rows = [row for arm in workloads.ARMS for row in _requests(spec, made, oracle, arm, stall)]
    rated = workloads.goodput_bit_s(spec.number("rate_mbit_s") * 1e6)
    return rows, {
        "stalls": {arm.name: asdict(stall) for arm in workloads.ARMS},
        "bulk": {"rated": {"goodput_bit_s": rated}, "unrated": {"goodput_bit_s": UNRATED_BIT_S}},
        "wrk": None,
    }


def stall_of(spec: Spec) -> Stall:
    """In the middle of an arm."""
    middle_s, half_s = spec.number("seconds") / 2, spec.number("stall_ms") / 2000
    return Stall(middle_s - half_s, middle_s + half_s)


def _requests(
    spec: Spec, made: Plan, oracle: Oracle, arm: Arm, stall: Stall
) -> Iterator[dict[str, Any]]:
    rtts = workloads.rtts_ms(oracle)
    pairs = workloads.meant(spec, oracle, arm) if arm.open else _circled(spec, oracle, stall)
    for client, at_s in pairs:
        took_ms = workloads.latency_ms(arm, at_s, rtts[client], stall)
        yield {
            "arm": arm.name,
            "client": client,
            "city": made.host(client).city,
            "due_s": at_s,
            "late_ms": 0.0 if arm.open and arm is not workloads.UDP else None,
            "outcome": "ok",
            "rtt_ms": took_ms,
            "model_rtt_ms": took_ms,
        }


def _circled(spec: Spec, oracle: Oracle, stall: Stall) -> Iterator[tuple[str, float]]:
    """When connections of the closed loop ask: after an answer, and a thought."""
    rtts = workloads.rtts_ms(oracle)
    for number, client in enumerate(workloads.circles(spec, oracle)):
        at_s = number * workloads.stagger_s(spec, oracle) + rtts[client] / 1000
        while at_s < spec.number("seconds"):
            yield client, at_s
            took_ms = workloads.latency_ms(workloads.CLOSED, at_s, rtts[client], stall)
            at_s += (took_ms + spec.number("think_ms")) / 1000
