"""``poplab sweep`` and ``poplab worker``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.errors import UsageError
from experiments.options import (
    FAILED,
    INTERRUPTED,
    ClockWord,
    Datapath,
    FamilyNumber,
    Json,
    Links,
    Pops,
    Results,
    RootWord,
    Set,
    Steering,
    UpstreamWord,
    family_of,
    parameters_of,
)
from experiments.show.terminal import console, put, put_table
from topologies.validate import suggest

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from experiments.sweeps.design import Turn
    from experiments.sweeps.folder import SweepFolder

MOST_LINES = 60
"""So many rows of a summary are printed; all of it is in its file."""


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (sweep, worker):
        app.command()(command)


GOES_ON_WITH = {"resume", "labs", "scheduler", "metric", "as_json"}
"""What may be said beside the folder of a sweep that goes on."""


def _said(context: typer.Context) -> set[str]:
    """The parameters of a command that were given on the line."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source and source.name == "COMMANDLINE"}


def sweep(
    context: typer.Context,
    study: Annotated[str | None, typer.Argument(help="One of `poplab studies`.")] = None,
    varied: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME=VALUES", help="pops=1..5, pings=10,100, network=triangle,..."),
    ] = None,
    repeat: Annotated[int, typer.Option(min=1, help="Trials of every arm, each by its seed.")] = 1,
    seed: Annotated[int, typer.Option(help="The first seed; it also mixes the order.")] = 1,
    network: Annotated[str, typer.Option(help="A name, a file, or a topohub key.")] = "triangle",
    pops: Pops = None,
    steering: Steering = None,
    upstream: UpstreamWord = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer probes.")] = False,
    links: Links = "auto",
    datapath: Datapath = "auto",
    clock: ClockWord = "auto",
    root: RootWord = "host",
    given: Set = None,
    family: FamilyNumber = 4,
    labs: Annotated[
        int | None, typer.Option(min=1, help="Labs side by side here (else what times bear).")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="A Dask scheduler's fleet instead: tcp://HOST:8786.")
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="Print this metric alone; more than once for more.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="SWEEP", help="Do what a sweep's folder still lacks.")
    ] = None,
    results: Results = None,
    as_json: Json = False,
) -> None:
    """Ask one question many times: over values, with repeats, on this machine or a fleet."""
    from experiments.study import study as named
    from experiments.sweeps import sweep as sweeps
    from experiments.sweeps.folder import SweepFolder

    if resume is not None:
        if _said(context) - GOES_ON_WITH:
            raise UsageError("--resume goes on with what was asked then: leave all else out.")
        folder = SweepFolder(resume)
    elif study is None:
        raise UsageError("Name a study (see `poplab studies`), or a sweep to --resume.")
    else:
        asked: dict[str, Any] = {"network": network, "pops": pops, "steering": steering}
        asked |= {"upstream": upstream}
        asked |= {"links": links, "datapath": datapath, "clock": clock, "root": root}
        asked |= {"quick": quick, "family": family_of(family)}
        asked |= {"params": parameters_of(named(study), given or [])}
        folder = sweeps.prepare(
            study,
            varied or [],
            repeat=repeat,
            seed=seed,
            results=results,
            said=_said(context),
            **asked,
        )
    try:
        _carry_on(folder, scheduler, labs, quiet=as_json)
    except KeyboardInterrupt:
        sweeps.conclude(folder)
        told = (
            f"stopped; what is complete is kept: go on with `poplab sweep --resume {folder.path}`"
        )
        console(stderr=True).print(f"poplab: {told}", highlight=False, soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    turns = sweeps.conclude(folder)
    raise typer.Exit(_tell(folder, turns, metric or [], as_json=as_json))


def _carry_on(folder: SweepFolder, scheduler: str | None, labs: int | None, *, quiet: bool) -> None:
    from experiments.show.sweep_progress import Trials
    from experiments.sweeps import sweep as sweeps

    left = len(folder.left())
    if not left:
        return
    with (
        Trials(
            f"sweep of {folder.sweep.study}", left, None if quiet else console(stderr=True)
        ) as shown,
        sweeps.cluster(folder, scheduler, labs) as client,
    ):
        sweeps.carry_on(folder, client, shown.over, idle=shown.idle)


def _tell(
    folder: SweepFolder, turns: Mapping[str, list[Turn]], metrics: list[str], *, as_json: bool
) -> int:
    """Print what the trials say together; the exit code."""
    import pandas as pd

    from experiments.sweeps import rows
    from experiments.sweeps.folder import PAGE

    by_verdict = {verdict: len(mine) for verdict, mine in turns.items()}
    summary = pd.read_csv(folder.path / "summary.csv")
    shown = summary[summary["metric"].isin(metrics)] if metrics else summary
    if as_json:
        records = shown.astype(object).where(shown.notna(), None).to_dict("records")
        put({"sweep": str(folder.path), "trials": by_verdict, "summary": records})
    else:
        _show(folder, shown)
        counts = ", ".join(f"{count} {verdict}" for verdict, count in by_verdict.items())
        console().print(f"trials  {counts}", highlight=False)
        for turn in turns.get(rows.FAILED, [])[:3]:
            cause = (folder.failure(turn) or "").splitlines()[-1]
            console().print(f"  {turn.name}: {cause}", highlight=False, markup=False)
        console().print(f"sweep   {folder.path}", highlight=False, soft_wrap=True)
        console().print(f"page    {folder.path / PAGE}", highlight=False, soft_wrap=True)
    if unknown := set(metrics) - set(summary["metric"]):
        wrong = min(unknown)
        raise UsageError(f"There is no metric {wrong!r}: {suggest(wrong, summary['metric'])}.")
    return 0 if set(by_verdict) <= {"valid"} else FAILED


def _show(folder: SweepFolder, summary: pd.DataFrame) -> None:
    from experiments.stats import FEWEST
    from experiments.sweeps import rows

    names = [axis.name for axis in folder.sweep.axes]
    lines = [
        (
            *(str(row[name]) for name in names),
            row["metric"],
            "" if row["unit"] == "1" else row["unit"],
            str(row["trials"]),
            str(rows.estimate(row)),
            str(rows.difference(row)),
        )
        for row in summary.head(MOST_LINES).to_dict("records")
    ]
    heads = (*names, "metric", "unit", "trials", "median [95 %]", "against the first arm [95 %]")
    put_table(heads, lines)
    if any("too few" in line[-2] for line in lines):
        told = f"too few: an interval takes {FEWEST} valid trials of an arm (--repeat)"
        console().print(told, highlight=False)
    if len(summary) > MOST_LINES:
        more = f"{len(summary) - MOST_LINES} more lines in {folder.path / 'summary.csv'}"
        console().print(f"{more}; --metric picks some", highlight=False, soft_wrap=True)


def worker(
    scheduler: Annotated[str, typer.Argument(help="Where `dask scheduler` runs: tcp://HOST:8786.")],
    labs: Annotated[
        int | None, typer.Option(min=1, help="Labs side by side (else what real times bear).")
    ] = None,
) -> None:
    """Lend this machine to the sweeps of a Dask scheduler, until Ctrl-C."""
    from experiments.sweeps import fleet

    fleet.serve(scheduler, labs or fleet.labs_here("real"))
