"""Why a city goes to its PoP: what the controller's policy thought of each, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.text import Text

from experiments.show.report import table


def show(found: Mapping[str, Any], console: Console) -> None:
    """One sentence, and a line for every PoP, the best first; and what a router itself says."""
    rows = [
        (
            choice["pop"],
            "not used" if choice["place"] is None else str(choice["place"]),
            _ms(choice["delay_ns"]),
            _more(choice["delay_ns"], found["pops"]),
            choice["reason"],
        )
        for choice in found["pops"]
    ]
    columns = ("PoP", "place", "one way", "more than the least", "why")
    parts: list[RenderableType] = [Text(sentence(found)), table("", columns, rows)]
    if "spoken" in found:
        routes = [(x["pop"], " ".join(x["path"]), x["why"]) for x in found["spoken"]]
        parts.append(table("as its router has it", ("PoP", "AS path", "the best by"), routes))
    console.print(Group(*parts))


def sentence(found: Mapping[str, Any]) -> str:
    """Where the city goes, and what comes next."""
    city, policy = found["city"], found["policy"]
    first, *others = [choice for choice in found["pops"] if choice["place"]] or [None]
    if first is None:
        return f"Nobody serves {city}: policy {policy} has no PoP for it."
    by = "by hand" if found["override"] == first["pop"] else f"by policy {policy}"
    after = f"; then {others[0]['pop']}, {_ms(others[0]['delay_ns'])}" if others else ""
    return f"{city} goes to PoP {first['pop']} {by}, {_ms(first['delay_ns'])} one way{after}."


def _ms(delay_ns: int | None) -> str:
    return "" if delay_ns is None else f"{delay_ns / 1e6:.3f} ms"


def _more(delay_ns: int | None, pops: list[dict[str, Any]]) -> str:
    """What a PoP costs beyond the nearest one that is within reach."""
    if delay_ns is None:
        return ""
    least = min(pop["delay_ns"] for pop in pops if pop["delay_ns"] is not None)
    return _ms(delay_ns - least)
