"""Book, store and switches compared: is what is lent what the switches let pass, and nothing else?

The switches are read, not believed. What they are being told at that moment is no difference: a
switch that differs is read again, and only what differs twice is reported.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import eventlet

from controller.core.lending import Book
from controller.core.rules import Rule, duty_of
from controller.loop import ControlLoop
from controller.store import Store
from controller.switches import Switch

AGAIN_S = 0.2


@dataclass(frozen=True, slots=True)
class SwitchAudit:
    """One switch: the rules that it lacks, and those that it has too many; None when it is away."""

    missing: list[str] | None
    extra: list[str] | None


@dataclass(frozen=True, slots=True)
class Audit:
    """``entries`` of the book; in which the world and the store differ from it; the switches."""

    entries: int
    rules: int
    world_differs: list[str]
    store_differs: list[str]
    switches: dict[str, SwitchAudit]

    @property
    def agrees(self) -> bool:
        """Whether all that can be asked say the same."""
        told = [part for x in self.switches.values() for part in (x.missing, x.extra)]
        return not (self.world_differs or self.store_differs or any(told))

    def describe(self) -> dict[str, Any]:
        """The whole of it, for JSON."""
        return {"agrees": self.agrees} | asdict(self)


def audit(loop: ControlLoop, book: Book, store: Store) -> Audit:
    """Compare them now. Raises StoreError."""
    entries = {lease.key: lease for lease in book.entries()}
    stored = {lease.key: lease for lease in store.load()}
    live = {key: lease for key, lease in entries.items() if lease.live}
    lent = dict(loop.world.leases.items())
    pool = eventlet.GreenPool(len(loop.switches))
    switches = dict(pool.imap(_look, loop.switches.values()))
    return Audit(
        entries=len(entries),
        rules=sum(switch.rules for switch in loop.switches.values()),
        world_differs=_differing(live, lent),
        store_differs=_differing(entries, stored),
        switches=switches,
    )


def _differing(one: dict[Any, Any], other: dict[Any, Any]) -> list[str]:
    keys = sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
    return [f"{address} port {port}" for address, port in keys]


def _look(switch: Switch) -> tuple[str, SwitchAudit]:
    """A switch's differences that are there twice."""
    first = switch.differences()
    again = first
    if first is not None and any(first):
        eventlet.sleep(AGAIN_S)
        again = switch.differences()
    if first is None or again is None:
        return switch.plan.name, SwitchAudit(None, None)
    missing, extra = first[0] & again[0], first[1] & again[1]
    return switch.plan.name, SwitchAudit(*(sorted(map(_shown, x)) for x in (missing, extra)))


def _shown(rule: Rule | str) -> str:
    if isinstance(rule, str):
        return rule
    duty = duty_of(rule.cookie)
    whose = "somebody's" if duty is None else duty.name.lower()
    fields = ", ".join(f"{m.field}={m.value:#x}/{m.mask:#x}" for m in rule.match)
    return f"table {rule.table.value} priority {rule.priority} {whose}: {fields}"
