"""The figure of study convergence: who is served, over time after a change, by who steers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from experiments.show.figures.canvas import GRID, INK, figure_of, plain, saved, title
from topologies import cartography

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]

PANELS = (
    ("uplink pulled", "answered", "A PoP's uplink is pulled: who is answered"),
    ("withdrawn", "arrived", "A PoP is withdrawn: who comes to the PoP that serves it then"),
)
"""A change, what is counted, and what the panel shows."""

LEAST_S = 0.1
"""The axis is linear up to here, and logarithmic beyond."""
_LINES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1)))


def draw(samples: pd.DataFrame, follows: pd.DataFrame, path: Path) -> Path:
    """Shares of the clients that a change moves, over time, a line for each arm.

    Both are the tables of the study of that name, or those of several of its runs.
    """
    figure, panels = figure_of(11, 4.2, len(PANELS))
    keys = ["arm", "change", "client"]
    moved = follows[follows["moved"]][[*keys, "expected"]]
    felt = samples.merge(moved, on=keys)
    answered = felt["outcome"] == "ok"
    felt = felt.assign(answered=answered, arrived=answered & (felt["pop"] == felt["expected"]))
    for axes, (change, what, text) in zip(panels, PANELS, strict=True):
        mine = felt[felt["change"] == change]
        if len(mine):
            _panel(axes, mine, what)
        title(axes, text)
    if len(felt):
        panels[0].legend(loc="center right", frameon=True, framealpha=0.95, fontsize=9)
    return saved(
        figure,
        path,
        "Share of the clients of a PoP that are served after it is pulled or withdrawn, over time,"
        " for each pace of BGP.",
    )


def main() -> None:
    """``OUT.png RUN...``: one figure of several runs of the study."""
    import sys

    import pandas as pd

    from experiments import load

    out, *runs = map(Path, sys.argv[1:])
    made = [load(run) for run in runs]
    samples = pd.concat([one.samples for one in made])
    draw(samples, pd.concat([one.tables["follows"] for one in made]), out)


def _panel(axes: Axes, felt: pd.DataFrame, what: str) -> None:
    last_s = float(felt["after_ms"].max()) / 1e3
    times_s = np.concatenate(
        [np.linspace(-LEAST_S, LEAST_S, 81), np.geomspace(LEAST_S, last_s, 400)]
    )
    for number, arm in enumerate(dict.fromkeys(felt["arm"])):
        mine = felt[felt["arm"] == arm]
        here = times_s[times_s <= float(mine["after_ms"].max()) / 1e3]
        each = [_last_known(sent, what, here) for _, sent in mine.groupby("client")]
        axes.step(here, np.mean(each, axis=0), where="post", label=arm, linewidth=1.8,
                  color=cartography.COLOURS[number % 5], linestyle=_LINES[number % 5])  # fmt: skip
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_xscale("symlog", linthresh=LEAST_S)
    axes.set_xlim(-LEAST_S, last_s)
    ticks = [-LEAST_S, 0, *(10.0**n for n in range(-1, int(np.log10(max(last_s, 1))) + 1))]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xlabel("seconds after the change")
    axes.set_ylabel("share of the clients that it moves")
    axes.set_ylim(-0.02, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(axis="y", color=GRID)
    plain(axes)


def _last_known(sent: pd.DataFrame, what: str, times_s: Floats) -> Floats:
    """What became of a client's last probe before each of these times."""
    sent = sent.sort_values("after_ms")
    place = np.searchsorted(sent["after_ms"].to_numpy() / 1e3, times_s, side="right") - 1
    return sent[what].to_numpy(dtype=np.float64)[np.maximum(place, 0)]


if __name__ == "__main__":
    main()
