"""Which trials a sweep has, and in which order: a randomised block design.

Every repetition is a block that holds each arm once, in an order of its own, so that a machine
which drifts (warms up, gets busy) meets all arms alike. All arms of a block have the same seed,
so they can be compared in pairs. R. A. Fisher, The Design of Experiments (1935).
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from experiments.sweeps.axes import Arm, Axis

MOST_TRIALS = 10_000


@dataclass(frozen=True, slots=True)
class Turn:
    """One trial of a sweep. ``name`` is its own, and fit for a folder."""

    name: str
    arm: Arm
    repetition: int
    seed: int


def arms(axes: Sequence[Axis]) -> list[Arm]:
    """Every combination of the axes' values; the last axis varies fastest. One arm without axes."""
    names = [axis.name for axis in axes]
    combinations = itertools.product(*(axis.values for axis in axes))
    return [dict(zip(names, values, strict=True)) for values in combinations]


def turns(axes: Sequence[Axis], repeat: int, seed: int) -> list[Turn]:
    """All trials in the order in which they begin. Seeds are ``seed``, ``seed + 1``, ..."""
    return list(_turns(arms(axes), repeat, seed))


def _turns(of: Sequence[Arm], repeat: int, seed: int) -> Iterator[Turn]:
    for repetition in range(repeat):
        order = list(enumerate(of))
        random.Random(f"block {repetition} of {seed}").shuffle(order)
        for number, arm in order:
            name = f"arm-{number + 1:03}-seed-{seed + repetition}"
            yield Turn(name, arm, repetition, seed + repetition)
