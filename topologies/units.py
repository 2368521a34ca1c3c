"""Quantities as people write them: ``10 ms``, ``1 Gbit``, ``0.1 %``.

Inside the kit a delay is a whole number of nanoseconds, a rate a whole number of bits per
second, a loss a probability between 0 and 1. Decimal prefixes: 1 Gbit is 10^9 bits.
"""

from __future__ import annotations

import re
from decimal import Decimal

TIME = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "min": 60 * 10**9}
RATE = {"bit": 1, "kbit": 10**3, "Mbit": 10**6, "Gbit": 10**9, "Tbit": 10**12}

_LONGEST = 40
"""Characters of a quantity: whatever is longer is none."""

_QUANTITY = re.compile(r"\s*([+-]?\d+(?:\.\d+)?)\s*(\S*?)\s*")
_SHARE = re.compile(r"\s*([+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d{1,2})?)\s*(%?)\s*")
"""As Python writes a number, so that a small one may come back."""


class UnitError(ValueError):
    """A quantity that cannot be read; ``mend`` says how to write it."""

    def __init__(self, cause: str, mend: str) -> None:
        super().__init__(cause)
        self.cause = cause
        self.mend = mend


def parse_time(text: str | int | float) -> int:
    """``10 ms`` to nanoseconds. Plain 0 needs no unit. Raises UnitError."""
    return _parse(
        text, TIME, "a time", "write a number and a unit, like 10 ms (ns, us, ms, s, min)"
    )


def parse_rate(text: str | int | float) -> int:
    """``1 Gbit`` (or ``1 Gbit/s``) to bits per second. Raises UnitError."""
    if isinstance(text, str):
        text = text.removesuffix("/s")
    mend = "write a number and a unit, like 1 Gbit (bit, kbit, Mbit, Gbit, Tbit)"
    return _parse(text, RATE, "a rate", mend)


def parse_share(text: str | int | float) -> float:
    """``0.1 %``, or the probability 0.001, to a probability. Raises UnitError."""
    if isinstance(text, bool) or not isinstance(text, int | float | str):
        raise UnitError(f"{text!r} is not a share", "write it like 0.1 %, or as 0.001")
    if not isinstance(text, str):
        return float(text)
    found = _SHARE.fullmatch(text[: _LONGEST + 1])
    if not found or len(text) > _LONGEST:
        raise UnitError(f"{text!r} is not a share", "write it like 0.1 %, or as 0.001")
    return float(Decimal(found[1]) / (100 if found[2] else 1))


def format_time(ns: int) -> str:
    """Nanoseconds in the largest unit that keeps the number exact: ``10 ms``."""
    return _format(ns, {unit: size for unit, size in TIME.items() if unit != "µs"})


def format_rate(bit_s: int) -> str:
    """Bits per second in the largest unit that keeps the number exact: ``1 Gbit``."""
    return _format(bit_s, RATE)


def _parse(text: str | int | float, units: dict[str, int], what: str, mend: str) -> int:
    if text == 0 and not isinstance(text, bool | str):
        return 0
    short = isinstance(text, str) and len(text) <= _LONGEST
    found = _QUANTITY.fullmatch(str(text)) if short else None
    if not found:
        raise UnitError(f"{text!r} is not {what}", mend)
    number, unit = Decimal(found[1]), found[2]
    if not unit and number == 0:
        return 0
    size = units.get(unit) or {name.lower(): size for name, size in units.items()}.get(unit.lower())
    if size is None:
        raise UnitError(f"{text!r} has no unit of {what.removeprefix('a ')}", mend)
    return round(number * size)


def _format(value: int, units: dict[str, int]) -> str:
    if value == 0:
        return f"0 {next(iter(units))}"
    for unit, size in reversed(units.items()):
        if value % size == 0:
            return f"{value // size} {unit}"
    raise AssertionError("the smallest unit is 1")
