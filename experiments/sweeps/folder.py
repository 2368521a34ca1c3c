"""A sweep's folder: every trial described before the first begins, and every run that is complete.

Layout and columns are described in ``results/README.md``.
"""

from __future__ import annotations

import io
import json
import secrets
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments.errors import UsageError
from experiments.runs import rundata, runfolder
from experiments.runs.spec import Spec
from experiments.sweeps.axes import Axis
from experiments.sweeps.design import Turn
from experiments.verdict.result import Result

SCHEMA = 1
"""Version of the layout; rises when a reader of old folders would stumble."""

DESCRIPTION = "sweep.json"
FIGURE, PAGE = "sweep.png", "sweep.html"


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a sweep asks: its trials in their order."""

    study: str
    axes: tuple[Axis, ...]
    turns: tuple[Turn, ...]


class SweepFolder:
    """The folder of one sweep: ``sweep.json``, ``specs/``, ``runs/``, ``failed/``."""

    def __init__(self, path: Path) -> None:
        """Open one that ``create`` made. Raises UsageError if this is none."""
        self.path = path
        try:
            self.sweep = _parsed(runfolder.read_json(path / DESCRIPTION))
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise UsageError(f"{path} is no sweep folder ({error}): give another.") from error

    @classmethod
    def create(
        cls, results: Path, study: str, axes: Sequence[Axis], specs: Sequence[tuple[Turn, Spec]]
    ) -> SweepFolder:
        """Write down all that is to be done, in this order."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        path = results / "sweeps" / f"{stamp}-{study}-{secrets.token_hex(3)}"
        for part in ("specs", "runs", "failed"):
            (path / part).mkdir(parents=True)
        for turn, spec in specs:
            spec.write(path / "specs" / f"{turn.name}.json")
        described = {
            "schema": SCHEMA,
            "study": study,
            "axes": [asdict(axis) for axis in axes],
            "turns": [asdict(turn) for turn, _ in specs],
        }
        runfolder.write_json(path / DESCRIPTION, described)
        return cls(path)

    def spec(self, turn: Turn) -> str:
        """The spec of a trial, as JSON text. Raises UsageError if it is not there or damaged."""
        path = self.path / "specs" / f"{turn.name}.json"
        try:
            text = path.read_text()
            json.loads(text)  # what is in it is the trial's own matter
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{path} is no spec ({type(error).__name__}: {error}): bring it back, or start "
                "the sweep again."
            ) from error
        return text

    def run(self, turn: Turn) -> Path:
        """Where the run of a trial is, once it is complete."""
        return self.path / "runs" / turn.name

    def result(self, turn: Turn) -> Result:
        """What a complete trial found. Raises UsageError if its folder is damaged."""
        try:
            return rundata.head(self.run(turn))[1]
        except UsageError as error:
            raise UsageError(
                f"{error} It is a trial of a sweep: delete it, and `poplab sweep --resume "
                f"{self.path}` does it again."
            ) from error

    def left(self) -> list[Turn]:
        """The trials that are not complete, in their order; those that broke off among them."""
        return [turn for turn in self.sweep.turns if not self.run(turn).exists()]

    def keep(self, turn: Turn, archive: bytes) -> None:
        """Unpack the run of a trial: it appears when it is complete, and not before."""
        if self.run(turn).exists():
            return  # a worker that was thought dead has answered as well
        unfinished = self.path / "runs" / f".{turn.name}.{secrets.token_hex(3)}.unfinished"
        with runfolder.disposed_of(unfinished):
            with zipfile.ZipFile(io.BytesIO(archive)) as packed:
                packed.extractall(unfinished)  # never outside: it mends paths that would
            unfinished.rename(self.run(turn))
        self._failure(turn).unlink(missing_ok=True)

    def keep_failure(self, turn: Turn, cause: str) -> None:
        """Write down why a trial gave no answer."""
        self._failure(turn).parent.mkdir(exist_ok=True)
        self._failure(turn).write_text(cause + "\n")

    def failure(self, turn: Turn) -> str | None:
        """Why a trial gave no answer; None if that is not known."""
        path = self._failure(turn)
        return path.read_text().strip() if path.exists() else None

    def _failure(self, turn: Turn) -> Path:
        return self.path / "failed" / f"{turn.name}.txt"


def packed(folder: Path) -> bytes:
    """A run folder as an archive that ``SweepFolder.keep`` takes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
    return buffer.getvalue()


def _parsed(data: Mapping[str, Any]) -> Sweep:
    if data["schema"] != SCHEMA:
        raise ValueError(f"layout {data['schema']}, not {SCHEMA}")
    axes = tuple(Axis(axis["name"], tuple(axis["values"])) for axis in data["axes"])
    turns = tuple(Turn(**turn) for turn in data["turns"])
    return Sweep(data["study"], axes, turns)


def is_sweep(path: Path) -> bool:
    """Whether a folder is that of a sweep."""
    return (path / DESCRIPTION).exists()
