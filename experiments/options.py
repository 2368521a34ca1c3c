"""The options and the exit codes that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.errors import UsageError
from topologies.family import FAMILIES, Family

if TYPE_CHECKING:
    from experiments.parameters import Value
    from experiments.study import Study

FAILED, MISUSED, NOISY, INTERRUPTED = 1, 2, 3, 130
"""Exit codes: no (valid) answer; the question cannot be asked so, or not here; an answer whose
times this machine spoilt; Ctrl-C."""

NetworkRef = Annotated[
    str, typer.Argument(help="A name (see `poplab networks`), a file, or a topohub key.")
]
Pops = Annotated[
    str | None, typer.Option(help="PoPs elsewhere: cities (LHR,CDG), or how many (5).")
]
Steering = Annotated[
    str | None,
    typer.Option(help="How cities choose their PoP: nearest, bgp, regional, weighted, capacity."),
]
UpstreamWord = Annotated[
    str | None,
    typer.Option("--upstream", help="What is between cities: sdn, or bgp (docs/bgp.md)."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")]
Links = Annotated[str, typer.Option(help="Link emulation: auto, delayline or netem.")]
Datapath = Annotated[
    str, typer.Option(help="Where Open vSwitch forwards: auto, userspace or kernel.")
]
ClockWord = Annotated[
    str, typer.Option("--clock", help="real, virtual (exact and repeatable), or auto.")
]
RootWord = Annotated[
    str, typer.Option("--root", help="In virtual time: the host's files, or hermetic (pinned).")
]
ScenarioFile = Annotated[
    Path | None, typer.Option("--scenario", help="A file of what happens to the lab, and when.")
]
Results = Annotated[
    Path | None, typer.Option(help="Where run folders go (else $POPLAB_RESULTS, or results).")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Another value for a parameter."),
]
FamilyNumber = Annotated[int, typer.Option("--family", help="By what clients ask: 4 or 6.")]


def family_of(number: int) -> Family:
    """The family of this number. Raises UsageError."""
    for family in FAMILIES:
        if number == family:
            return family
    raise UsageError(f"There is no IPv{number} here: --family is 4 or 6.")


def parameters_of(study: Study, given: Sequence[str]) -> dict[str, Value]:
    """The parameters in ``NAME=VALUE`` words. Raises UsageError."""
    found = {}
    for word in given:
        name, equals, text = word.partition("=")
        if not equals:
            raise UsageError(f"{word!r} sets nothing: write NAME=VALUE, as in --set pings=100.")
        found[name] = study.parameter(name).read(name, text)
    return found
