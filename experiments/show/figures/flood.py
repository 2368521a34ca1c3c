"""The figure of study flood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.ticker import PercentFormatter

from experiments.show.figures.canvas import (
    BLUE,
    GREEN,
    GRID,
    INK,
    ORANGE,
    PINK,
    QUIET,
    YELLOW,
    figure_of,
    plain,
    saved,
    title,
)

if TYPE_CHECKING:
    import pandas as pd


LOOKS: Mapping[str, tuple[str, str]] = {
    "quiet": (GRID, "anycast, no attack (control)"),
    "unicast": (ORANGE, "one site"),
    "anycast": (BLUE, "anycast, all PoPs absorb"),
    "withdrawn": (GREEN, "anycast, the fullest PoP withdrawn"),
    "lent": (PINK, "a borrowed address is attacked"),
    "moved": (YELLOW, "the same, moved to the fullest PoP"),
    "unlimited": (QUIET, "one site, uplinks without rates (control)"),
}
"""Colour and label of each way to be attacked."""


def draw(pops: pd.DataFrame, arms: Sequence[str], path: Path) -> Path:
    """What each uplink is offered, and which share of the requests is answered, by arm.

    ``pops`` is the table of the study of that name.
    """
    figure, (loads, answers) = figure_of(10.5, 4.6, 2, width_ratios=[1.6, 1])
    names = list(pops["pop"].drop_duplicates())
    shown = [arm for arm in arms if arm not in ("quiet", "unlimited")]
    wide = 0.8 / len(shown)
    for number, arm in enumerate(shown):
        mine = pops[pops["arm"] == arm].set_index("pop").reindex(names)
        places = [place + wide * (number - (len(shown) - 1) / 2) for place in range(len(names))]
        colour, label = LOOKS[arm]
        loads.bar(places, mine["load_share"], width=wide, color=colour, label=label)
        loads.plot(places, mine["model_load_share"], linestyle="", marker="_", color=INK,
                   label="closed form" if arm == shown[-1] else None)  # fmt: skip
    loads.axhline(1, color=INK, linewidth=1.2, linestyle="--", label="the uplink's rate")
    loads.set_xticks(range(len(names)), names)
    loads.set_ylabel("offered to the uplink, of its rate")
    loads.legend(loc="upper right", frameon=True, framealpha=0.95, fontsize=9)
    plain(loads)
    title(loads, "Where the attack goes")
    for place, arm in enumerate(reversed(arms)):
        mine = pops[(pops["arm"] == arm) & (pops["requests"] > 0)]
        sent = max(int(mine["requests"].sum()), 1)
        share = float(mine["answered"].sum()) / sent
        expected = (mine["model_answered_share"] * mine["requests"]).sum(skipna=False)
        answers.barh(place, share, color=LOOKS[arm][0], height=0.6)
        answers.plot([float(expected) / sent], [place], marker="|", color=INK, markersize=16)
        answers.text(0.01, place + 0.36, LOOKS[arm][1], fontsize=8.5, color=INK)
    answers.set_xlim(0, 1.02)
    answers.set_yticks([])
    answers.set_ylim(-0.6, len(arms) - 0.2)
    answers.xaxis.set_major_formatter(PercentFormatter(1.0))
    answers.set_xlabel("lawful requests that are answered")
    plain(answers)
    title(answers, "What is left for others")
    return saved(
        figure,
        path,
        "What each uplink is offered, and the share of lawful requests that is answered, by arm.",
    )
