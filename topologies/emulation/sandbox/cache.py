"""The user's cache folder: what guests need is made there once, and appears when it is whole."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def caches() -> Iterator[Path]:
    """The cache folders to look into: the user's; under sudo also that of the user who called."""
    yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "poplab"
    if caller := os.environ.get("SUDO_UID"):
        with suppress(KeyError, ValueError):  # a user whom this machine does not know
            yield Path(pwd.getpwuid(int(caller)).pw_dir) / ".cache" / "poplab"


def cache() -> Path:
    """The user's cache folder, which is there from now on."""
    folder = next(caches())
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def pairs(text: str) -> dict[str, str]:
    """The lines ``name=value`` of a text."""
    lines = (line for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


@contextmanager
def unfinished(name: str) -> Iterator[Path]:
    """A folder in the cache to fill and then to ``keep``; what is not kept goes with the block."""
    folder = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=cache()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def keep(folder: Path, name: str) -> Path:
    """Give an ``unfinished`` folder its name, for all users to read, unless it is there already."""
    final = cache() / name
    folder.chmod(0o755)
    try:
        folder.rename(final)
    except OSError:
        if not final.exists():
            raise
    return final
