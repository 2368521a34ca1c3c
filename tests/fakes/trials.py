"""Trials without labs, for the workers of a sweep."""

from __future__ import annotations

import io
import json
import os
import signal
import zipfile
from pathlib import Path

from experiments.sweeps.fleet import Outcome


def answered(spec: str, code: str) -> Outcome:
    """A run folder that says which spec it is of, and who ran it."""
    assert code
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("who.json", json.dumps({"seed": _seed(spec), "worker": os.getpid()}))
    return Outcome(buffer.getvalue())


def deadly_once(spec: str, code: str) -> Outcome:
    """Kills its worker, the first time that seed 2 is tried."""
    marker = Path(os.environ["POPLAB_TEST_FOLDER"]) / "tried"
    if _seed(spec) == 2 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return answered(spec, code)


def deadly(spec: str, code: str) -> Outcome:
    """Kills its worker, whenever seed 2 is tried."""
    if _seed(spec) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return answered(spec, code)


def _seed(spec: str) -> int:
    return int(json.loads(spec)["seed"])
