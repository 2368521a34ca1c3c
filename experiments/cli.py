"""``poplab``: the command line. Heavy libraries are imported by the command that needs them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from experiments.compare import commands as comparison
from experiments.control import commands as control
from experiments.live import commands as live_view
from experiments.options import (
    FAILED,
    INTERRUPTED,
    MISUSED,
    NOISY,
    ClockWord,
    Datapath,
    FamilyNumber,
    Json,
    Links,
    NetworkRef,
    Pops,
    Results,
    RootWord,
    ScenarioFile,
    Set,
    Steering,
    UpstreamWord,
    family_of,
    parameters_of,
)
from experiments.show.terminal import console, put, put_table
from experiments.sweeps import commands as sweeps
from topologies.emulation.sandbox import LIMIT_S

if TYPE_CHECKING:
    from experiments.parameters import Value
    from experiments.runs.repeat import Comparison
    from experiments.runs.runner import Watch

app = typer.Typer(
    help="Build, run and measure a CDN whose servers own no IP address.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _tell_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        sys.stdout.write(f"poplab {version('poplab')}\n")
        raise typer.Exit


@app.callback()
def poplab(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="The version.")
    ] = False,
) -> None:
    """Build, run and measure a CDN whose servers own no IP address."""


@app.command()
def doctor(
    as_json: Json = False,
    fix: Annotated[
        str | None,
        typer.Option(help="`virtual` builds the kernel for virtual time, `hermetic` its root."),
    ] = None,
) -> None:
    """What this host can do, what is missing, and the command that mends it."""
    from experiments.host import doctor as physician

    if fix is not None:
        physician.mend(fix)
    checks = physician.diagnose()
    code = physician.exit_code(checks)
    if as_json:
        put({"ok": code == 0, "checks": [asdict(check) for check in checks]})
    else:
        physician.render(checks, console())
    raise typer.Exit(code)


@app.command()
def networks(as_json: Json = False) -> None:
    """The networks that ship with the kit."""
    from topologies import sources

    found = sources.catalog()
    if as_json:
        put({"networks": [{"name": name, "description": text} for name, text in found]})
        return
    put_table(("network", "what it is"), found)
    console().print(
        "Files (YAML, JSON, GraphML) and topohub keys work too: poplab show topozoo/Abilene",
        highlight=False,
    )


@app.command()
def studies(as_json: Json = False) -> None:
    """The questions that can be asked, and what shapes them."""
    from experiments.study import STUDIES
    from experiments.study import study as named

    found = [named(name) for name in STUDIES]
    if as_json:
        described = {
            study.name: {
                "question": study.question,
                "parameters": {name: asdict(p) for name, p in study.parameters.items()},
            }
            for study in found
        }
        put({"studies": described})
        return
    from rich.text import Text

    for study in found:
        console().print(Text.assemble((study.name, "bold"), f"  {study.question}"))
        rows = [
            (n, _value(p.usual), _value(p.quick), p.meaning) for n, p in study.parameters.items()
        ]
        put_table(("parameter", "usual", "quick", "what it is"), rows)


def _value(value: Value) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


@app.command()
def new_study(
    name: Annotated[str, typer.Argument(help="A word in small letters; it names the module too.")],
) -> None:
    """Begin a study of your own: a module that works as it is (see docs/new-study.md)."""
    from experiments import new_study as new

    path = new.write(name)
    told = f"study   {path}\nrun it  poplab run {name} --quick"
    console().print(told, highlight=False, soft_wrap=True)


@app.command()
def show(
    network: NetworkRef,
    pops: Pops = None,
    steering: Steering = None,
    upstream: UpstreamWord = None,
    picture: Annotated[Path | None, typer.Option("--map", help="Where the map goes (PNG).")] = None,
    as_json: Json = False,
) -> None:
    """PoPs, links, delays and the address plan of a network, and a map of it."""
    from experiments.errors import UsageError
    from experiments.runs import runfolder
    from topologies import describe, sources
    from topologies import map as network_map
    from topologies.explicit import dump_json
    from topologies.plan import plan

    loaded = sources.load(network, pops, steering, upstream)
    path = picture or runfolder.root() / "maps" / f"{loaded.name}.png"
    if path.suffix != ".png":
        raise UsageError(f"A map is a PNG picture: {path} should end in .png.")
    unwritable = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        network_map.draw(loaded, path)
    except OSError as error:
        unwritable = f"there is no map: {error}; choose a place with --map"
    tables = describe.tables(plan(loaded))
    if as_json:
        named = {
            t.title: [dict(zip(t.columns, row, strict=True)) for row in t.rows] for t in tables
        }
        drawn = None if unwritable else str(path)
        put({"network": json.loads(dump_json(loaded)), "tables": named, "map": drawn})
    else:
        from rich.text import Text

        console().print(Text.assemble((loaded.name, "bold"), f" {loaded.description}"))
        for table in tables:
            put_table(table.columns, table.rows, table.title)
        if not unwritable:
            console().print(f"map  {path}", highlight=False, soft_wrap=True)
    if unwritable:
        _stop(unwritable, FAILED)


@app.command(context_settings={"ignore_unknown_options": True})
def up(
    network: NetworkRef,
    command: Annotated[
        list[str] | None,
        typer.Argument(help="After `--`: a host and its command; without, the Mininet prompt."),
    ] = None,
    pops: Pops = None,
    steering: Steering = None,
    upstream: UpstreamWord = None,
    links: Links = "auto",
    datapath: Datapath = "auto",
    clock: Annotated[
        str, typer.Option(help="real, or virtual (for a command; there is no prompt).")
    ] = "real",
    root: RootWord = "host",
    scenario: ScenarioFile = None,
    controllers: Annotated[
        int, typer.Option(min=1, max=9, help="One of so many leads, the others stand by.")
    ] = 1,
    live: Annotated[bool, typer.Option("--live", help="In a browser too: `poplab live`.")] = False,
) -> None:
    """Bring a network up and work in it by hand: `poplab up triangle -- LHR-c1 ping -c1 ...`."""
    from experiments.control import hands
    from topologies import sources

    options = hands.options(links, datapath, clock, root, command or [])
    loaded = sources.load(network, pops, steering, upstream)
    beside = live_view.beside(options.clock) if live else None
    raise typer.Exit(hands.work(loaded, options, command or [], scenario, controllers, beside))


@app.command()
def run(
    study: Annotated[str, typer.Argument(help="One of `poplab studies`.")],
    network: Annotated[str, typer.Option(help="A name, a file, or a topohub key.")] = "triangle",
    pops: Pops = None,
    steering: Steering = None,
    upstream: UpstreamWord = None,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal schedules.")] = 1,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer probes.")] = False,
    links: Links = "auto",
    datapath: Datapath = "auto",
    clock: ClockWord = "auto",
    root: RootWord = "host",
    repeat_check: Annotated[
        int | None, typer.Option(min=2, help="Run so many times, and compare every frame.")
    ] = None,
    limit: Annotated[
        float, typer.Option(metavar="S", help="End a trial that takes longer, in seconds.")
    ] = LIMIT_S,
    given: Set = None,
    family: FamilyNumber = 4,
    scenario: ScenarioFile = None,
    pcap: Annotated[
        list[str] | None, typer.Option(metavar="LINK", help="Keep a link's frames for Wireshark.")
    ] = None,
    results: Results = None,
    as_json: Json = False,
) -> None:
    """Ask a question: build the network, measure, and keep everything in a run folder."""
    from experiments.runs import clock as clocks
    from experiments.runs import runner
    from experiments.study import study as named

    params = parameters_of(named(study), given or [])
    spec = runner.make_spec(
        study,
        network,
        pops=pops,
        steering=steering,
        upstream=upstream,
        seed=seed,
        quick=quick,
        links=links,
        datapath=datapath,
        clock=clock,
        root=root,
        limit_s=limit,
        params=params,
        family=family_of(family),
        scenario=scenario,
        pcap=pcap or (),
    )
    if not as_json:
        choice = clocks.choose(named(study), clock)
        console(stderr=True).print(choice.sentence(), highlight=False)
    comparisons: list[Comparison] = []
    title = f"{spec.study} on {spec.network.name}"
    with _until_stopped(), _watching(quiet=as_json) as began:
        if repeat_check:
            from experiments.runs import repeat

            result, comparisons = repeat.check(
                spec, repeat_check, results, lambda number: began(f"{title}, run {number}")
            )
        else:
            result = runner.run_spec(spec, results, began(title))
    if as_json:
        repeats = {"repeats": [asdict(c) for c in comparisons]} if repeat_check else {}
        put(result.contract() | repeats)
    else:
        _report(result.run)
        for number, comparison in enumerate(comparisons, 2):
            console().print(f"run {number} and run 1 are {comparison.sentence()}", highlight=False)
    if not all(comparison.equal for comparison in comparisons):
        raise typer.Exit(FAILED)
    raise typer.Exit(0 if result.valid else NOISY if result.noisy else FAILED)


@app.command()
def reproduce(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run in virtual time.")],
    results: Results = None,
    as_json: Json = False,
) -> None:
    """Make a run again, from its spec alone, and say whether every frame is the same."""
    from experiments.runs import repeat

    with _until_stopped(), _watching(quiet=as_json) as began:
        again, comparison = repeat.reproduce(run_folder, results, began(f"{run_folder.name} again"))
    if as_json:
        put({"run": str(again.run), "equal": comparison.equal, **asdict(comparison)})
    else:
        console().print(f"run  {again.run}", highlight=False, soft_wrap=True)
        console().print(comparison.sentence(), highlight=False)
    raise typer.Exit(0 if comparison.equal else FAILED)


@contextmanager
def _until_stopped() -> Iterator[None]:
    """Ctrl-C ends the command with a sentence."""
    try:
        yield
    except KeyboardInterrupt:
        _stop("stopped; nothing is left running and no run folder was written.", INTERRUPTED)


@contextmanager
def _watching(*, quiet: bool) -> Iterator[Callable[[str], Watch]]:
    """A function that begins to show a run under a title, and gives who watches it."""
    from experiments.show.progress import Ticker

    with ExitStack() as stack:

        def began(title: str) -> Watch:
            stack.close()  # the mark of the run before
            if quiet:
                return lambda _message: None
            return stack.enter_context(Ticker(title, console(stderr=True)))

        yield began


@app.command()
def report(
    run_folder: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="A run folder.", show_default=False)
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write the run's page there.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Write index.html, a list of all runs, into the results.")
    ] = False,
    results: Results = None,
    as_json: Json = False,
) -> None:
    """The summary of a run again, and where its figures are; its web page; a list of all runs."""
    from experiments.errors import UsageError, writing
    from experiments.runs import rundata

    if (run_folder is None) is not every:
        raise UsageError("Say which run: give its folder, or --all for a list of all, not both.")
    if every and page is not None:
        raise UsageError(f"The list of all runs goes into the results: leave --html {page} out.")
    if run_folder is None:
        _told({"index": str(_index(results))}, as_json=as_json)
    elif page is not None:
        from experiments.show.page.run import render

        run = rundata.load(run_folder, compact=True)
        with rundata.whole(run_folder):
            text = render(run)
        with writing(page):
            page.write_text(text, encoding="utf-8")
        _told({"page": str(page)}, as_json=as_json)
    elif as_json:
        put(rundata.head(run_folder)[1].contract())
    else:
        _report(run_folder)


def _index(results: Path | None) -> Path:
    """Write the list of all runs; where it is."""
    from experiments.errors import UsageError
    from experiments.runs import runfolder
    from experiments.show.page import index

    place = runfolder.root(results)
    if not place.is_dir():
        raise UsageError(f"There are no results in {place}: say where they are (--results).")
    path = place / runfolder.INDEX
    path.write_text(index.render(index.entries(place)), encoding="utf-8")
    return path


def _told(made: dict[str, str], *, as_json: bool) -> None:
    """Say what was made, and where it is."""
    if as_json:
        put(made)
        return
    for what, where in made.items():
        console().print(f"{what}  {where}", highlight=False, soft_wrap=True)


def _report(folder: Path) -> None:
    from experiments.runs import rundata
    from experiments.show.report import render

    manifest, result, answer = rundata.head(folder)
    render(result, answer, rundata.figures(folder, manifest), console())


def _stop(message: str, code: int) -> NoReturn:
    sys.stderr.write(f"poplab: {message}\n")
    sys.exit(code)


control.add_to(app)
sweeps.add_to(app)
live_view.add_to(app)
app.command()(comparison.compare)


def main() -> None:
    """The console script: runs a command, and says in a sentence what went wrong."""
    environment = Path(sys.argv[0]).resolve().parent.parent
    if (environment / "pyvenv.cfg").exists() and environment != Path(sys.prefix).resolve():
        # Its scripts name the interpreter of the folder where they were made.
        _stop(f"{environment.parent} was copied or moved: run `make setup` there.", MISUSED)
    try:
        app()
    except Exception as error:
        explained = _explain(error)
        if explained is None:
            raise
        _stop(*explained)


def _explain(error: Exception) -> tuple[str, int] | None:
    """What to say of an error, and the exit code; None for a defect of ours."""
    from experiments.errors import TrialError, UsageError, mend
    from topologies.emulation.sandbox import NoSandboxError, SandboxError
    from topologies.validate import NetworkError

    said = "\n".join([str(error), *getattr(error, "__notes__", [])])
    if isinstance(error, (UsageError, NetworkError, NoSandboxError)):
        return said, MISUSED
    if isinstance(error, (TrialError, SandboxError)):
        return said, FAILED
    if isinstance(error, OSError) and (helps := mend(error)):
        where = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror}{where}: {helps}.", FAILED
    return None
