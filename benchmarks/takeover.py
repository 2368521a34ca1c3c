"""The leader of two controllers ends, and packets go on: how soon is somebody lent to again?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks import inside
from benchmarks.row import Row, at_least, at_most

TURNS = 10
WITHIN_S = {"killed": 1.0, "ended": 1.0, "stopped": 2.0}
"""Of the last one second is the term of a leader that stands still."""


def rows(folder: Path) -> Iterator[Row]:
    """From the leader's end to the first answer of the next one; what is lost meanwhile."""
    for network in ("triangle", "europe"):
        log = f"takeover-{network}.log"
        found = inside.run(folder, log, "benchmarks.takeover_inside", network, str(TURNS))
        for end, limit_s in WITHIN_S.items():
            name = f"{network}: leader {end}, to the first DHCP answer"
            yield at_most(f"{name}, median", found[f"{end}_s"], "s", limit_s)
            yield at_most(f"{name}, longest", found[f"{end}_most_s"], "s", 2 * limit_s)
        yield at_least(f"{network}: echoes meanwhile", found["echoes"], "", 1000)
        yield at_most(f"{network}: lost of them", found["lost"], "", 0)
