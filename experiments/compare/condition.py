"""What must not be: ``anycast_rtt_p50 > 1.05x``, against the first of the runs or a number."""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from experiments.compare.sides import Line
from experiments.errors import UsageError

_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_CONDITION = re.compile(r"\s*(\w+)\s*(>=|<=|>|<)\s*(-?\d+(?:\.\d+)?)\s*(x|%)?\s*")


@dataclass(frozen=True, slots=True)
class Condition:
    """A metric, and the bound that its median may not be beyond; ``x`` times the first side's.

    As if that were positive: ``1.05x`` allows a twentieth of its size, upwards.
    """

    text: str
    metric: str
    beyond: Callable[[float, float], bool]
    bound: float
    relative: bool
    percent: bool = False

    def violated(self, lines: Iterable[Line]) -> list[int]:
        """The numbers of the sides for which it holds, or cannot be told, so that CI must fail.

        A relative bound is not for the first side. Raises UsageError if no side has the metric, or
        if it is no share and the bound one in percent.
        """
        line = self._line(list(lines))
        if self.percent and line.unit != "1":
            raise UsageError(
                f"{self.metric} is in {line.unit}, no share: write a plain number, or one with "
                "an x for times the first run's."
            )
        first = line.estimates[0].median
        bound = self.bound
        if self.relative and first is not None:  # of a negative one, 1.05x is farther up as well
            bound = first + (self.bound - 1) * abs(first)
        untold = self.relative and first is None
        return [
            number
            for number, found in enumerate(line.estimates)
            if (number or not self.relative)
            and (untold or found.median is None or self.beyond(found.median, bound))
        ]

    def _line(self, lines: Sequence[Line]) -> Line:
        for line in lines:
            if line.metric == self.metric:
                return line
        names = [line.metric for line in lines]
        near = difflib.get_close_matches(self.metric, names, 3, 0.4) or names
        raise UsageError(f"There is no metric {self.metric!r}: use one of {', '.join(near)}.")


def parse(text: str) -> Condition:
    """The condition in words. Raises UsageError."""
    found = _CONDITION.fullmatch(text)
    if not found:
        raise UsageError(
            f"{text!r} is no condition: write METRIC > NUMBER, with an x after it for times the "
            "first run's, as in 'anycast_rtt_p50 > 1.05x'."
        )
    metric, sign, number, unit = found.groups()
    bound = float(number) / (100 if unit == "%" else 1)
    return Condition(text.strip(), metric, _OPERATORS[sign], bound, unit == "x", unit == "%")
