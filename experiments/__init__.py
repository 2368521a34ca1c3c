"""Questions and answers: run a study in a lab, read a run back.

>>> from experiments import run, load
>>> result = run("latency", "triangle", quick=True)  # needs root
>>> load(result.run).samples.groupby("arm").rtt_ms.median()
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.runs.rundata import RunData, load
    from experiments.runs.runner import run
    from experiments.verdict.result import Result

__all__ = ["Result", "RunData", "load", "run"]

_HOMES = {
    "Result": "experiments.verdict.result",
    "RunData": "experiments.runs.rundata",
    "load": "experiments.runs.rundata",
    "run": "experiments.runs.runner",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: the trial and the command line start faster."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
