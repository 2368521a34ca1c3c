"""The page of one run: ``render`` is pure, from a run's data to HTML."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from experiments import study
from experiments.runs.rundata import RunData
from experiments.show import words
from experiments.show.page import atlas, catchments, distributions, pictures, recipe
from experiments.show.page.chart import drawn
from experiments.show.page.markup import fill
from experiments.verdict.result import Check, Result
from topologies.plan import plan

CONTROLS = ("control: ", "twin: ")
"""How the names of checks begin that are about something that must fail, or its lawful twin."""

MEANINGS = {
    "valid": "Every check passed: what must fail did fail, and the emulator was true to its model.",
    "invalid": "Do not rely on these figures: the failed checks below say why.",
    "unknown": "Do not rely on these figures yet: something that must be known could not be told.",
    "noisy": " ".join(words.NOISE),
    "computed": "Every check passed: what must fail did fail. Nothing was emulated.",
}
"""What a verdict means, for people who see one for the first time."""


def render(data: RunData) -> str:
    """The page of a run, whole and self-contained. Raises UsageError for a study that is gone."""
    asked = study.study(data.spec.study)
    network = data.spec.network
    served = catchments.catchments(plan(network), data.tables)
    times = distributions.by_arm(asked.timed, data.samples) if asked.timed else []
    made = recipe.recipe(data.spec)
    return fill(
        "run.html",
        study=asked,
        network=network,
        answer=data.answer,
        result=data.result,
        kind=_kind(data.result),
        verdict=words.verdict(data.result),
        meaning=MEANINGS[_meaning(data.result)],
        atlas=atlas.atlas(network, served.by_city),
        looks=atlas.looks(network),
        served=served,
        **drawn(times),
        metrics=[(name, *words.metric(m)) for name, m in data.result.metrics.items()],
        controls=[check for check in data.result.checks if _is_control(check)],
        checks=[check for check in data.result.checks if not _is_control(check)],
        fidelity=words.fidelity(data.result.fidelity),
        pictures=pictures.pictures(data.figures, asked.name),
        counts=_counts(data),
        command=made.command,
        files={name: _download(text) for name, text in made.files.items()},
        facts=_facts(data),
        versions=data.manifest["versions"],
    )


def _kind(result: Result) -> str:
    """The verdict in a word; an invalid run may be no more than noisy."""
    return "noisy" if result.noisy else result.verdict


def _meaning(result: Result) -> str:
    """Which meaning the verdict has: there is no emulator to believe where there was no lab."""
    kind = _kind(result)
    return "computed" if kind == "valid" and result.fidelity is None else kind


def _is_control(check: Check) -> bool:
    return check.name.startswith(CONTROLS)


def _counts(data: RunData) -> list[tuple[str, int]]:
    """How many samples there are, by outcome where they have one."""
    if "outcome" not in data.samples:
        return [("all", len(data.samples))]
    by_outcome = data.samples["outcome"].value_counts()
    return [("all", len(data.samples)), *((str(k), int(n)) for k, n in by_outcome.items())]


def _download(text: str) -> str:
    return f"data:text/plain;base64,{base64.b64encode(text.encode()).decode()}"


def _facts(data: RunData) -> list[tuple[str, str]]:
    """What a run depends on and where it was, line by line."""
    manifest, spec = data.manifest, data.spec
    virtual = spec.options.clock == "virtual"
    sandbox, cpu = manifest["sandbox"], manifest["host"]["cpu"]
    guest = f"{sandbox.get('kernel')} (guest)" if virtual else manifest["versions"]["kernel"]
    root = f"hermetic, sha256 {sandbox.get('root')}" if spec.options.root == "hermetic" else "host"
    capture = manifest.get("capture")
    facts = [
        ("network", f"{spec.network.name}: {spec.network.description}"),
        ("steering", spec.network.steering.value),
        ("seed", str(spec.seed)),
        ("clock", "no lab" if spec.options.clock == "none" else f"{spec.options.clock} time"),
        ("clients ask by", f"IPv{spec.family}"),
        ("parameters", ", ".join(f"{name} = {_list(v)}" for name, v in spec.params.items())),
        ("scenario", f"{len(spec.scenario)} steps" if spec.scenario else "none"),
        ("links by", str((manifest["links"] or {"backend": "none"})["backend"])),
        ("kernel", guest),
        ("files", root),
        ("host", f"{cpu['model']}, {cpu['cores']} cores"),
        ("began", manifest["start"]),
        ("took", f"{manifest['duration_s']:.1f} s"),
        ("revision", _revision(manifest["git"])),
    ]
    if capture:
        facts.append(("frames", f"{capture['frames']:,}, sha256 {capture['sha256']}"))
    return facts


def _list(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _revision(git: Mapping[str, Any]) -> str:
    if not git["revision"]:
        return "unknown (no git)"
    return f"{git['revision']}{' and changes that are not in it' if git['dirty'] else ''}"
