"""perfdhcp, Kea's DHCP client that counts: run in a namespace, and its report read."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from dataclasses import dataclass

PROGRAM = "perfdhcp"
INSTALL = "setup/packages.sh kea-admin"
OFFERED = "DISCOVER-OFFER"
ACKNOWLEDGED = "REQUEST-ACK"
RENEWED = "REQUEST-ACK (renewal)"

UNANSWERED = 3
"""The code with which it ends when an exchange had no answer."""

LAST_ANSWER_US = 500_000
"""How long it listens when the last message is sent."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """What perfdhcp says of one kind of question and its answers; ``mean_s`` is NaN without one."""

    sent: int
    received: int
    drops: int
    mean_s: float

    @property
    def counts(self) -> tuple[int, int, int]:
        """Sent, received, dropped."""
        return self.sent, self.received, self.drops


def is_here() -> bool:
    """Whether this host has the program."""
    return shutil.which(PROGRAM) is not None


def run(namespace: str, *arguments: object, server: str) -> dict[str, Exchange]:
    """Ask a server from ``eth0`` of a namespace; the exchanges by perfdhcp's names of them.

    Raises RuntimeError with what it says when it does not run to its end.
    """
    command = ["ip", "netns", "exec", namespace, PROGRAM, "-4", "-l", "eth0"]
    command += ["-W", str(LAST_ANSWER_US), *map(str, arguments), server]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, UNANSWERED):
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr}")
    return read(done.stdout)


def read(report: str) -> dict[str, Exchange]:
    """The statistics of a report."""
    _, *parts = re.split(r"^\*\*\*Statistics for: (.+)\*\*\*$", report, flags=re.MULTILINE)
    return dict(zip(parts[::2], map(_exchange, parts[1::2]), strict=True))


def _exchange(lines: str) -> Exchange:
    told = dict(re.findall(r"^([a-z ]+): ([\d.]+)", lines, flags=re.MULTILINE))
    return Exchange(
        sent=int(told["sent packets"]),
        received=int(told["received packets"]),
        drops=int(told["drops"]),
        mean_s=float(told.get("avg delay", math.nan)) / 1000,
    )
