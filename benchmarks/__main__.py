"""``python -m benchmarks [NAME ...]``: print every goal beside its figure, write the JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import (
    bgp,
    changes,
    clocks,
    internet,
    lending,
    links,
    live,
    names,
    replies,
    report,
    scale,
    startup,
    steering,
    sweep,
    takeover,
)
from benchmarks.row import Row

BENCHMARKS: Mapping[str, Callable[[Path], Iterator[Row]]] = {
    "startup": startup.rows,
    "links": links.rows,
    "scale": scale.rows,
    "changes": changes.rows,
    "lending": lending.rows,
    "replies": replies.rows,
    "takeover": takeover.rows,
    "steering": steering.rows,
    "clocks": clocks.rows,
    "names": names.rows,
    "report": report.rows,
    "sweep": sweep.rows,
    "internet": internet.rows,
    "bgp": bgp.rows,
    "live": live.rows,
}

RESULTS = Path(__file__).parent.parent / "results" / "bench"


def table(rows: list[Row]) -> Table:
    """The rows for people."""
    shown = Table("benchmark", "ours", "peer", "ratio", "goal", "met")
    for row in rows:
        peer = "" if row.peer is None else f"{row.peer:.3g} {row.unit}"
        ratio = "" if row.ratio is None else f"{row.ratio:.3g}"
        met = "[green]yes[/]" if row.met else "[red]no[/]"
        shown.add_row(row.name, f"{row.ours:.3g} {row.unit}", peer, ratio, row.goal, met)
    return shown


def main() -> int:
    """Run the named benchmarks, or all. Exit code 2 for a name that does not exist."""
    names = sys.argv[1:] or list(BENCHMARKS)
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        sys.stderr.write(f"No benchmark {unknown[0]!r}; there are: {', '.join(BENCHMARKS)}.\n")
        return 2
    RESULTS.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    console = Console()
    for name in names:
        with console.status(f"{name} ..."):
            rows.extend(BENCHMARKS[name](RESULTS))
    console.print(table(rows))
    text = json.dumps([asdict(row) for row in rows], indent=2)
    (RESULTS / "latest.json").write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
