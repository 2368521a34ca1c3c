"""How fast the book lends: decided, made durable, and in band, from DISCOVER to ACK."""

from __future__ import annotations

import gc
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path

from benchmarks import inside, kea_inside
from benchmarks.row import Row, at_least, at_most
from controller.core.events import LeaseChanged
from controller.core.lease import Terms, Transition
from controller.core.lending import PORTION, Book
from controller.store import Record, open_store
from topologies.model import Pool

TERMS = Terms(quarantine_ns=0, sets_per_server=1 << 30)
PAIRS = 20_000
LIVE = 1_000_000
CROWD = 100_000
TOGETHER = 100
"""Verbs that one write makes durable."""
RATE, SECONDS = 500, 8
KEA_RATES = 1_000, 4_000


def rows(folder: Path) -> Iterator[Row]:
    """The book alone, with its store, and a lab under load."""
    yield at_least("book: pairs decided", PAIRS / _pairs(None, 1), "/s", 20_000)
    few = 2000
    alone, together = (few / _pairs(folder, n, few) for n in (1, TOGETHER))
    name = f"book: durable pairs, {TOGETHER} verbs a write (peer: one)"
    yield at_least(name, together, "/s", 20_000, alone)
    yield at_most(f"book: {LIVE:,} live leases", _memory(), "MB", 500)
    yield at_most(f"book: {CROWD:,} end at once, longest stall", _stall(), "s", 0.05)
    found = inside.run(folder, "lending.log", "benchmarks.lending_inside", str(RATE), str(SECONDS))
    in_band = f"in band, {RATE} exchanges/s"
    yield at_least(f"{in_band}: acknowledged", found["acknowledged"], "", 1.0)
    yield at_most(f"{in_band}: DISCOVER to ACK, median", found["ack_p50_s"], "s", 0.015)
    yield at_most("in band, idle: DISCOVER to first accepted SYN", found["first_syn_s"], "s", 0.015)
    yield from _beside_kea(folder, RATE * found["acknowledged"], found["ack_mean_s"])


def _beside_kea(folder: Path, per_s: float, mean_s: float) -> Iterator[Row]:
    """Exchanges durable and in force in a network, beside Kea's, which wait for neither."""
    if missing := kea_inside.missing():
        mend = f"`{kea_inside.INSTALL}` brings it"
        sys.stderr.write(f"lending: no rows beside Kea, because {missing} is missing; {mend}.\n")
        return
    for rate in KEA_RATES:
        given = str(rate), str(SECONDS)
        kea = inside.run(folder, "lending-kea.log", "benchmarks.kea_inside", *given)
        name = f"in band, {RATE} exchanges/s (peer: Kea, asked for {rate:,})"
        yield at_least(f"{name}: acknowledged", per_s, "/s", RATE, kea["per_s"])
        yield at_most(f"{name}: DISCOVER to ACK, mean", mean_s, "s", 0.015, kea["ack_mean_s"])


def _book() -> Book:
    return Book([Pool(IPv4Network("10.0.0.0/16"))], 5, TERMS)


def _pairs(folder: Path | None, together: int, pairs: int = PAIRS) -> float:
    """Seconds for so many sets to be lent and returned."""
    book, number = _book(), 0
    with tempfile.TemporaryDirectory(dir=folder) as place:
        store = None if folder is None else open_store(str(Path(place) / "leases.sqlite"))
        waiting: list[Record] = []

        def carry_out(transition: Transition) -> None:
            nonlocal number
            number += 1
            book.apply(transition)
            waiting.append(Record(number, number, number, LeaseChanged(transition.after)))
            if store is not None and len(waiting) >= together:
                store.commit(waiting)
                waiting.clear()

        began = time.perf_counter()
        for n in range(0, pairs, together):
            servers = [f"s{m}" for m in range(n, min(n + together, pairs))]
            for server in servers:
                carry_out(book.acquire(server, "LHR", n))
            for server in servers:
                lease = book.held(server, "any")
                assert lease is not None
                carry_out(book.release(server, *lease.key, n))
            if n % TOGETHER == 0:
                book.apply(*book.expire(n))
        took = time.perf_counter() - began
        if store is not None:
            store.close()
    return took


def _memory() -> float:
    """What a million leases of 31 to an address take, in MB, by Python's own account."""
    servers, names = ([f"{what}{n}" for n in range(1000)] for what in ("server-", "client-"))
    tracemalloc.start()
    book = _book()
    for n in range(LIVE):
        book.apply(book.acquire(servers[n % 1000], "LHR", n, client_id=names[n // 1000]))
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return taken / 1e6


def _stall() -> float:
    """The longest time between two portions of a crowd that ends: how long an acquire may wait.

    The garbage collector does not look at the book, as in a controller (``controller.process``).
    """
    book, longest = _book(), 0.0
    for n in range(CROWD):
        book.apply(book.acquire(f"server-{n % 1000}", "LHR", 0, client_id=str(n // 1000)))
    now = TERMS.lifetime_ns
    gc.freeze()
    while True:
        began = time.perf_counter()
        ended = book.expire(now, PORTION)
        book.apply(*ended)
        book.acquire("waiting", "LHR", now)
        longest = max(longest, time.perf_counter() - began)
        if not ended:
            gc.unfreeze()
            return longest
