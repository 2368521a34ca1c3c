"""What steering costs: another policy, a network from nothing, and many new connections."""

from __future__ import annotations

import timeit
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks import inside
from benchmarks.row import Row, at_least, at_most
from controller.core.change import Configuration, follow
from controller.core.events import PolicySet
from controller.core.world import World
from topologies.model import Policy
from topologies.plan import plan
from topologies.sources import load

NETWORK = "world"
REPEATS = 5
CHANGE_S = 0.25
TOUCHED = 0.05
"""Of all entries, those that a policy may touch."""
ENTRIES_PER_S = 20_000
PER_S, SECONDS = 1_000, 5


def rows(folder: Path) -> Iterator[Row]:
    """Policy changes are worked out alone; the rest is in front of real switches."""
    yield from _policies()
    ours, ryu = (
        inside.run(folder, f"steering-{who}.log", "benchmarks.steering_inside", who, NETWORK)
        for who in ("ours", "ryu")
    )
    name = f"{NETWORK}: rules from nothing into a switch (peer: by Ryu's classes)"
    yield at_least(name, ours["per_s"], "/s", ENTRIES_PER_S, ryu["per_s"])
    given = ("connect", "triangle", str(PER_S), str(SECONDS))
    found = inside.run(folder, "steering-connect.log", "benchmarks.steering_inside", *given)
    name = f"{PER_S:,} new connections a second"
    yield at_least(f"{name}: opened", found["opened_per_s"], "/s", 0.95 * PER_S)
    yield at_most(f"{name}: packets for the controller", found["packet_ins"], "", 0)


def _policies() -> Iterator[Row]:
    """From the policy of the network to each other one, beside all that its switches hold."""
    world = World(plan(load(NETWORK)))
    all_s = min(timeit.repeat(lambda: Configuration.of(world), number=1, repeat=REPEATS))
    before = Configuration.of(world)
    held = sum(len(x.rules) + len(x.groups) for x in before.programs().values())
    for policy in (Policy.BGP, Policy.REGIONAL, Policy.WEIGHTED):
        change = partial(_change, before, PolicySet(policy))
        touched, name = change(), f"{NETWORK}: from {world.policy.value} to {policy.value}"
        took_s = min(timeit.repeat(change, number=1, repeat=REPEATS))
        yield at_most(f"{name}: rules (peer: all)", touched, "", round(TOUCHED * held), held)
        yield at_most(f"{name}: worked out (peer: all)", took_s, "s", CHANGE_S, all_s)


def _change(before: Configuration, event: PolicySet) -> int:
    """How many rules and groups change, those for connections of cities that move among them."""
    _, phases, _ = follow(before, event)
    return sum(len(part) for phase in phases for part in phase.values())
