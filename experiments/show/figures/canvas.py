"""What all figures share: a sheet, its axes, its inks, and how it is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from topologies import cartography
from topologies import map as network_map

if TYPE_CHECKING:
    from matplotlib.axes import Axes


INK, QUIET, GRID = network_map.INK, network_map.QUIET, "#D9DDE3"
BLUE, ORANGE, GREEN, PINK, YELLOW = cartography.COLOURS[:5]


def figure_of(width: float, height: float, columns: int, **grid: Any) -> tuple[Figure, list[Axes]]:
    """A figure of so many inches, and its axes side by side."""
    figure = Figure(figsize=(width, height), dpi=150, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns, squeeze=False, gridspec_kw=grid)
    return figure, list(axes[0])


def saved(figure: Figure, path: Path, alt: str) -> Path:
    """Write a figure as PNG, and as SVG beside it; returns the PNG's path.

    The SVG carries ``alt``, what the figure shows in words, and is the same to the byte each time.
    """
    _write_png(figure, path)
    figure.set_layout_engine("none")  # what has been laid out need not be laid out again
    words = {"Description": alt, "Creator": None, "Date": None}
    with rc_context({"svg.hashsalt": path.stem}):
        _write_svg(figure, path.with_suffix(".svg"), words)
    return path


# ``Figure.savefig`` draws twice, first for the layout alone, which drawing does as well.


def _write_png(figure: Figure, file: Path | BytesIO) -> None:
    """Packed in two thirds of the time, a twentieth larger."""
    FigureCanvasAgg(figure).print_png(file, pil_kwargs={"compress_level": 3})  # type: ignore[no-untyped-call]


def _write_svg(figure: Figure, file: Path | BytesIO, words: Mapping[str, Any]) -> None:
    FigureCanvasSVG(figure).print_svg(file, metadata=words)  # type: ignore[no-untyped-call]


def load() -> None:
    """Read fonts, and what writes figures, before they are needed."""
    figure, _ = figure_of(1, 1, 1)
    _write_png(figure, BytesIO())
    _write_svg(figure, BytesIO(), {})


def plain(axes: Axes) -> None:
    """No frame but the two axes."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(QUIET)
    axes.tick_params(colors=INK, labelsize=9)
    axes.set_axisbelow(True)


def title(axes: Axes, text: str) -> None:
    """What the axes show, above them on the left."""
    axes.set_title(text, loc="left", fontsize=10.5, color=INK, pad=8)


def steps(axes: Axes, values: Sequence[float], shares: Sequence[float], **look: Any) -> None:
    """A distribution as ``stats.cdf`` gives it, from nothing at the least of its values."""
    start = [0.0] if values else []
    axes.step([*values[:1], *values], [*start, *shares], where="post", **look)


def shares_axis(axes: Axes, of: str) -> None:
    """Shares from 0 to all on the upright axis, as every distribution has them."""
    axes.set(ylabel=of, ylim=(0, 1.02))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    plain(axes)
