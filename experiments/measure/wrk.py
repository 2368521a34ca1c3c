"""The closed loop of wrk, a program of others, where it is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass

from experiments.errors import TrialError
from topologies.emulation import netns
from topologies.family import Address

__all__ = ["Report", "is_there", "parse", "run"]

PROGRAM = "wrk"
_PATIENCE_S = 20.0
_UNITS_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


@dataclass(frozen=True, slots=True)
class Report:
    """What wrk tells: how many requests were answered, and the tail of their times."""

    requests: int
    p50_ms: float
    p99_ms: float


def is_there() -> bool:
    """Whether it is installed."""
    return shutil.which(PROGRAM) is not None


def run(host: str, destination: Address, connections: int, seconds: float) -> Report:
    """Ask from a host who answers, over so many connections, without a pause.

    Raises TrialError if it fails, FileNotFoundError if the host does not exist.
    """
    command = [PROGRAM, "--threads", "1", "--connections", str(connections), "--latency"]
    command += ["--duration", f"{seconds:.0f}s", f"http://{destination}/trace"]
    with netns.inside(host):
        asked = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    with asked:
        try:
            told, _ = asked.communicate(timeout=seconds + _PATIENCE_S)
        except subprocess.TimeoutExpired:
            asked.kill()
            raise TrialError(f"{PROGRAM} from {host} did not end.") from None
    return parse(told)


def parse(told: str) -> Report:
    """What its report says. Raises TrialError if that is none."""
    requests = re.search(r"(\d+) requests in ", told)
    levels = {
        level: float(value) * _UNITS_MS[unit]
        for level, value, unit in re.findall(r"^\s+(\d+)%\s+([\d.]+)(us|ms|s|m)$", told, re.M)
    }
    if requests is None or not {"50", "99"} <= levels.keys():
        raise TrialError(f"{PROGRAM} gave no report: {told.strip()[-200:]}")
    return Report(int(requests[1]), levels["50"], levels["99"])
