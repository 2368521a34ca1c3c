"""The programs of a lab: started with a log each, watched, stopped by pid."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path


class LabError(Exception):
    """The lab is not what was asked for; the message says what was awaited and what came."""


PATIENCE_S = 15.0
"""How long anything in a lab may take to answer."""


def until(condition: Callable[[], bool], awaited: str, timeout_s: float = PATIENCE_S) -> None:
    """Poll ``condition`` until it holds; LabError naming what was awaited when time is up."""
    deadline = time.monotonic() + timeout_s
    pause = 0.001
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(f"Waited {timeout_s:g} s in vain for {awaited}.")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


def tell(program: Path, order: str, patience_s: float = PATIENCE_S) -> str:
    """Say one line to a program that takes orders on a Unix socket; its answer. Raises OSError."""
    with socket.socket(socket.AF_UNIX) as orders:
        orders.settimeout(patience_s)
        orders.connect(str(program))
        orders.sendall(f"{order}\n".encode())
        return orders.makefile().readline().strip()


@contextmanager
def repeatedly(look: Callable[[], bool], every_s: float) -> Iterator[None]:
    """Within the block, call ``look`` now and then in a thread of its own, until it is False."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(every_s) and look():
            pass

    thread = threading.Thread(target=run, name=look.__qualname__, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


WATCH_S = 0.5
"""How often a watch looks: a program that fell is told of within a second or two."""


@contextmanager
def watched(
    programs: Callable[[], Iterable[Program]], fell: Callable[[str], None]
) -> Iterator[None]:
    """Within the block, tell ``fell`` of the first of the programs that dies or is stopped.

    It is called in a thread of its own, with the program's name and the end of its log.
    ``programs`` is asked each time, so what is ended on purpose is taken out before it ends.
    """

    def look() -> bool:
        try:
            for program in programs():
                program.check_awake()
        except LabError as error:
            fell(str(error))
            return False
        return True

    with repeatedly(look, WATCH_S):
        yield


@dataclass(frozen=True)
class Program:
    """A running program of the lab."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Raise LabError with the end of its log if the program has died."""
        code = self.process.poll()
        if code is not None:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
            raise LabError(f"{self.name} ended with code {code}; its log ends:\n{tail}")

    def check_awake(self) -> None:
        """As ``check``, and raise LabError too if the program has been stopped."""
        self.check()
        with suppress(OSError, IndexError):
            status = Path(f"/proc/{self.process.pid}/stat").read_text()
            if status.rpartition(")")[2].split()[0] in "Tt":  # its name may hold anything
                raise LabError(f"{self.name} was stopped by a signal: it does nothing any more.")

    def stop(self, timeout_s: float = 3.0) -> None:
        """Ask it to end, then insist."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """End it at once, with no chance to tidy up."""
        self.process.kill()
        self.process.wait()


def start(name: str, argv: list[str], logs: Path, env: Mapping[str, str] | None = None) -> Program:
    """Start a program whose output goes to ``logs/<name>.log`` (appended to).

    Ctrl-C on the lab's terminal is not for it.
    """
    log = logs / f"{name}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=env,
            start_new_session=True,
        )
    return Program(name, process, log)
