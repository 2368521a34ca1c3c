"""The summary of a run for people at a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from experiments.verdict.result import Fidelity, Metric, Result

MARKS: Mapping[bool | None, tuple[str, str]] = {
    True: ("✓ ", "green"),
    False: ("✗ ", "bold red"),
    None: ("? ", "bold yellow"),
}

NOISE = """\
  Nothing but longer times than the model's: this machine was too busy.
  Try a quieter one, or virtual time (once: `make virtual`).\
"""


def render(result: Result, answer: str, figures: Iterable[Path], console: Console) -> None:
    """Print the answer, the metrics, the checks, the emulator's error and the figures."""
    console.print()
    console.print(Text.assemble((f"{result.study} on {result.network}", "bold"), f"  {answer}"))
    rows = [(name, *_value(metric)) for name, metric in result.metrics.items()]
    console.print(table("", ("metric", "value", "unit"), rows, numeric=(1,)))
    for check in result.checks:
        mark = MARKS[check.passed]
        console.print(Text.assemble("  ", mark, check.name, (f"  {check.detail}", "dim")))
    console.print(Text.assemble("  ", _verdict(result), f"  {_error_bar(result.fidelity)}"))
    if result.noisy:
        console.print(NOISE, highlight=False)
    console.print()
    console.print(f"run     {result.run}", highlight=False, soft_wrap=True)
    for figure in figures:
        console.print(f"figure  {figure}", highlight=False, soft_wrap=True)


def table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], numeric: Sequence[int] = ()
) -> Table:
    """A plain table; ``numeric`` columns stand to the right."""
    shown = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for number, column in enumerate(columns):
        shown.add_column(column, justify="right" if number in numeric else "left")
    for row in rows:
        shown.add_row(*map(Text, row))  # names are shown as they are, never read as markup
    return shown


def _value(metric: Metric) -> tuple[str, str]:
    """A metric as people write it: shares in per cent, counts whole, times with two digits."""
    value, unit = metric.value, metric.unit
    if value is None:
        return "-", unit
    if isinstance(value, int):
        return str(value), "" if unit == "1" else unit
    if unit == "1":
        return f"{value:.1%}", ""
    return f"{value:.2f}", unit


def _error_bar(found: Fidelity) -> str:
    """The emulator's own error in one line."""
    return (
        f"{found.backend}, emulator error: median {found.rtt_error_p50_us:.0f} us, "
        f"p99 {found.rtt_error_p99_us:.0f} us; host steal {found.steal_share:.1%}"
    )


def _verdict(result: Result) -> tuple[str, str]:
    if result.valid:
        return "valid", "bold green"
    failed = sum(check.passed is False for check in result.checks)
    if failed or not result.checks:
        return f"INVALID: {failed} of {len(result.checks)} checks failed", "bold red"
    unknown = sum(check.passed is None for check in result.checks)
    return f"UNKNOWN: {unknown} of {len(result.checks)} checks could not be told", "bold yellow"
