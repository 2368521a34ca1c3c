"""Templates filled in: whatever comes from a run is text, and escaped, unless we made it HTML."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

HERE = Path(__file__).parent


@cache
def _environment(folder: Path) -> Environment:
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def load(*templates: str) -> None:
    """Compile templates before they are needed."""
    for name in templates:
        _environment(HERE).get_template(name)


def fill(template: str, folder: Path = HERE, /, **given: Any) -> str:
    """The template of this name in a folder, filled in: one whole HTML page."""
    return _environment(folder).get_template(template).render(given)
