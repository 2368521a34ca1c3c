"""How much of the pools is taken, and where."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import Any

from controller.core.lease import Lease, LeaseState
from controller.core.ports import UNIT, UNTOUCHED
from topologies.model import Pool

LENDABLE = UNTOUCHED.bit_count() * UNIT
"""The ports of an address that can be lent in parts."""


def usage(pools: Iterable[Pool], entries: Iterable[Lease]) -> dict[str, Any]:
    """By tag: how many addresses and ports there are, and by PoP how much its servers have.

    Of ``addresses``, those of which anything is taken; ports by state. A whole address counts with
    its system ports.
    """
    found: dict[str, Any] = {}
    for pool in pools:
        tag = found.setdefault(pool.tag, {"there_are": 0, "ports": 0, "taken": 0, "pops": {}})
        tag["there_are"] += pool.prefix.num_addresses
        tag["ports"] += pool.prefix.num_addresses * LENDABLE
    taken: defaultdict[tuple[str, str], set[IPv4Address]] = defaultdict(set)
    for lease in entries:
        pop = found[lease.tag]["pops"].setdefault(lease.pop, _nothing())
        pop["sets"] += 1
        pop[lease.state.value] += lease.ports
        taken[lease.tag, lease.pop].add(lease.address)
    for tag, there in found.items():
        for name, pop in there["pops"].items():
            pop["addresses"] = len(taken[tag, name])
        mine = (addresses for (of, _), addresses in taken.items() if of == tag)
        there["taken"] = len(set().union(*mine))
    return found


def _nothing() -> dict[str, int]:
    """A PoP that has nothing: addresses, sets, and ports by state."""
    taken = (state.value for state in LeaseState if state is not LeaseState.FREE)
    return {"addresses": 0, "sets": 0} | dict.fromkeys(taken, 0)
