"""Which clock a study runs by, and why."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.study import Study
from topologies.emulation.options import Clock
from topologies.emulation.sandbox import NoSandboxError, kernel
from topologies.emulation.sandbox.guest import Guest

CHOICES = ("auto", "real", "virtual")


@dataclass(frozen=True, slots=True)
class Choice:
    """A clock, and the reason for it in half a sentence."""

    clock: Clock
    why: str

    def sentence(self) -> str:
        """Both in words."""
        return f"{'no lab' if self.clock == 'none' else f'{self.clock} time'}: {self.why}"


def choose(study: Study, asked: str = "auto") -> Choice:
    """The clock for a study: ``asked``, or for ``auto`` virtual time where that can be had.

    A study without a lab has none. Raises ValueError on an unknown word.
    """
    if not study.lab:
        if asked not in ("auto", "none"):
            raise ValueError(f"The study {study.name} needs no lab, so no time: omit --clock.")
        return Choice("none", "the study computes, which needs no root and repeats to the byte")
    if asked == "real":
        return Choice("real", "as asked")
    if asked == "virtual":
        return Choice("virtual", "as asked")
    if asked != "auto":
        raise ValueError(f"No clock {asked!r}: use one of {', '.join(CHOICES)}.")
    if study.measures_computing:
        return Choice("real", "the study measures computing, which takes no virtual time")
    try:
        Guest().check()
    except NoSandboxError as error:
        return Choice("real", str(error).rstrip("."))
    return Choice("virtual", f"Linux {kernel.need().release} in a guest: exact and repeatable")
