"""What a sweep varies, as people write it: ``pops=1..10``, ``pings=10,100``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from experiments.errors import UsageError
from experiments.parameters import Value
from experiments.study import Study

ASKED = ("network", "pops", "steering", "upstream", "links", "datapath", "clock", "family")
"""What can be varied beside the study's own parameters: options of a run, as words."""

MOST_VALUES = 1000

_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)(?:\.\.(\d+))?")


@dataclass(frozen=True, slots=True)
class Axis:
    """One thing that is varied, and the values that it takes, in their order."""

    name: str
    values: tuple[Value, ...]


Arm = Mapping[str, Value]
"""One value for every axis."""


def parse(study: Study, words: Sequence[str]) -> tuple[Axis, ...]:
    """The axes in ``NAME=VALUES`` words: a list with commas, or a range ``FIRST..LAST[..STEP]``.

    Raises UsageError for what cannot be varied, or not so.
    """
    axes = tuple(_axis(study, word) for word in words)
    names = [axis.name for axis in axes]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UsageError(f"{', '.join(sorted(twice))} is varied twice: give each axis once.")
    return axes


def _axis(study: Study, word: str) -> Axis:
    name, equals, text = word.partition("=")
    if not equals or not text:
        raise UsageError(f"{word!r} varies nothing: write NAME=VALUES, as in pops=1..5.")
    if name == "seed":
        raise UsageError("The seed is not varied: --repeat 5 runs every arm with five seeds.")
    spelled = _spelled(text)
    values = tuple(_value(study, name, value) for value in spelled)
    if len(set(values)) < len(values):
        raise UsageError(f"{word!r} has a value twice: --repeat runs every arm more often.")
    return Axis(name, values)


def _spelled(text: str) -> list[str]:
    """The values, each as it could have been written."""
    found = _RANGE.fullmatch(text)
    if not found:
        return [value.strip() for value in text.split(",")]
    first, last, step = int(found[1]), int(found[2]), int(found[3] or 1)
    if last < first or step < 1 or (last - first) // step >= MOST_VALUES:
        raise UsageError(
            f"{text!r} is no range: write FIRST..LAST or FIRST..LAST..STEP, "
            f"upwards, of at most {MOST_VALUES} values."
        )
    return [str(value) for value in range(first, last + 1, step)]


def _value(study: Study, name: str, text: str) -> Value:
    if name in ASKED:
        return text
    if name not in study.parameters:
        able = ", ".join((*ASKED, *study.parameters))
        raise UsageError(f"{study.name} has nothing called {name!r} to vary: use one of {able}.")
    parameter = study.parameters[name]
    if isinstance(parameter.usual, tuple):
        raise UsageError(f"{name} is a list, which {study.name} goes through by itself: use --set.")
    return parameter.read(name, text)
