"""What README and the pages tell people to type can be typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer.main
from typer.exceptions import TyperException

from experiments.cli import app
from experiments.study import STUDIES
from topologies import sources
from topologies.plan import plan

PROJECT = Path(__file__).parents[3]
PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted(PROJECT.glob("docs/**/*.md"))]
LINKS = re.compile(r"\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)")


def commands() -> list[tuple[str, str]]:
    """Page and command, of every line in a block of shell that calls poplab."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.S):
            for line in block.splitlines():
                line = line.split(" #")[0].strip()
                if line.startswith("poplab "):
                    found.append((page.name, line))
    return found


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):.*##", (PROJECT / "Makefile").read_text(), re.M))


@pytest.mark.parametrize(("page", "line"), commands())
def test_every_command_is_understood(page: str, line: str) -> None:
    words = shlex.split(line.partition(" >")[0].replace("<run>", "run"))[1:]
    command: Any = typer.main.get_command(app)
    names = []
    while hasattr(command, "commands"):
        names.append(words.pop(0))
        assert names[-1] in command.commands, f"{page}: {line}"
        command = command.commands[names[-1]]
    command.make_context(" ".join(names), words)  # raises for what it does not know


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("poplab pop explode LHR", "explode"),
        ("poplab run latency --nonsense", "--nonsense"),
        ("poplab pop drain", "pop"),
        ("poplab status LHR", "LHR"),
    ],
)
def test_what_is_not_understood_would_be_told(line: str, cause: str) -> None:
    with pytest.raises((AssertionError, TyperException), match=cause):
        test_every_command_is_understood("nowhere", line)


def test_there_are_commands_and_they_name_networks_that_exist() -> None:
    assert len(commands()) > 20
    named = {m for _, line in commands() for m in re.findall(r"--network (\S+)", line)}
    for name in named:
        plan(sources.load(name))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_and_every_target_is_there(page: Path) -> None:
    text = page.read_text()
    for link in LINKS.findall(text):
        assert (page.parent / link).exists(), link
    for target in re.findall(r"(?:^|`)make ([a-z-]+)", text, re.M):
        assert target in make_targets(), target


def described_columns() -> dict[str, set[str]]:
    """By study: the columns that the data dictionary has of it."""
    text = (PROJECT / "results" / "README.md").read_text().partition("## Columns of ")[2]
    found = {}
    parts = re.split(r"\n\*\*(\w+)\*\*, a row", text)[1:]
    for study, table in zip(parts[::2], parts[1::2], strict=True):
        names = re.findall(r"^\| (`[^|]*) \|", table, re.M)
        found[study] = {name for cell in names for name in re.findall(r"`(\w+)`", cell)}
    return found


REFERENCES = sorted((PROJECT / "results" / "reference").glob("*/samples.parquet"))


@pytest.mark.parametrize("samples", REFERENCES, ids=lambda path: path.parent.name)
def test_the_data_dictionary_has_every_column(samples: Path) -> None:
    study = samples.parent.name.rpartition("-")[0]
    assert set(pd.read_parquet(samples).columns) == described_columns()[study]


def test_there_is_a_reference_run_of_every_study() -> None:
    assert {path.parent.name.rpartition("-")[0] for path in REFERENCES} == set(STUDIES)
