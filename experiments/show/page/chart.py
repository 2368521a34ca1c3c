"""An interactive chart of distributions, by Bokeh, whose script stands in the page itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from typing import Any

import numpy as np
from markupsafe import Markup

from experiments.show.page.distributions import LEVELS, MOST_POINTS, Distribution
from topologies.cartography import COLOURS

DASHES = ("solid", "dashed", "dotdash", "dotted", "dashdot")
"""With colours they tell lines apart, in grey too."""

WIDTHS = (4.5, 2.4, 2.4, 2.4, 2.4)
"""Pixels."""

HEIGHT = 380
"""Pixels, the legend left out."""

LEGEND_LINE = 24
MOST_LETTERS = 32
"""Of a name in the legend; a longer one would be wider than a phone."""


@dataclass(frozen=True, slots=True)
class Chart:
    """All HTML: BokehJS and what it is told, in script elements, and the place of the chart."""

    library: str
    script: str
    element: str


def load() -> None:
    """Import Bokeh, a third of a second of work, before it is needed."""
    import bokeh.embed
    import bokeh.plotting

    del bokeh


def chart(distributions: Sequence[Distribution], what: str) -> Chart:
    """Step lines of distributions over ``what`` (with its unit), which people can zoom and read."""
    from bokeh.embed import components
    from bokeh.models import DataRange1d, HoverTool, NumeralTickFormatter, Range1d
    from bokeh.plotting import figure
    from bokeh.resources import Resources

    hover = HoverTool(
        tooltips=[("", "$name"), ("time", "@x{0.000} ms"), ("share at or below", "@y{0.0 %}")],
        line_policy="nearest",
    )
    drawn = figure(
        height=HEIGHT + LEGEND_LINE * len(distributions),
        sizing_mode="stretch_width",
        tools=["pan", "box_zoom", "reset", hover],
        active_drag=None,  # a finger scrolls the page
        x_axis_label=what,
        y_axis_label="share of the times",
        x_range=DataRange1d(start=0),
        y_range=Range1d(start=0, end=1.02),
        toolbar_location="above",
    )
    for one, look in zip(distributions, _looks(), strict=False):
        x, y = _steps(one)
        drawn.line(x, y, name=one.arm, legend_label=_short(one.arm), **look)
    drawn.yaxis.formatter = NumeralTickFormatter(format="0 %")
    drawn.toolbar.logo = None
    drawn.legend.click_policy = "hide"
    drawn.legend.border_line_color = None
    drawn.legend.location = "left"
    drawn.add_layout(drawn.legend[0], "below")
    drawn.grid.grid_line_color = "#D9DDE3"
    drawn.outline_line_color = None
    library = Resources(mode="inline", components=["bokeh"]).render_js()
    script, element = components(drawn)
    return Chart(library, script, element)


def drawn(times: Sequence[Distribution]) -> dict[str, Any]:
    """What ``times.html`` shows of some round-trip times: chart, table, and what was left out."""
    made = chart(times, "round-trip time, ms") if times else None
    return {
        # What Bokeh made is HTML already.
        "chart": made and {name: Markup(text) for name, text in asdict(made).items()},
        "distributions": times,
        "levels": LEVELS,
        "thinned": MOST_POINTS if any(one.thinned for one in times) else 0,
    }


def _short(name: str) -> str:
    """A name that a legend on a phone has room for."""
    return name if len(name) <= MOST_LETTERS else f"{name[: MOST_LETTERS - 1]}…"


def _looks() -> Iterator[dict[str, Any]]:
    """Colours, dashes and widths: who is drawn first is broad, and seen below who is like it."""
    looks = zip(cycle(COLOURS), cycle(DASHES), cycle(WIDTHS), strict=False)
    return ({"color": c, "line_dash": dash, "line_width": width} for c, dash, width in looks)


def _steps(one: Distribution) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the step line: it rises from 0 at the least time, and is flat between times."""
    x = np.repeat(np.asarray(one.values), 2)
    y = np.concatenate([[0.0], np.repeat(np.asarray(one.shares), 2)[:-1]])
    return x, y
