"""What a change costs in a network where much is lent: from the request to the last barrier."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks import inside
from benchmarks.row import Row, at_least, at_most

FEW, MANY = 100, 10_000
CHANGE_S = 0.005
AUDIT_S = 5.0


def rows(folder: Path) -> Iterator[Row]:
    """The same changes beside few leases and beside many; the request itself is taken off."""
    few, many = (
        inside.run(folder, f"changes-{count}.log", "benchmarks.changes_inside", str(count))
        for count in (FEW, MANY)
    )
    for name, what in (("revoke_s", "a lease ends"), ("weight_s", "a weight changes")):
        own, peer = many[name] - many["ask_s"], few[name] - few["ask_s"]
        yield at_most(f"{MANY} live leases: {what}, confirmed", own, "s", CHANGE_S, peer)
    yield at_least(f"{MANY} live leases: book, store and switches agree", many["agrees"], "", 1)
    yield at_most(f"{MANY} live leases: the audit that says so", many["audit_s"], "s", AUDIT_S)
