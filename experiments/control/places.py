"""Where the labs of this host are found: one Unix socket each, in a folder of its user.

The socket is made outside of the sandbox and handed in, so it lies where people are, only its
owner may open it, and nobody answers any more once the lab is gone.
"""

from __future__ import annotations

import os
import re
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.errors import UsageError

HANDED_IN = "POPLAB_CONTROL"
"""Tells the program in the sandbox which of its files is the socket."""


def folder() -> Path:
    """Where the sockets of this user lie; made if missing. Raises UsageError if it is unsafe."""
    user = os.geteuid()
    runtime = os.environ.get("XDG_RUNTIME_DIR") or ("/run" if user == 0 else None)
    name = Path(runtime or tempfile.gettempdir(), "poplab" if runtime else f"poplab-{user}")
    try:
        name.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = name.lstat()
    except OSError as error:
        cause = f"{name} cannot be made ({error.strerror})"
        raise UsageError(f"{cause}: set XDG_RUNTIME_DIR to a folder of yours.") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != user:
        raise UsageError(f"{name} is somebody else's: set XDG_RUNTIME_DIR to a folder of yours.")
    return name


@dataclass(frozen=True, slots=True)
class Door:
    """A socket that listens, and its file: not that by which it was bound."""

    socket: socket.socket
    path: Path


@contextmanager
def opened(name: str) -> Iterator[Door]:
    """A socket for a lab of this name, listening; its file goes with the block.

    A lab whose name is taken by one that is alive is called ``name-2``, and so on.
    """
    place = folder()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
        unnamed = place / f".{os.getpid()}-{made.fileno()}"
        _listen(made, unnamed)
        inode = unnamed.stat().st_ino
        try:
            path = _name(unnamed, re.sub(r"[^A-Za-z0-9._-]", "-", name)[:40] or "lab")
        finally:
            unnamed.unlink()
        try:
            yield Door(made, path)
        finally:
            with suppress(FileNotFoundError):
                if path.stat().st_ino == inode:
                    path.unlink()


def handed_in(door: Door) -> dict[str, Any]:
    """What a sandbox is told, beside its program, to hand a socket in."""
    number = door.socket.fileno()
    return {"env": {HANDED_IN: str(number)}, "files": [number]}


def _listen(made: socket.socket, path: Path) -> None:
    path.unlink(missing_ok=True)
    before = os.umask(0o177)
    try:
        made.bind(str(path))
    except OSError as error:
        raise UsageError(f"No socket can be made in {path.parent} ({error.strerror}).") from None
    finally:
        os.umask(before)
    made.listen(128)


def _name(socket_file: Path, name: str) -> Path:
    """Give a socket that listens already a name that is free: nobody takes it for a dead one."""
    labs()
    for number in range(1, 1000):
        path = socket_file.with_name(f"{name}.sock" if number == 1 else f"{name}-{number}.sock")
        with suppress(FileExistsError):
            path.hardlink_to(socket_file)
            return path
    raise UsageError(f"{socket_file.parent} is full of labs called {name}.")


def is_alive(path: Path) -> bool:
    """Whether anybody listens on a socket's file."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
        return one.connect_ex(str(path)) == 0


def labs() -> dict[str, Path]:
    """The labs of this user that are alive: name and socket. What killed ones left is removed."""
    found = {}
    for path in sorted(folder().glob("*.sock"), key=lambda path: path.stem):
        if is_alive(path):
            found[path.stem] = path
        else:
            path.unlink(missing_ok=True)
    return found


def find(name: str | None) -> Path:
    """The socket of a lab; without a name, of the only one. Raises UsageError."""
    found = labs()
    if name is not None and name in found:
        return found[name]
    if not found:
        raise UsageError("No lab is running: start one with `poplab up NETWORK`.")
    if name is None and len(found) == 1:
        return next(iter(found.values()))
    what = f"There is no lab {name!r}" if name else "Several labs are running"
    raise UsageError(f"{what}: say --lab with one of {', '.join(found)}.")
