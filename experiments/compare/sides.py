"""What is compared: one run, or all trials of a sweep that varies nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

from experiments import stats
from experiments.errors import UsageError
from experiments.runs import rundata
from experiments.runs.spec import Spec
from experiments.stats import Effect, Estimate
from experiments.sweeps import folder as sweepfolder
from experiments.sweeps.folder import SweepFolder
from experiments.verdict.result import Result
from topologies.explicit import dump_json

BySeed = Mapping[int, float | None]
"""A metric's values, one for each trial."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of those that are compared. ``facts`` are what its times depend on beside the code."""

    label: str
    study: str
    runs: tuple[Path, ...]
    metrics: Mapping[str, BySeed]
    units: Mapping[str, str]
    facts: Mapping[str, str]
    unbelieved: tuple[str, ...]
    """What is wrong with its trials: those that are not valid, or gave no answer."""


@dataclass(frozen=True, slots=True)
class Line:
    """One metric: by side its median over trials; by side but the first how it differs from it."""

    metric: str
    unit: str
    estimates: tuple[Estimate, ...]
    effects: tuple[Effect, ...]

    def ratio(self, side: int) -> float | None:
        """The median of a side over that of the first; None where that is no number."""
        first, other = self.estimates[0].median, self.estimates[side].median
        return None if other is None or not first else other / first

    def median(self, side: int) -> str:
        """The median of a side in words, with its interval if it has trials."""
        estimate = self.estimates[side]
        alone = estimate.count == 1 and estimate.median is not None
        return f"{estimate.median:.4g}" if alone else str(estimate)

    def times(self, side: int) -> str:
        """The ratio of a side in words, ``1.100x``."""
        ratio = self.ratio(side)
        return "-" if ratio is None else f"{ratio:.3f}x"


def read(paths: Sequence[Path]) -> tuple[Side, ...]:
    """The sides at these paths. Raises UsageError for what is no run, or of different studies."""
    if len(paths) < 2:
        raise UsageError("One run is not compared with anything: give two or more.")
    names = [path.name for path in paths]
    labels = [path.name if names.count(path.name) == 1 else str(path) for path in paths]
    if len({path.resolve() for path in paths}) < len(paths):
        raise UsageError("A run is not compared with itself: give each once.")
    found = tuple(_side(path, label) for path, label in zip(paths, labels, strict=True))
    if len(studies := {side.study for side in found}) > 1:
        asked = ", ".join(sorted(studies))
        raise UsageError(f"These ask different questions ({asked}): compare runs of one study.")
    return found


def _side(path: Path, label: str) -> Side:
    runs, missing = [path], 0
    if sweepfolder.is_sweep(path):
        sweep = SweepFolder(path)
        if len({str(turn.arm) for turn in sweep.sweep.turns}) > 1:
            raise UsageError(
                f"{path} varies something, so it is no single side: its arms are compared in its "
                "summary.csv, or give two of the runs in it."
            )
        runs = [sweep.run(turn) for turn in sweep.sweep.turns if sweep.run(turn).exists()]
        missing = len(sweep.left())
    if not runs:
        raise UsageError(f"{path} has no complete run: go on with it first (--resume).")
    heads = [rundata.head(run) for run in runs]
    results = [result for _, result, _ in heads]
    bad = [f"{result.run.name} is {result.verdict}" for result in results if not result.valid]
    return Side(
        label=label,
        study=results[0].study,
        runs=tuple(runs),
        metrics=_metrics(results),
        units={name: metric.unit for name, metric in results[0].metrics.items()},
        facts=_facts_of(runs, heads),
        unbelieved=(*bad, *([f"{missing} trials are missing"] if missing else [])),
    )


def _metrics(results: Sequence[Result]) -> dict[str, dict[int, float | None]]:
    names = dict.fromkeys(name for result in results for name in result.metrics)
    return {
        name: {r.seed: r.metrics[name].value for r in results if name in r.metrics}
        for name in names
    }


def _facts_of(
    runs: Sequence[Path], heads: Sequence[tuple[Mapping[str, Any], Result, str]]
) -> dict[str, str]:
    """What holds of all runs of a side; where they differ, all that holds."""
    found: dict[str, dict[str, None]] = {}
    for run, (manifest, result, _) in zip(runs, heads, strict=True):
        for name, value in _facts(rundata.spec(run), manifest, result).items():
            found.setdefault(name, {})[value] = None
    return {name: " and ".join(values) for name, values in found.items()}


def _facts(spec: Spec, manifest: Mapping[str, Any], result: Result) -> dict[str, str]:
    """In words, so that two sides can be told apart by what differs."""
    network, versions = spec.network, manifest["versions"]
    facts = {
        "network": f"{network.name} with PoPs {' '.join(pop.city for pop in network.pops)}",
        "network's details (CRC-32)": f"{crc32(dump_json(network).encode()):08x}",
        "steering": str(network.steering),
        "upstream": str(network.upstream),
        "scenario": "; ".join(str(step) for step in spec.scenario) or "none",
        "root": spec.options.root,
        "datapath": spec.options.datapath,
        "amount": "quick" if spec.quick else "full",
        "family": f"IPv{spec.family}",
        "clock": result.clock,
        "links": result.fidelity.backend if result.fidelity else "none",
        "processor": str(manifest["host"]["cpu"].get("model")),
    }
    facts |= {f"parameter {name}": str(value) for name, value in spec.params.items()}
    return facts | {f"version of {name}": str(value) for name, value in versions.items()}


def differing(sides: Sequence[Side]) -> dict[str, tuple[str, ...]]:
    """What the sides do not share, by its name: each side's own."""
    names = dict.fromkeys(name for side in sides for name in side.facts)
    told = {name: tuple(side.facts.get(name, "none") for side in sides) for name in names}
    return {name: values for name, values in told.items() if len(set(values)) > 1}


def lines(sides: Sequence[Side]) -> list[Line]:
    """Every metric of the sides, in order."""
    names = dict.fromkeys(name for side in sides for name in side.metrics)
    return [_line(name, sides) for name in names]


def _line(name: str, sides: Sequence[Side]) -> Line:
    found: list[BySeed] = [side.metrics.get(name, {}) for side in sides]
    unit = next((side.units[name] for side in sides if name in side.units), "1")
    return Line(
        name,
        unit,
        tuple(stats.estimate(list(values.values())) for values in found),
        tuple(stats.effect(values, found[0]) for values in found[1:]),
    )
