"""``poplab compare``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.errors import UsageError, writing
from experiments.options import FAILED, Json
from experiments.show.terminal import console, put, put_table

if TYPE_CHECKING:
    from experiments.compare.sides import Line, Side
    from experiments.show.page.distributions import Distribution


def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Runs, or sweeps that only repeat.")
    ],
    fail_if: Annotated[
        list[str] | None,
        typer.Option(metavar="CONDITION", help="End with 1 if 'METRIC > 1.05x' the first's."),
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Draw the times of all runs over one another (PNG).")
    ] = None,
    page: Annotated[
        Path | None, typer.Option(help="Write it as a page of its own (HTML), with those times.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Runs of one study side by side, the first as the baseline; for CI too."""
    from experiments.compare import condition, sides

    found = sides.read(runs)
    lines = sides.lines(found)
    conditions = [condition.parse(text) for text in fail_if or []]
    violated = {one.text: [found[n].label for n in one.violated(lines)] for one in conditions}
    if figure is not None:
        _draw(found, figure)
    if page is not None:
        _write(found, lines, violated, page)
    if as_json:
        put(_contract(found, lines, violated))
    else:
        _show(found, lines, violated)
    unbelieved = bool(conditions) and any(side.unbelieved for side in found)
    raise typer.Exit(FAILED if unbelieved or any(violated.values()) else 0)


def _contract(
    found: Sequence[Side], lines: Sequence[Line], violated: dict[str, list[str]]
) -> dict[str, Any]:
    from experiments.compare import sides

    return {
        "study": found[0].study,
        "runs": [
            {"label": side.label, "trials": len(side.runs), "unbelieved": list(side.unbelieved)}
            for side in found
        ],
        "differing": {name: list(values) for name, values in sides.differing(found).items()},
        "metrics": {
            line.metric: {
                "unit": line.unit,
                "estimates": [asdict(estimate) for estimate in line.estimates],
                "ratios": [line.ratio(n) for n in range(len(found))],
                "effects": [asdict(effect) for effect in line.effects],
            }
            for line in lines
        },
        "violated": violated,
    }


def _show(found: Sequence[Side], lines: Sequence[Line], violated: dict[str, list[str]]) -> None:
    from experiments.compare import sides

    screen = console()
    for number, side in enumerate(found, 1):
        trials = f" ({len(side.runs)} trials)" if len(side.runs) > 1 else ""
        screen.print(f"{number}  {side.label}{trials}", highlight=False, markup=False)
        for wrong in side.unbelieved:
            told = f"   ! {wrong}: its figures say nothing"
            screen.print(told, style="bold red", highlight=False, markup=False)
    for name, values in sides.differing(found).items():
        told = f"not the same {name}: {'; '.join(values)}"
        screen.print(told, style="yellow", highlight=False, markup=False)
    put_table(_heads(len(found)), [_cells(line) for line in lines])
    for text, labels in violated.items():
        told = f"✗ {text}: {', '.join(labels)}" if labels else f"✓ not {text}"
        screen.print(told, highlight=False, markup=False)


def _heads(count: int) -> list[str]:
    heads = ["metric", "unit", "1"]
    for number in range(2, count + 1):
        heads += [str(number), "of 1"]
    return heads


def _cells(line: Line) -> list[str]:
    cells = [line.metric, "" if line.unit == "1" else line.unit]
    for number in range(len(line.estimates)):
        cells.append(line.median(number))
        if number:
            cells.append(line.times(number))
    return cells


def _draw(found: Sequence[Side], path: Path) -> None:
    """Raises UsageError where there is nothing to draw, or no picture to draw it in."""
    from experiments.show.figures import comparison as figure

    times = _times(found)
    if not times:
        raise UsageError(f"{found[0].study} measures no times to draw: leave --figure out.")
    if path.suffix != ".png":
        raise UsageError(f"A figure is a PNG picture: {path} should end in .png.")
    with writing(path):
        figure.draw(times, path)


def _write(
    found: Sequence[Side], lines: Sequence[Line], violated: dict[str, list[str]], path: Path
) -> None:
    """Raises UsageError where that is no page."""
    from experiments.show.page import comparison

    if path.suffix != ".html":
        raise UsageError(f"A page is HTML: {path} should end in .html.")
    text = comparison.render(found, lines, violated, _times(found))
    with writing(path):
        path.write_text(text)


def _times(found: Sequence[Side]) -> dict[str, list[Distribution]]:
    """The times of each side by arm, by its label; nothing if the study measures none."""
    import pandas as pd

    from experiments.runs import rundata
    from experiments.show.page import distributions
    from experiments.study import study

    timed = study(found[0].study).timed
    if timed is None:
        return {}
    return {
        side.label: distributions.by_arm(
            timed, pd.concat([rundata.load(run).samples for run in side.runs], ignore_index=True)
        )
        for side in found
    }
