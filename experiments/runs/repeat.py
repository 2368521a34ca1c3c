"""The same run again: equal to the byte, or what differs and what may explain it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.errors import UsageError
from experiments.runs import fingerprint, rundata, runfolder, runner
from experiments.runs.runner import Watch
from experiments.runs.spec import Spec
from experiments.verdict.result import Result

Began = Callable[[int], Watch]
"""Told that a run of this number begins; gives who watches it."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs side by side: what differs between them, and what they depend on that differs."""

    differing: tuple[str, ...]
    causes: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not self.differing

    def sentence(self) -> str:
        """The outcome in words."""
        if self.equal:
            return "equal: every frame, sample, event, lease, metric, check and figure"
        why = f"; not the same either: {', '.join(self.causes)}" if self.causes else ""
        return f"different in {', '.join(self.differing)}{why}"


def check(
    spec: Spec, times: int, results: Path | None, began: Began
) -> tuple[Result, list[Comparison]]:
    """Run a spec ``times`` times; each of the others is compared with the first.

    The first is kept, and each that differs from it. Raises UsageError for a spec in real time,
    which never repeats, else as ``runner.run_spec``.
    """
    _refuse_real_time(spec)
    first = runner.run_spec(spec, results, began(1))
    comparisons = []
    for number in range(2, times + 1):
        other = runner.run_spec(spec, results, began(number)).run
        comparisons.append(compare(first.run, other))
        if comparisons[-1].equal:
            shutil.rmtree(other)
    return first, comparisons


def reproduce(run: Path, results: Path | None, watch: Watch) -> tuple[Result, Comparison]:
    """Make a run folder again from its spec and compare. Raises as ``check``."""
    rundata.load(run, compact=True)  # whole, or it is refused
    spec = Spec.read(run / "spec.json")
    _refuse_real_time(spec)
    again = runner.run_spec(spec, results, watch)
    return again, compare(run, again.run)


def _refuse_real_time(spec: Spec) -> None:
    if spec.options.clock == "real":
        raise UsageError("Only a run in virtual time repeats to the byte: use --clock virtual.")


def compare(one: Path, other: Path) -> Comparison:
    """Compare two run folders by what they measured, not by when and where."""
    a, b = _parts(one), _parts(other)
    differing = tuple(name for name in dict.fromkeys((*a, *b)) if a.get(name) != b.get(name))
    causes = fingerprint.differences(_depends(one), _depends(other)) if differing else []
    return Comparison(differing, tuple(causes))


def _parts(run: Path) -> dict[str, Any]:
    """What must be equal, each under the name that people know."""
    manifest, result = (runfolder.read_json(run / f"{x}.json") for x in ("manifest", "result"))
    files = (path for suffix in ("csv", "png") for path in sorted(run.glob(f"*.{suffix}")))
    return {
        "frames": manifest["capture"],
        "samples.parquet": (run / "samples.parquet").read_bytes(),
        "leases": manifest["leases"],
        "result.json": [result[part] for part in ("metrics", "checks", "answer")],
        runfolder.LOG: _bytes(run / runfolder.LOG),
        **{path.name: path.read_bytes() for path in files},
    }


def _bytes(path: Path) -> bytes | None:
    """What is in a file; None where older runs have none."""
    return path.read_bytes() if path.exists() else None


def _depends(run: Path) -> dict[str, Any]:
    manifest = runfolder.read_json(run / "manifest.json")
    return {**manifest["sandbox"], **(manifest["fingerprint"] or {})}
