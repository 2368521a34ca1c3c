"""How to make a run again: the command, and the files that it needs."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.control import scenario as scenarios
from experiments.errors import UsageError
from experiments.parameters import Value
from experiments.runs import runner
from experiments.runs.spec import Spec
from topologies import sources
from topologies.emulation.sandbox import LIMIT_S
from topologies.explicit import dump_json
from topologies.validate import NetworkError

NETWORK, SCENARIO = "network.json", "scenario.yaml"

FROM_SPEC = (
    "from pathlib import Path; from experiments.runs import runner; "
    'from experiments.runs.spec import Spec; runner.run_spec(Spec.read(Path("spec.json")))'
)
"""In Python, for a study that adds to its network what no file may have twice."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A shell command, and the text of each file that it reads."""

    command: str
    files: Mapping[str, str]


def recipe(spec: Spec) -> Recipe:
    """The shortest command that describes this very spec, tried before it is told."""
    files = {}
    if spec.scenario:
        files[SCENARIO] = scenarios.dump(scenarios.entries(spec.scenario))
    for options in _by_name(spec):
        if _describes(spec, options):
            return Recipe(_lines(_command(spec, options)), files)
    files[NETWORK] = dump_json(spec.network)
    if _describes(spec, {"network": spec.network}):
        return Recipe(_lines(_command(spec, {"network": NETWORK})), files)
    return Recipe(shlex.join(["python", "-c", FROM_SPEC]), {"spec.json": spec.text()})


def _lines(words: Sequence[str]) -> str:
    """A command for a shell, each option on a line of its own."""
    return shlex.join(words).replace(" --", " \\\n  --")


def _by_name(spec: Spec) -> Iterator[dict[str, Any]]:
    """Ways to name a network of the kit: as it ships, steered otherwise, with PoPs elsewhere."""
    if not sources.ships(spec.network.name):
        return
    name = {"network": spec.network.name}
    steered = {"steering": spec.network.steering.value}
    carried = {"upstream": spec.network.upstream.value}
    moved = {"pops": ",".join(pop.city for pop in spec.network.pops)}
    yield from (name, name | steered, name | moved, name | moved | steered)
    yield from (name | carried, name | moved | carried)


def _describes(spec: Spec, options: Mapping[str, Any]) -> bool:
    """Whether a run with these options is this one."""
    try:
        made = runner.make_spec(
            spec.study,
            seed=spec.seed,
            quick=spec.quick,
            links=spec.options.links,
            datapath=spec.options.datapath,
            clock=spec.options.clock,
            root=spec.options.root,
            limit_s=spec.limit_s,
            params=spec.params,
            family=spec.family,
            scenario=scenarios.entries(spec.scenario) if spec.scenario else None,
            pcap=spec.pcap,
            **options,
        )
    except (UsageError, NetworkError):
        return False
    return made == spec


def _command(spec: Spec, options: Mapping[str, str]) -> list[str]:
    """Every word of the command; what is as usual in every version is left out."""
    words = ["poplab", "run", spec.study]
    for name, value in options.items():
        words += [f"--{name}", value]
    words += ["--seed", str(spec.seed), "--clock", spec.options.clock]
    usual = {"links": "auto", "datapath": "auto", "root": "host"}
    for name, word in usual.items():
        if (chosen := getattr(spec.options, name)) != word:
            words += [f"--{name}", chosen]
    words += ["--family", str(spec.family)] if spec.family != 4 else []
    words += ["--limit", f"{spec.limit_s:g}"] if spec.limit_s != LIMIT_S else []
    words += ["--scenario", SCENARIO] if spec.scenario else []
    words += [word for name in spec.pcap for word in ("--pcap", name)]
    words += ["--quick"] if spec.quick else []
    for name, number in spec.params.items():
        words += ["--set", f"{name}={_written(number)}"]
    return words


def _written(value: Value) -> str:
    """A parameter as ``--set`` reads it."""
    if isinstance(value, tuple):
        return ",".join(map(_written, value))
    return value if isinstance(value, str) else f"{value!r}"
