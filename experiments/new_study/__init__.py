"""``poplab new-study NAME``: a study to begin with, which works as it is."""

from __future__ import annotations

import keyword
from pathlib import Path

from experiments import studies
from experiments.errors import UsageError
from experiments.study import STUDIES

TEMPLATE = Path(__file__).with_name("template.py")


def write(name: str, folder: Path | None = None) -> Path:
    """Write the module of a new study among the others (or into ``folder``); where it is.

    Raises UsageError for a name that is taken, or that is no name of a module.
    """
    if not name.isidentifier() or keyword.iskeyword(name) or name != name.lower():
        raise UsageError(f"A study is a module of Python: {name!r} should be like cache_misses.")
    path = (folder or Path(studies.__path__[0])) / f"{name}.py"
    if name in STUDIES or path.exists():
        raise UsageError(f"There is a study {name} already: choose another name.")
    path.write_text(TEMPLATE.read_text().replace("template", name))
    return path
