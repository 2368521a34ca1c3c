"""A run's folder: it appears under its name when it is complete, and not before.

What broke off stays as ``<name>.failed``, with its logs: it is the evidence of why.

Layout and columns are described in ``results/README.md``.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

SCHEMA = 1
"""Version of the folder's layout; rises when a reader of old folders would stumble."""

LOG = "log.jsonl"
"""Everything that happened, in order, as the controller logged it."""

PAGE = "report.html"
"""The run as a web page."""

PCAP = ".pcapng"
"""What the frames of a link end in; before it stands the link's name."""

INDEX = "index.html"
"""In a folder of results: the list of its runs."""

# The janitor waits for the end of its input, which comes when we close the pipe or die however
# violently. Whoever still writes is being killed at that moment, so it tries more than once.
_JANITOR = 'read -r _; for _ in 1 2 3 4 5 6 7 8; do rm -rf -- "$1" && break; sleep 0.25; done'


def root(chosen: Path | None = None) -> Path:
    """Where run folders go: the choice, else ``$POPLAB_RESULTS``, else ``results`` of the project.

    An installed copy without a project around it uses ``./results``.
    """
    if chosen is not None:
        return chosen.resolve()
    if from_environment := os.environ.get("POPLAB_RESULTS"):
        return Path(from_environment).resolve()
    project = Path(__file__).resolve().parents[2]
    if (project / "pyproject.toml").exists():
        return project / "results"
    return Path("results").resolve()


def name(network: str, now_s: float) -> str:
    """A new run's folder name: UTC stamp, network, and an id so that no two are equal."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_s))
    safe = "".join(char if char.isalnum() or char in "-_" else "-" for char in network)
    return f"{stamp}-{safe}-{secrets.token_hex(3)}"


@contextmanager
def building(study: str, network: str, results: Path) -> Iterator[tuple[Path, Path]]:
    """A temporary folder to fill, and the path that it gets when the block ends well.

    If the block raises an Exception the folder stays as ``<name>.failed``, and the exception is
    given a note that says so. If the user stops it, or the process dies (even by SIGKILL), the
    folder goes. Raises OSError if ``results`` cannot be written to.
    """
    final = results / study / name(network, time.time())
    temporary = final.with_name(f".{final.name}.unfinished")
    temporary.mkdir(parents=True)
    with disposed_of(temporary):
        try:
            yield temporary, final
            temporary.rename(final)
        except Exception as error:
            broken = final.with_name(f"{final.name}.failed")
            with suppress(OSError):
                temporary.rename(broken)
                error.add_note(f"What there is of the run, logs among it, is in {broken}")
            raise


@contextmanager
def disposed_of(folder: Path) -> Iterator[None]:
    """Remove a folder at the end of the block, and if the process dies in it, even by SIGKILL."""
    janitor = subprocess.Popen(
        ["sh", "-c", _JANITOR, "janitor", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        assert janitor.stdin is not None
        janitor.stdin.close()
        janitor.wait()


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write an object, its keys in the order that they have."""
    path.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file that ``write_json`` wrote. Raises ValueError if it is none."""
    data = json.loads(path.read_text())
    if not isinstance(data, dict):
        raise ValueError(f"{path.name} holds no JSON object")
    return data


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file; none if there is no file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]
