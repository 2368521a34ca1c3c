"""How evenly names load the service addresses, by each binding, and how fast servers answer."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network
from pathlib import Path

import dns.message
import numpy as np

from benchmarks.row import Row, at_least, at_most
from topologies.binding import binding
from topologies.emulation.endpoints.zone import Zone
from topologies.model import Names

NAMES, QUERIES = 1_000_000, 1_000_000
EVEN = {IPv4Network("198.51.100.0/24"): 1.1, IPv4Network("198.51.96.0/20"): 1.4}
"""At most so many times the mean on the busiest address of a prefix, bound at random."""

ANSWERS, ANSWERS_S = 20_000, 2_000


def rows(_folder: Path) -> Iterator[Row]:
    """The busiest address's load over the mean; answers a second of one processor."""
    queries = asked(NAMES, QUERIES)
    for prefix, limit in EVEN.items():
        random, static, one = (skew(how, prefix, queries) for how in Names)
        name = f"names on {prefix.num_addresses} addresses: busiest over mean"
        yield at_most(f"{name}, random by static", random, "", limit, static)
        yield at_most(f"{name}, random by one", random, "", limit, one)
    yield at_least("names: answers of one processor", answers_s(), "/s", ANSWERS_S)


def asked(names: int, queries: int) -> Sequence[str]:
    """The names that so many queries are about: the n-th of ``names`` 1/n times as often (Zipf)."""
    weights = 1 / np.arange(1, names + 1)
    drawn = np.random.default_rng(0).choice(names, queries, p=weights / weights.sum())
    return [f"www{number}.poplab.test" for number in drawn]


def skew(how: Names, prefix: IPv4Network, queries: Sequence[str]) -> float:
    """How many times the mean of all addresses the busiest one is asked for."""
    addresses = tuple(prefix)
    load = Counter(map(binding(how, addresses, "0"), queries))
    return max(load.values()) * len(addresses) / len(queries)


def answers_s() -> float:
    """Answers a second, from a message to a message."""
    zone = Zone("poplab.test", binding(Names.RANDOM, tuple(next(iter(EVEN))), "0"))
    query = dns.message.make_query("www.poplab.test", "A", use_edns=0).to_wire()
    began = time.perf_counter()
    for _ in range(ANSWERS):
        zone.answer(query)
    return ANSWERS / (time.perf_counter() - began)
