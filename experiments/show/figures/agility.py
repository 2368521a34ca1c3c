"""The figure of study agility."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import stats
from experiments.show.figures.canvas import (
    BLUE,
    GREEN,
    GRID,
    INK,
    ORANGE,
    figure_of,
    plain,
    saved,
    shares_axis,
    steps,
    title,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


MOVED: Mapping[str, str] = {"same PoP": "within its PoP", "other PoP": "to another PoP"}
"""Where a set moved, by the kind of move."""


def draw(samples: pd.DataFrame, moves: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """How long it takes to borrow and return; and the first move of each kind, to the packet.

    ``samples`` and ``moves`` are those of the study of that name.
    """
    kinds = {move["kind"]: move for move in reversed(moves)}
    figure, (left, *rest) = figure_of(11, 4.2, 1 + len(kinds))
    looks: Sequence[tuple[str, dict[str, Any]]] = (
        ("borrow", {"color": BLUE}),
        ("return", {"color": ORANGE, "linestyle": "--"}),
    )
    for act, look in looks:
        values, shares = stats.cdf(samples[samples["act"] == act]["took_ms"])
        steps(left, values, shares, linewidth=2, label=act, **look)  # fmt: skip
    left.set_xlabel("from the wish until it is true, ms")
    left.set_xlim(left=0)
    shares_axis(left, "share of all tries")
    left.legend(loc="lower right", frameon=False, fontsize=9)
    title(left, "One more port set")
    for axes, (kind, move) in zip(rest, sorted(kinds.items(), reverse=True), strict=True):
        _one_move(axes, samples, move)
        title(axes, f"A set moves {MOVED[kind]}")
    return saved(
        figure,
        path,
        "How long borrowing takes, and which packets are answered around a move.",
    )


def _one_move(axes: Axes, samples: pd.DataFrame, move: Mapping[str, Any]) -> None:
    """Which packets of holder and heir were answered, around the moment of a move."""
    mine = samples[
        (samples["act"] == "move")
        & (samples["kind"] == move["kind"])
        & (samples["turn"] == move["turn"])
    ]
    carried_out = (move["ended_ns"] - move["began_ns"]) / 1e6
    axes.axvspan(0, carried_out, color=GRID, zorder=0, label="until it is carried out")
    looks: Sequence[tuple[bool, dict[str, Any]]] = (
        (True, {"color": GREEN, "marker": "|", "markersize": 7}),
        (False, {"color": INK, "marker": "x", "markersize": 4}),
    )
    for row, role in enumerate(("heir", "holder")):
        for ok, look in looks:
            here = mine[(mine["role"] == role) & ((mine["outcome"] == "ok") == ok)]
            at = (here["sent_ns"] - move["began_ns"]) / 1e6
            level = row + (0.12 if ok else -0.12)
            label = ("answered" if ok else "lost") if row else None
            axes.plot(at, [level] * len(at), linestyle="", alpha=0.8, label=label, **look)
    axes.set_xlim(-40, 60)
    axes.set_ylim(-0.6, 1.6)
    axes.set_yticks([0, 1], ["heir", "holder"])
    axes.set_xlabel("packet sent, ms after the word to move")
    axes.legend(loc="center right", frameon=True, framealpha=0.95, fontsize=9)
    plain(axes)
