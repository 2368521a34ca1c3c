"""A million replies while port sets change hands: whose were they, and who got them?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks import inside
from benchmarks.row import Row, at_least, at_most

PACKETS = 1_000_000
PER_S = 10_000
"""What two cores carry that run every switch, the controller and the load; more is lost."""
WITHIN_S = 300
ACTS = 1_000


def rows(folder: Path) -> Iterator[Row]:
    """None to a server that does not hold the port, most to the one that does, the judge tried."""
    given = str(PACKETS), str(PER_S)
    found = inside.run(folder, "replies.log", "benchmarks.replies_inside", *given)
    name = f"{PACKETS:,} replies while sets change hands"
    yield at_most(f"{name}: misdelivered", found["misdelivered"], "", 0)
    share = found["delivered"] / found["owed"]
    yield at_least(f"{name}: delivered, beside those that one server was owed", share, "", 0.9)
    yield at_least(f"{name}: sent", found["per_s"], "/s", PACKETS / WITHIN_S)
    yield at_least(f"{name}: changes", found["acts"], "", ACTS)
    yield at_most(f"{name}: latest to the last holder", found["latest_s"], "s", 0.5)
    yield at_least(
        f"{name}: found of those that a forged rule misdelivers", found["convicted"], "", 1
    )
