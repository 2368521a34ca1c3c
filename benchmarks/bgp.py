"""Labs whose routers speak BGP, in virtual time: up, at rest, and ten minutes of pings."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.ases import network
from benchmarks.clocks import POPLAB
from benchmarks.row import Row, at_most
from controller.core.steering.vectorised import Sites
from topologies.explicit import dump_json
from topologies.internet.generate import generate
from topologies.model import Line, Link, Network, Policy, Upstream

EUROPE_S, EUROPE_MB = 40.0, 1500.0
ASES, SITES, ASES_S = 100, 5, 180.0
PINGS = ("ping", "-q", "-i", "0.2", "-c", "3000", "198.51.100.1")
"""Ten minutes of them."""


def rows(folder: Path) -> Iterator[Row]:
    """The networks come up, a client pings the service, and all ends."""
    took_s, memory_mb = up("europe", "--upstream", "bgp", client="LHR-c1")
    yield at_most("bgp: europe up, at rest, ten virtual minutes", took_s, "s", EUROPE_S)
    yield at_most("bgp: europe: memory", memory_mb, "MB", EUROPE_MB)
    file = folder / "ases.json"
    file.write_text(dump_json(ases(ASES, SITES)))
    took_s, _ = up(str(file), client="a0-c1")
    yield at_most(f"bgp: {ASES} generated ASes, the same", took_s, "s", ASES_S)


def ases(count: int, sites: int) -> Network:
    """A generated Internet as a network whose routers speak BGP."""
    internet = generate(count, 1)
    at = np.sort(np.random.default_rng(1).choice(count, sites, replace=False)).astype(np.int32)
    made = network(internet, Sites.of(at))
    pops = [pop.city for pop in made.pops]
    backbone = tuple(Link(a, b, Line(10**6)) for a, b in pairwise(pops))
    return replace(made, upstream=Upstream.BGP, steering=Policy.BGP, backbone=backbone)


def up(*network: str, client: str) -> tuple[float, float]:
    """Seconds of the wall's clock that it takes, and the most memory (MB) of any process.

    Raises RuntimeError if it ends with another code than 0.
    """
    command = [POPLAB, "up", *network, "--clock", "virtual", "--root", "hermetic", "--"]
    began = time.perf_counter()
    process = subprocess.Popen([*command, client, *PINGS], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}.")
    return time.perf_counter() - began, used.ru_maxrss / 1000
