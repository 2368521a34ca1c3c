"""What the commands for running labs have in common: which lab, and in which form."""

from __future__ import annotations

from typing import Annotated

import typer

from experiments.control import places
from experiments.control.client import Remote

__all__ = ["Json", "LabName", "remote_of"]

LabName = Annotated[
    str | None, typer.Option("--lab", help="Which lab, if several run (see `poplab ps`).")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead.")]


def remote_of(lab: str | None) -> Remote:
    """The lab with this name, or the only one. Raises UsageError."""
    return Remote(places.find(lab))
