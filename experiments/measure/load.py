"""The load of the machine during a trial: what may have spoilt its times."""

from __future__ import annotations

import itertools
import os
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["CpuTimes", "HostLoad", "LoadWatch", "parse_cpu"]


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """The machine's CPU time since boot over all cores, in clock ticks (proc_stat(5))."""

    busy: int
    idle: int
    steal: int

    def share_since(self, before: CpuTimes) -> tuple[float, float]:
        """Busy and stolen shares of the CPU time since ``before``, each 0 to 1."""
        busy, idle, steal = (
            self.busy - before.busy,
            self.idle - before.idle,
            self.steal - before.steal,
        )
        total = busy + idle + steal
        return (busy / total, steal / total) if total > 0 else (0.0, 0.0)


def parse_cpu(stat: str) -> CpuTimes:
    """Read the ``cpu`` line of /proc/stat. Raises ValueError if there is none."""
    for line in stat.splitlines():
        name, *numbers = line.split()
        if name == "cpu":
            user, nice, system, idle, iowait, irq, softirq, steal = map(int, numbers[:8])
            return CpuTimes(user + nice + system + irq + softirq, idle + iowait, steal)
    raise ValueError("/proc/stat has no cpu line")


@dataclass(frozen=True, slots=True)
class HostLoad:
    """The machine's load over a time, as shares of all cores from 0 to 1.

    ``*_max`` are those of the worst interval.
    """

    seconds: float
    cores: int
    busy_mean: float
    busy_max: float
    steal_mean: float
    steal_max: float
    load_1min_max: float

    def summary(self) -> dict[str, float]:
        """As a flat dictionary, for a manifest."""
        return asdict(self)


class LoadWatch:
    """Samples the machine's load in the background: ``with LoadWatch() as watch: ...``.

    Ask ``watch.load()`` inside or after the block.
    """

    def __init__(self, interval_s: float = 0.5) -> None:
        self._interval_s = interval_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="load watch", daemon=True)
        self._start_s = time.monotonic()
        self._end_s: float | None = None
        self._samples = [self._read()]
        self._load_1min_max = os.getloadavg()[0]

    @staticmethod
    def _read() -> CpuTimes:
        return parse_cpu(Path("/proc/stat").read_text())

    def _sample(self) -> None:
        while not self._over.wait(self._interval_s):
            self._samples.append(self._read())
            self._load_1min_max = max(self._load_1min_max, os.getloadavg()[0])

    def __enter__(self) -> LoadWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._samples.append(self._read())
        self._end_s = time.monotonic()

    def load(self) -> HostLoad:
        """The load from the start until now, or until the block ended."""
        samples = list(self._samples)
        if self._end_s is None:
            samples.append(self._read())
        steps = [later.share_since(earlier) for earlier, later in itertools.pairwise(samples)]
        busy_mean, steal_mean = samples[-1].share_since(samples[0])
        return HostLoad(
            seconds=(self._end_s or time.monotonic()) - self._start_s,
            cores=os.cpu_count() or 1,
            busy_mean=busy_mean,
            busy_max=max(busy for busy, _ in steps),
            steal_mean=steal_mean,
            steal_max=max(steal for _, steal in steps),
            load_1min_max=self._load_1min_max,
        )
