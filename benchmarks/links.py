"""One emulated link by itself: its error, and what goes through it beside a bare cable."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.row import Row, at_least, at_most
from tests.links import measure

DELAYS_MS = (1, 5, 25, 100)
ERROR_US = 15.0
CABLE_SHARE = 0.5
FRAMES_PER_S = 250_000


def rows(_folder: Path) -> Iterator[Row]:
    """Error by kernel timestamps, TCP by iperf3, frames of 64 bytes."""
    with measure.benches() as bench:
        for delay_ms in DELAYS_MS:
            found = measure.oneway_errors(bench, delay_ms)
            name = f"link of {delay_ms} ms: error"
            yield at_most(name, abs(found["error_ns"]), "us", ERROR_US, found["raw_error_ns"])
    with measure.benches() as bench:
        measure.large_windows(bench)
        cable = measure.transfer(bench, measure.DIRECT, 0).bit_s / 1e9
        link = measure.transfer(bench, measure.LINKED, 5).bit_s / 1e9
        limit = CABLE_SHARE * cable
        yield at_least("link of 5 ms: TCP", link, "Gbit/s", limit, cable)
    with measure.benches() as bench, measure.blaster() as program:
        found = measure.blast(bench, program, FRAMES_PER_S)
        kept = 0.0 if found.drops else found.delivered
        yield at_least("link of 5 ms: frames", kept, "/s", 0.99 * FRAMES_PER_S)
