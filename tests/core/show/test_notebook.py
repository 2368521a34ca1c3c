"""The notebook runs from its first cell to its last, and says what stands in it."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

RESULTS = Path(__file__).parents[3] / "results"
NOTEBOOKS = sorted(RESULTS.glob("*.ipynb"))


def test_there_is_one() -> None:
    assert [path.name for path in NOTEBOOKS] == ["runs.ipynb"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_says_what_stands_in_it(path: Path) -> None:
    stored = nbformat.read(path, as_version=4)
    executed = copy.deepcopy(stored)
    NotebookClient(
        executed, timeout=120, resources={"metadata": {"path": str(RESULTS)}}, record_timing=False
    ).execute()
    if os.environ.get("UPDATE_GOLDEN"):
        executed.metadata = stored.metadata
        nbformat.write(executed, path)
    assert _told(executed) == _told(stored), "renew it with UPDATE_GOLDEN=1"
    assert sum(_is_picture(output) for output in _outputs(stored)) >= 1


def _outputs(notebook: Any) -> Iterator[Any]:
    for cell in notebook.cells:
        yield from cell.get("outputs", ())


def _told(notebook: Any) -> list[str]:
    """By cell: all text, in however many pieces, and that there is a picture (fonts differ)."""
    return [
        "".join(
            "(picture)" if _is_picture(x) else x.get("text") or x["data"]["text/plain"]
            for x in cell.get("outputs", ())
        )
        for cell in notebook.cells
    ]


def _is_picture(output: Any) -> bool:
    return "image/png" in output.get("data", {})
