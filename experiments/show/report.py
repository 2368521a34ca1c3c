"""The summary of a run for people at a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from experiments.runs import runfolder
from experiments.show import words
from experiments.verdict.result import Result, Verdict

MARKS: Mapping[bool | None, tuple[str, str]] = {
    True: ("✓ ", "green"),
    False: ("✗ ", "bold red"),
    None: ("? ", "bold yellow"),
}

COLOURS: Mapping[Verdict, str] = {
    "valid": "bold green",
    "invalid": "bold red",
    "unknown": "bold yellow",
}


def render(result: Result, answer: str, figures: Iterable[Path], console: Console) -> None:
    """Print answer, metrics, checks, the emulator's error, and where page and figures are."""
    console.print()
    console.print(Text.assemble((f"{result.study} on {result.network}", "bold"), f"  {answer}"))
    rows = [(name, *words.metric(metric)) for name, metric in result.metrics.items()]
    console.print(table("", ("metric", "value", "unit"), rows, numeric=(1,)))
    lines = Table.grid()  # a text that is too long for a line goes on under its beginning
    for check in result.checks:
        mark = Text.assemble("  ", MARKS[check.passed])
        lines.add_row(mark, Text.assemble(check.name, (f"  {check.detail}", "dim")))
    verdict = words.verdict(result), COLOURS[result.verdict]
    lines.add_row("", Text.assemble(verdict, f"  {words.error_bar(result.fidelity)}"))
    for line in words.NOISE if result.noisy else ():
        lines.add_row("", Text(line))
    console.print(lines)
    console.print()
    console.print(f"run     {result.run}", highlight=False, soft_wrap=True)
    page = result.run / runfolder.PAGE
    if page.exists():
        console.print(f"page    {page}", highlight=False, soft_wrap=True)
    for figure in figures:
        console.print(f"figure  {figure}", highlight=False, soft_wrap=True)


def table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], numeric: Sequence[int] = ()
) -> Table:
    """A plain table; ``numeric`` columns stand to the right."""
    shown = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for number, column in enumerate(columns):
        justify: JustifyMethod = "right" if number in numeric else "left"
        shown.add_column(column, justify=justify, overflow="fold")
    for row in rows:
        shown.add_row(*map(Text, row))  # names are shown as they are, never read as markup
    return shown
