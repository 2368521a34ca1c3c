"""A sandbox in virtual time: a User-mode Linux kernel whose clock is part of the experiment.

The guest's kernel is one process of the host and needs no root. Its clock goes on only while
nobody inside has anything to do, and its randomness comes from a seed: equal runs send equal
packets at equal nanoseconds, however busy the host is. Nothing that differs from run to run or from
host to host may reach it: it sees the host's files read-only, this project's code and Python
environment at places of their own, and the run folder at RUN.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from math import inf
from pathlib import Path
from typing import Any

from topologies.emulation.options import Clock, RootChoice
from topologies.emulation.processes import repeatedly
from topologies.emulation.sandbox import LIMIT_S, NoSandboxError, SandboxError, Told
from topologies.emulation.sandbox import kernel as kernels
from topologies.emulation.sandbox.files import HERE, OWN, OWN_NAME, files
from topologies.emulation.sandbox.processes import end, limited

RUN = Path("/mnt")
"""Where the guest sees the run folder; it is the working folder there."""

MACHINE = "x86_64"
"""The only processors that User-mode Linux runs on."""

START_NS = 1_767_225_600_000_000_000
"""What the guest's wall clock says at its boot: 2026-01-01, always."""

MEMORY = "4G"
"""At most; what a guest never uses takes no room on the host."""
STALL_S = 60.0
"""Seconds on the wall in which a living guest's clock must move."""
LOOK_S = 0.25
FULL_BYTES = 64 << 10
"""A disk with less room than this counts as full."""

_READY, _CODE = "poplab guest: ready", "poplab guest: code "
_VARIABLES = {
    "PYTHONSAFEPATH": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    "HOME": "/run/tmp",
    "TMPDIR": "/run/tmp",
    "LANG": "C.UTF-8",
    "TZ": "UTC",
}


class Guest:
    """A guest in virtual time; see ``sandbox.Sandbox`` for the methods.

    Equal seeds give equal guests. ``root`` says whose files it sees. With ``clock`` real its time
    is the host's: nothing of it repeats then, and no study runs so, but its kernel is the same.
    """

    def __init__(self, seed: int = 0, root: RootChoice = "host", clock: Clock = "virtual") -> None:
        self.clock = clock
        self._seed = seed
        self._files = files(root)
        self.python = self._files.python

    def check(self, folder: Path | None = None) -> None:
        """Raise NoSandboxError if no guest can be started here; any folder will do."""
        del folder
        if platform.machine() != MACHINE:
            raise NoSandboxError(f"Virtual time needs an {MACHINE} host: use --clock real.")
        kernels.need()
        self._files.check()
        _memory_folder()

    def facts(self) -> Mapping[str, Any]:
        """Clock, kernel, root, seed and memory."""
        own = {"clock": self.clock, "seed": self._seed, "memory": MEMORY}
        return {**own, **self._files.facts(), **kernels.need().facts()}

    def run(
        self,
        argv: Sequence[str],
        folder: Path,
        *,
        told: Told,
        log: str = "sandbox.log",
        env: Mapping[str, str] | None = None,
        files: Sequence[int] = (),
        limit_s: float = LIMIT_S,
        silence_s: float = inf,
        ticked: Callable[[float], None] = lambda _seconds: None,
    ) -> int:
        """As ``sandbox.Sandbox.run``. The program sees ``folder`` at RUN and nothing else of it."""
        del files, silence_s  # nothing of the host gets in; the guest's own clock is watched
        self.check()
        variables = {"PYTHONPATH": self._files.path, **_VARIABLES, **(env or {})}
        script = _script(argv, log, variables, self._files.mounts())
        with _prepared(folder, script, self._files.folders()):
            code = self._run(folder, told, limit_s, ticked)
        _check_whole(folder)
        return code

    def _run(
        self, folder: Path, told: Told, limit_s: float, ticked: Callable[[float], None]
    ) -> int:
        kernel = kernels.need()
        words = _Words(told)
        with _processor() as pinned:
            process = subprocess.Popen(
                [*pinned, "setpriv", "--pdeathsig", "KILL", *self._command(kernel)],
                cwd=folder,
                env={
                    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                    "HOME": OWN,
                    "TMPDIR": str(_memory_folder()),
                },
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            window = kernels.Window(kernel, process.pid)
            try:
                with (
                    limited(process, limit_s) as limits,
                    self._watch(process, window, ticked) as stood,
                ):
                    enough = limits.listen(words)
                if stood:
                    raise SandboxError(stood[0])
                return 0 if enough and words.code is None else words.result()
            finally:
                end(process)
                with suppress(OSError):  # a full disk has been told by the program that filled it
                    (folder / "guest.log").write_text(words.kernel_log())

    def _watch(
        self,
        process: subprocess.Popen[str],
        window: kernels.Window,
        ticked: Callable[[float], None],
    ) -> AbstractContextManager[list[str]]:
        """``_watched`` where time could stand still."""
        if self.clock == "real":
            return nullcontext([])
        return _watched(process, window, ticked)

    def _command(self, kernel: kernels.Kernel) -> list[str]:
        words = [str(kernel.program), f"mem={MEMORY}", "rootfstype=hostfs", "root=/dev/root", "ro"]
        words += ["con=null", "con0=null,fd:1", "loglevel=1", "seccomp=on", "norandmaps"]
        if self.clock == "virtual":
            words += ["time-travel=inf-cpu", f"time-travel-start={START_NS}"]
        words += [f"random-seed={self._seed}", *self._files.words, "init=/bin/sh", "--", "-c"]
        # The guest's folder is the working folder of its kernel's process: no path of the host
        # stands on the command line or in any program of the guest.
        return [*words, f'"mount -t hostfs -o {HERE}/. none {RUN} && . {RUN}/{OWN_NAME}/init"']


class _Words:
    """Tells the program's own lines, which are handed on, from those of the kernel."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._ready = False
        self._kernel: list[str] = []
        self.code: int | None = None

    def __call__(self, line: str) -> bool:
        if not self._ready:
            self._ready = line == _READY
            self._kernel.append(line)
            return False
        if line.startswith(_CODE):
            self.code = int(line.removeprefix(_CODE))
            return True
        return bool(self._told(line))

    def result(self) -> int:
        """The program's exit code. Raises SandboxError if the guest died before it had one."""
        if self.code is None:
            panic = [i for i, line in enumerate(self._kernel) if "Kernel panic" in line]
            end = panic[0] + 1 if panic else len(self._kernel)  # a stack tells users nothing
            tail = "\n".join(self._kernel[:end][-10:])
            raise SandboxError(f"The guest's kernel ended by itself; its last words:\n{tail}")
        return self.code

    def kernel_log(self) -> str:
        """What the kernel said before the program began."""
        return "".join(f"{line}\n" for line in self._kernel)


def _script(
    argv: Sequence[str], log: str, env: Mapping[str, str], mounts: Mapping[str, str]
) -> str:
    """The guest's first program: the world of ``uml/init``, our code in it, the command."""
    lines = [(kernels.WORDS / "init").read_text()]
    for inside, name in mounts.items():
        lines.append(f"mkdir -p {inside} && mount -r -t hostfs -o {OWN}/{name}/. none {inside}")
    lines += [f"export {name}={shlex.quote(value)}" for name, value in env.items()]
    lines += [
        f"cd {RUN}",
        f"echo {shlex.quote(_READY)}",
        f"{shlex.join(argv)} 2>>{shlex.quote(log)} </dev/null",
        "code=$?",
        "sync",
        f'echo "{_CODE}$code"',
        "sleep 3600",  # the host ends the guest; the first program must not
    ]
    return "\n".join(lines) + "\n"


@contextmanager
def _prepared(folder: Path, script: str, folders: Mapping[str, Path]) -> Iterator[None]:
    """The guest's own files in the run folder: its script, and where what it sees lies."""
    own = folder / OWN_NAME
    own.mkdir()
    try:
        (own / "init").write_text(script)
        for name, seen in folders.items():
            (own / name).symlink_to(seen)
        yield
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _memory_folder() -> Path:
    """A folder for the guest's memory: the first that allows programs and has room."""
    tried = ["/dev/shm", tempfile.gettempdir(), "/var/tmp"]
    for name in dict.fromkeys(tried):
        try:
            found = os.statvfs(name)
        except OSError:
            continue
        room = found.f_bavail * found.f_frsize
        if os.access(name, os.W_OK) and not found.f_flag & os.ST_NOEXEC and room >= 400 << 20:
            return Path(name)
    raise NoSandboxError(
        f"A guest needs 400 MB for its memory, but none of {', '.join(tried)} has them and allows "
        "programs: name such a folder in TMPDIR."
    )


def _check_whole(folder: Path) -> None:
    """Raise SandboxError if the disk is full: a guest writes late, unseen by its programs."""
    found = os.statvfs(folder)
    if found.f_bavail * found.f_frsize < FULL_BYTES:
        raise SandboxError(
            f"The disk of {folder} is full, and some of what the guest wrote is lost."
        )


@contextmanager
def _processor() -> Iterator[list[str]]:
    """The words that bind a guest to a processor of its own, while one is to be had.

    A guest works one process at a time, and half of its speed is lost between processors. The
    name of a socket marks the processor as taken; it is free again when this process ends.
    """
    for number in sorted(os.sched_getaffinity(0), reverse=True):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mark:
            try:
                mark.bind(f"\0poplab-processor-{number}")
            except OSError:
                continue
            yield ["taskset", "--cpu-list", str(number)]
            return
    yield []


@contextmanager
def _watched(
    process: subprocess.Popen[str], window: kernels.Window, ticked: Callable[[float], None]
) -> Iterator[list[str]]:
    """Tell the guest's time now and then; end a guest whose clock stands still, saying who ran.

    The list gets the sentence when that happens.
    """
    stood: list[str] = []
    last: int | None = None
    since = time.monotonic()

    def look() -> bool:
        nonlocal last, since
        now = window.clock_ns()
        if now != last:
            last, since = now, time.monotonic()
            if now is not None:
                ticked(now / 1e9)
        elif now is not None and time.monotonic() - since > STALL_S:
            name = window.task() or "a program"
            stood.append(
                f"Virtual time stood still for {STALL_S:g} s while {name!r} ran without ever "
                "blocking, so the guest was ended: let it sleep or wait, or use --clock real."
            )
            process.kill()
        return not stood

    with repeatedly(look, LOOK_S):
        yield stood
