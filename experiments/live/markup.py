"""The page: its template filled in with a network's map, and the files beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.control.words import link_name
from experiments.live.state import MAPPED
from experiments.show.page import atlas
from experiments.show.page.markup import HERE as REPORT
from experiments.show.page.markup import fill
from topologies.plan import HostRole, LinkKind, Plan

__all__ = ["FILES", "KINDS", "render", "render_pair"]

HERE = Path(__file__).parent / "page"

KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
"""What a file is (its Content-Type), by the end of its name."""

FILES = {
    path.name: path.read_bytes()
    for path in (*sorted(HERE.iterdir()), REPORT / "style.css")
    if path.suffix in KINDS
}
"""Everything that the page may fetch."""


def render(plan: Plan, played: Mapping[str, Any] | None = None) -> str:
    """The page for a lab with this plan, before anything is known of the lab itself.

    For a finished run ``played`` says its ``length_ms``, and ``news_ms``, when something happened.
    """
    network = plan.network
    looks = atlas.looks(network)
    return fill(
        "live.html",
        HERE,
        network=network,
        played=played,
        atlas=atlas.atlas(network, {}),
        names=_names(plan),
        marks={pop: [look.colour, look.outline] for pop, look in looks.items()},
        targets=[*map(str, network.services), *(host.name for host in plan.hosts)],
        senders=[host.name for host in plan.hosts if host.role is not HostRole.SPEAKER],
        city_names={city.code: city.name for city in network.cities},
    )


def render_pair(titles: Sequence[str], length_ms: float) -> str:
    """The page that has two runs side by side, on one slider."""
    return fill("pair.html", HERE, titles=titles, played={"length_ms": length_ms, "news_ms": []})


def _names(plan: Plan) -> dict[Any, str]:
    """The name of each link of the map, by its kind on the map and its two cities in any order."""
    found: dict[Any, str] = {}
    for link in plan.links:
        if link.kind in MAPPED:
            kind = "backbone" if link.kind is LinkKind.BACKBONE else "link"
            a, b = (plan.switch(end.node).city for end in (link.a, link.b))
            found[kind, (a, b)] = found[kind, (b, a)] = link_name(link)
    return found
