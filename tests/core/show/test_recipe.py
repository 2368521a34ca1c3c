"""The command in a page is typed into a shell, and describes the very run again."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments import cli
from experiments.runs import runner
from experiments.runs.spec import Spec
from experiments.show.page.recipe import FROM_SPEC, recipe
from experiments.study import STUDIES
from tests.fakes.evidence import network_for
from topologies import sources
from topologies.model import Network


class EnoughError(Exception):
    """The run would begin now."""


def typed(command: str, monkeypatch: pytest.MonkeyPatch) -> Spec:
    """The spec that a command would run."""
    asked: list[Spec] = []

    def run_spec(spec: Spec, *_: Any) -> None:
        asked.append(spec)
        raise EnoughError

    monkeypatch.setattr(runner, "run_spec", run_spec)
    words = shlex.split(command.replace("\\\n", ""))
    if words[0] == "python":
        assert words[1:] == ["-c", FROM_SPEC]
        with pytest.raises(EnoughError):
            exec(FROM_SPEC, {})
    else:
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(EnoughError):
            cli.app()
    return asked[0]


def own(network: Network) -> Network:
    """A network that does not come with the kit, though its name does."""
    return replace(network, path_stretch=1.25)


SCENARIO = [
    {"at": "100 ms", "pop": "LHR", "do": "withdraw"},
    {"at": "1.5 s", "note": "half-time"},
    {"at": "2 s", "link": "LHR-FCO", "do": "cut"},
]

CASES: dict[str, tuple[dict[str, Any], set[str], str]] = {
    "as it ships": ({"network": "europe"}, set(), "--network europe"),
    "quick": ({"quick": True}, set(), "--quick"),
    "parameters": ({"params": {"pings": 7}}, set(), "--set pings=7"),
    "PoPs elsewhere": ({"network": "europe", "pops": "3"}, set(), "--pops"),
    "virtual": ({"clock": "virtual", "root": "hermetic"}, set(), "--root hermetic"),
    "another backend": ({"clock": "real", "links": "netem", "limit_s": 90}, set(), "--limit 90"),
    "by IPv6": ({"family": 6, "seed": 9}, set(), "--family 6"),
    "of its own": (
        {"network": own(sources.load("triangle"))}, {"network.json"}, "--network network.json",
    ),
    "with a scenario": ({"scenario": SCENARIO}, {"scenario.yaml"}, "--scenario scenario.yaml"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_command_describes_the_run_again(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, files, said = CASES[case]
    again(runner.make_spec("latency", **options), files, said, tmp_path, monkeypatch)


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.parametrize("ours", [True, False])
def test_so_it_is_for_every_study(
    study: str, ours: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = network_for(study, "triangle")
    spec = runner.make_spec(study, network if ours else own(network), quick=True)
    # Pools to the network, each time that it is asked for.
    adds = study in ("announcing", "geo", "scarcity")
    files = set() if ours else {"spec.json"} if adds else {"network.json"}
    again(spec, files, "python" if adds and not ours else f"run {study}", tmp_path, monkeypatch)


def test_another_policy_is_part_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = runner.make_spec("catchment", "europe", pops="LHR,FCO", steering="bgp")
    again(spec, set(), "--steering bgp", tmp_path, monkeypatch)


def again(
    spec: Spec, files: set[str], said: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = recipe(spec)
    assert said in made.command
    assert set(made.files) == files
    for name, text in made.files.items():
        (folder / name).write_text(text)
    monkeypatch.chdir(folder)
    assert typed(made.command, monkeypatch) == spec
