"""What commands print: one JSON value for machines, tables for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["console", "put", "put_table"]


def console(*, stderr: bool = False) -> Console:
    """Where people read; Rich takes a moment to import, so only who needs it does.

    What is printed is text, never markup: a path may have brackets.
    """
    from rich.console import Console

    return Console(stderr=stderr, markup=False)


def put(data: Any) -> None:
    """Print exactly one JSON value."""
    sys.stdout.write(json.dumps(data, indent=1, allow_nan=False) + "\n")


def put_table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> None:
    """Print a table."""
    from experiments.show.report import table

    console().print(table(title, columns, rows))
