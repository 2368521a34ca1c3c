"""The guest's kernel: where it lies, how it is built, and how to look into one that runs.

``make virtual`` (``python -m topologies.emulation.sandbox.kernel``) builds it once, from a pinned
source with the configuration and the patch beside this file, into the user's cache folder. What
was built from other words lies in another folder, so a kernel always is what this version wants.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from topologies.emulation.sandbox import NoSandboxError, SandboxError
from topologies.emulation.sandbox.cache import caches, keep, pairs, unfinished

WORDS = Path(__file__).parent / "uml"
"""What a kernel is made of: its build script, configuration, patch and pinned source."""

MEND = "run `make virtual` (a few minutes, once)"

_ENVIRONMENT = "POPLAB_KERNEL"
_COMM_BYTES = 16
_INIT_COMM = re.compile(rb"swapper(/0)?\0")  # the name of the kernel's first task
_TASK_MOST_BYTES = 16384


def _pinned() -> dict[str, str]:
    return pairs((WORDS / "source").read_text())


def configuration() -> str:
    """The hash of what shapes the kernel beside its source: configuration, patch, build."""
    names = ("kernel.config", "guest.patch", "build.sh")
    return hashlib.sha256(b"".join((WORDS / name).read_bytes() for name in names)).hexdigest()


@dataclass(frozen=True, slots=True)
class Kernel:
    """A built kernel: the program, and what its build told about it."""

    folder: Path
    told: Mapping[str, str]

    @property
    def program(self) -> Path:
        """The kernel itself, an ordinary program."""
        return self.folder / "linux"

    @property
    def release(self) -> str:
        """What ``uname -r`` says in a guest."""
        return self.told["release"]

    def facts(self) -> dict[str, Any]:
        """What results depend on: release, source, configuration and the program's own hash."""
        return {
            "kernel": self.release,
            "kernel_source": self.told["version"],
            "kernel_configuration": configuration()[:12],
            "kernel_sha256": hashlib.sha256(self.program.read_bytes()).hexdigest(),
        }


def find() -> Kernel | None:
    """The kernel in ``$POPLAB_KERNEL`` (a folder) or in a cache folder; None if there is none.

    The pinned source's comes first; one that stands in for it (see ``build.sh``) will do.
    """
    if chosen := os.environ.get(_ENVIRONMENT):
        return _open(Path(chosen))
    mark, pinned = configuration()[:12], _pinned()["version"]
    for folder in caches():
        folders = sorted(folder.glob(f"kernel-*-{mark}"), key=lambda f: pinned not in f.name)
        for candidate in folders:
            if (found := _open(candidate)) is not None:
                return found
    return None


def _open(folder: Path) -> Kernel | None:
    try:
        told = pairs((folder / "facts").read_text())
    except OSError:
        return None
    return Kernel(folder, told) if os.access(folder / "linux", os.X_OK) else None


def need() -> Kernel:
    """The kernel. Raises NoSandboxError saying what brings it if there is none."""
    found = find()
    if found is None:
        raise NoSandboxError(f"Virtual time needs the guest's kernel, which is not built: {MEND}.")
    return found


def build(source: str = "") -> Kernel:
    """Build the kernel into the cache, telling of its progress on standard error.

    ``source`` is a file that holds the Debian package, "" to fetch it. Raises SandboxError if the
    build fails; its own words have told why.
    """
    with unfinished("kernel") as made:
        words = [str(WORDS / "build.sh"), str(made), *([source] if source else [])]
        if subprocess.run(words, stdin=subprocess.DEVNULL, check=False).returncode != 0:
            raise SandboxError("The guest's kernel was not built: the lines above tell why.")
        built = _open(made)
        assert built is not None, "build.sh leaves a kernel and its facts"
        final = keep(made, f"kernel-{built.told['version']}-{configuration()[:12]}")
    return Kernel(final, built.told)


def provide(source: str = "") -> Kernel:
    """The kernel, built if it is not there. Raises as ``build``."""
    return find() or build(source)


class Window:
    """Reads a running guest's clock and its present task from outside, in its memory.

    A guest that stands still can tell nothing any more: its kernel has one processor, and no
    interrupt ends a loop there. ``pid`` is the kernel's process.
    """

    def __init__(self, kernel: Kernel, pid: int) -> None:
        self._memory = Path(f"/proc/{pid}/mem")
        self._addresses = {
            name: int(kernel.told[name], 16)
            for name in ("time_travel_time", "cpu_tasks", "init_task")
        }

    def clock_ns(self) -> int | None:
        """Virtual nanoseconds since the guest's boot; None if it cannot be read (any more)."""
        word = self._read(self._addresses["time_travel_time"], 8)
        return None if word is None else int(struct.unpack("=Q", word)[0])

    def task(self) -> str:
        """The name of the task that runs now; "" if it cannot be read."""
        first = self._read(self._addresses["init_task"], _TASK_MOST_BYTES) or b""
        comm = _INIT_COMM.search(first)
        pointer = self._read(self._addresses["cpu_tasks"], 8)
        if comm is None or pointer is None:
            return ""
        name = self._read(struct.unpack("=Q", pointer)[0] + comm.start(), _COMM_BYTES) or b""
        return name.partition(b"\0")[0].decode(errors="replace")

    def _read(self, address: int, count: int) -> bytes | None:
        try:
            with self._memory.open("rb", buffering=0) as memory:
                memory.seek(address)
                return memory.read(count)
        except (OSError, ValueError, OverflowError):
            return None


def main(argv: list[str]) -> int:
    """Build the kernel unless it is there; exit code 1 if that fails."""
    try:
        found = provide(*argv[:1])
    except SandboxError as error:
        sys.stderr.write(f"poplab: {error}\n")
        return 1
    sys.stderr.write(f"kernel: Linux {found.release} in {found.folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
