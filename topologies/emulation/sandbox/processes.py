"""The process that holds a sandbox: read line by line, ended for certain."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from topologies.emulation.sandbox import Told

Process = subprocess.Popen[str]


def end(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    """End a sandbox at once: nothing inside needs saving, and ``unshare`` ignores SIGTERM."""
    if process.poll() is None:
        process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def listen(process: Process, told: Told) -> bool:
    """Hand on each line until the program ends; True if one of them was said to be the last."""
    assert process.stdout is not None
    return any(told(line.rstrip("\r\n")) for line in process.stdout)


@contextmanager
def limited(process: Process, limit_s: float) -> Iterator[threading.Event]:
    """End the process when the time is up; the event then says so."""
    over = threading.Event()

    def expire() -> None:
        over.set()
        process.kill()

    timer = threading.Timer(limit_s, expire)
    timer.daemon = True
    timer.start()
    try:
        yield over
    finally:
        timer.cancel()
