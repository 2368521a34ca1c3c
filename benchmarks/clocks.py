"""Virtual time beside real time: how true, how fast, and the figure of ``docs/virtual-time.md``."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from benchmarks.row import Row, at_most
from experiments import load
from experiments.cli import NOISY
from experiments.show.figures import errors as figure
from topologies.emulation.options import Clock

NETWORKS: Mapping[str, float] = {"triangle": 5.0, "europe": 10.0, "world": 12.0}
"""Seconds from the command to its report that a quick latency study may take in virtual time."""

POPLAB = str(Path(sys.executable).parent / "poplab")
FIGURE = "rtt-error-by-clock.png"
TEN_MINUTES = ["LHR-c1", "ping", "-q", "-i", "0.2", "-c", "3000", "198.51.100.1"]


def seconds(*arguments: str) -> float:
    """How long a poplab command takes; its run may be noisy in real time."""
    began = time.perf_counter()
    done = subprocess.run([POPLAB, *arguments], check=False, stdout=subprocess.DEVNULL)
    took = time.perf_counter() - began
    if done.returncode not in (0, NOISY):
        done.check_returncode()
    return took


def study(network: str, clock: Clock, results: Path) -> float:
    """A quick latency study; what it says goes nowhere, its folder to ``results``."""
    command = ["run", "latency", "--network", network, "--quick", "--json"]
    return seconds(*command, "--clock", clock, "--results", str(results))


def errors_us(results: Path) -> pd.Series[float]:
    """Measured minus modelled RTT of every ping in the last study of ``results``, us."""
    samples = load(max((results / "latency").iterdir())).samples
    answered = samples[(samples["outcome"] == "ok") & (samples["sequence"] > 0)]
    return (answered["rtt_ms"] - answered["model_rtt_ms"]).abs() * 1000


@contextmanager
def busy_machine() -> Iterator[None]:
    """A loop on every processor."""
    loops = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(os.cpu_count() or 1)
    ]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def rows(folder: Path) -> Iterator[Row]:
    """Both clocks in turn on the same machine."""
    results = folder / "clocks"
    quiet: dict[Clock, pd.Series[float]] = {}
    for network, limit in NETWORKS.items():
        took: dict[Clock, float] = {}
        for clock in ("virtual", "real"):
            took[clock] = study(network, clock, results)
            quiet[clock] = errors_us(results)
        name = f"latency --quick, {network}"
        yield at_most(f"{name}: wall clock", took["virtual"], "s", limit, took["real"])
        yield from _error_rows(f"{name}: |RTT - model|", quiet["virtual"], quiet["real"])
        if network == "europe":
            shown = {"real time": quiet["real"], "virtual time": quiet["virtual"]}
    loaded: dict[Clock, pd.Series[float]] = {}
    with busy_machine():
        for clock in ("virtual", "real"):
            study("europe", clock, results)
            loaded[clock] = errors_us(results)
    yield from _error_rows("the same, europe, busy machine", loaded["virtual"], loaded["real"])
    shown["real time, busy machine"] = loaded["real"]
    shown["virtual time, busy machine"] = loaded["virtual"]
    figure.draw(shown, folder / FIGURE)
    minutes = seconds("up", "triangle", "--clock", "virtual", "--", *TEN_MINUTES)
    yield at_most("10 minutes of pings in virtual time", minutes, "s", 60, 600)
    yield _two_at_once(results)


def _error_rows(name: str, virtual: pd.Series[float], real: pd.Series[float]) -> Iterator[Row]:
    for what, limit, q in (("median", 2, 0.5), ("max", 5, 1.0)):
        ours, peer = float(virtual.quantile(q)), float(real.quantile(q))
        yield at_most(f"{name}, {what}", ours, "us", limit, peer)


def _two_at_once(results: Path) -> Row:
    """One guest a processor: what each of two costs, beside one alone."""
    alone = study("europe", "virtual", results)
    with ThreadPoolExecutor(2) as pool:
        began = time.perf_counter()
        list(pool.map(lambda _: study("europe", "virtual", results), range(2)))
        both = time.perf_counter() - began
    return at_most("two guests at once: wall clock of one", both / alone, "times", 1.1)
