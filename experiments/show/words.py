"""How a run's figures and its verdict are written, wherever people read them."""

from __future__ import annotations

import math

from experiments.verdict.result import Fidelity, Metric, Result

NOISE = (
    "Nothing but longer times than the model's: this machine was too busy.",
    "Try a quieter one, or virtual time (once: `make virtual`).",
)
"""What is said of a run that is invalid by noise alone."""


def metric(found: Metric) -> tuple[str, str]:
    """Value and unit as people write them: shares in per cent, counts whole, times to two digits.

    A dash stands where there is no value.
    """
    value, unit = found.value, found.unit
    if value is None:
        return "-", unit
    if isinstance(value, int):
        return str(value), "" if unit == "1" else unit
    if unit == "1":
        return f"{value:.1%}", ""
    return f"{value:.2f}", unit


def verdict(result: Result) -> str:
    """Whether to believe a run, and how many checks stand against it."""
    if result.valid:
        return "valid"
    failed = sum(check.passed is False for check in result.checks)
    if failed or not result.checks:
        return f"INVALID: {failed} of {len(result.checks)} checks failed"
    unknown = sum(check.passed is None for check in result.checks)
    return f"UNKNOWN: {unknown} of {len(result.checks)} checks could not be told"


def error_bar(found: Fidelity | None) -> str:
    """The emulator's own error in one line."""
    if found is None:
        return "no lab, nothing emulated"
    return (
        f"{found.backend}, emulator error: median {found.rtt_error_p50_us:.0f} us, "
        f"p99 {found.rtt_error_p99_us:.0f} us; host steal {found.steal_share:.1%}"
    )


def fidelity(found: Fidelity | None) -> list[tuple[str, str, str]]:
    """The emulator's own error, line by line: what, how much, and what is tolerated or expected.

    There is none where nothing was emulated.
    """
    if found is None:
        return []
    late = f"at most {_us(found.late_bound_us)}"
    early = _us(-found.bound_us)
    by_model = f"{found.model_reply_share:.2%} by the model"
    return [
        ("links emulated", f"{found.links} by {found.backend}", ""),
        ("round trips compared with the model", str(found.samples), ""),
        ("median error", _us(found.rtt_error_p50_us), f"at most {_us(found.bound_us)}"),
        ("error of one in a hundred", _us(found.rtt_error_p99_us), ""),
        ("worst path's median error", _us(found.worst_path_us), f"no faster than {early}"),
        ("one packet in a hundred late by", _us(found.late_p99_us), late),
        ("each link sends early by", _us(found.advance_us), ""),
        ("median error without that", _us(found.uncompensated_p50_us), ""),
        ("pings answered", f"{found.reply_share:.2%}", by_model),
        ("packets lost by the emulator", str(found.overruns), "none"),
        ("processor time withheld by the hypervisor", f"{found.steal_share:.1%}", ""),
        ("processor time used", f"{found.busy_share:.1%}", ""),
    ]


def _us(value: float | None) -> str:
    """A time in microseconds; a dash for one that nobody could tell."""
    return "-" if value is None or math.isnan(value) else f"{value:,.1f} us"
