"""What shapes a study: numbers, words, and lists of either."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from experiments.errors import UsageError

SOME = 0.0001
"""The least of what cannot be nothing: a rate, a time to wait."""

Value = float | str | tuple[float, ...] | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a study: its usual value, and the one for ``--quick``.

    Other values are of the same kind: a number, a word (one of ``choices`` if there are some), or
    a list of what the usual list holds: at least one, and none twice, unless it is a ``series``. No
    number is below ``least``; where that is 1 or more they count something, and are whole.
    """

    usual: Value
    quick: Value
    meaning: str
    choices: tuple[str, ...] = ()
    least: float = 0
    series: bool = False

    def check(self, name: str, value: object) -> Value:
        """A value as the study takes it. Raises UsageError for another kind."""
        if isinstance(self.usual, tuple):
            if not isinstance(value, list | tuple) or not value:
                raise UsageError(f"{name} is a list, not {value!r}: give at least one value.")
            found = tuple(self._one(name, item, self.usual[0]) for item in value)
            if len(set(found)) < len(found) and not self.series:
                raise UsageError(f"{name} has a value twice: give every one once.")
            return found  # type: ignore[return-value]
        return self._one(name, value, self.usual)

    def read(self, name: str, text: str) -> Value:
        """The value that a text means; a list has commas. Raises UsageError."""
        if isinstance(self.usual, tuple):
            return self.check(name, [_number(x.strip(), self.usual[0]) for x in text.split(",")])
        return self.check(name, _number(text, self.usual))

    def _one(self, name: str, value: object, like: object) -> float | str:
        if isinstance(like, str):
            if not isinstance(value, str) or (self.choices and value not in self.choices):
                choices = f"one of {', '.join(self.choices)}" if self.choices else "a word"
                raise UsageError(f"{name} is {choices}, not {value!r}.")
            return value
        if isinstance(value, int | float) and not isinstance(value, bool) and self._fits(value):
            return value
        kind = "whole number" if self._counts else "number"
        raise UsageError(f"{name} is a {kind} from {self.least:g} up, not {value!r}.")

    @property
    def _counts(self) -> bool:
        return self.least >= 1

    def _fits(self, number: float) -> bool:
        return self.least <= number < inf and not (self._counts and number % 1)


def _number(text: str, like: object) -> float | str:
    """A number where one is wanted and this is one, else the text as it is."""
    if isinstance(like, str):
        return text
    try:
        return float(text)
    except ValueError:
        return text
