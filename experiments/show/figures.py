"""Figures of the studies: PNG, and SVG beside it; axes with units, readable in grey and by
colour-blind people.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter, ScalarFormatter

from experiments import stats
from topologies import cartography
from topologies import map as network_map
from topologies.plan import HostRole, Plan

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

INK, QUIET, GRID = network_map.INK, network_map.QUIET, "#D9DDE3"
BLUE, ORANGE, GREEN, PINK, YELLOW = cartography.COLOURS[:5]

ERROR_FLOOR_US = 0.001
"""The least error that is shown on a logarithmic axis: the kernel's stamps are whole ns."""

DESIGN_LOOKS: Mapping[str, tuple[str, str, str]] = {
    "own": (BLUE, "s", "A  an address for every server"),
    "owner": (ORANGE, "v", "B  one owner for all PoPs"),
    "pop owner": (YELLOW, "D", "B' one owner in each PoP"),
    "port sets": (GREEN, "o", "C  port sets (borrowed)"),
    "plain anycast": (INK, "X", "control: plain anycast"),
}
"""Colour, marker and label of each design of egress."""


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
    figure.savefig(path, format="png")
    figure.set_layout_engine("none")  # what has been laid out need not be laid out again
    words = {"Description": alt, "Creator": None, "Date": None}
    with rc_context({"svg.hashsalt": path.stem}):
        figure.savefig(path.with_suffix(".svg"), format="svg", metadata=words)
    return path


def plain(axes: Axes) -> None:
    """No frame but the two axes."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(QUIET)
    axes.tick_params(colors=INK, labelsize=9)
    axes.set_axisbelow(True)


def title(axes: Axes, text: str) -> None:
    """What the axes show, above them on the left."""
    axes.set_title(text, loc="left", fontsize=10.5, color=INK, pad=8)


def latency_cdf(clients: pd.DataFrame, one_site: str, path: Path) -> Path:
    """How many clients are within which RTT: anycast, one site for all, the best for each.

    ``clients`` has a row per client with ``anycast_rtt_ms``, ``unicast_rtt_ms``, ``best_rtt_ms``.
    """
    figure, (axes,) = figure_of(7.2, 4.4, 1)
    looks: Sequence[tuple[str, str, dict[str, Any]]] = (
        ("unicast", f"one site for all ({one_site})", {"color": ORANGE, "linestyle": "--"}),
        ("anycast", "anycast, as measured", {"color": BLUE, "linewidth": 2.6}),
        ("best", "best PoP for each client", {"color": INK, "linestyle": ":"}),
    )
    for arm, label, look in looks:
        values, shares = stats.cdf(clients[f"{arm}_rtt_ms"])
        middle = stats.median(clients[f"{arm}_rtt_ms"])
        label = label if middle is None else f"{label}: median {middle:.1f} ms"
        _steps(axes, values, shares, label=label, **{"linewidth": 1.8} | look)  # fmt: skip
    axes.axhline(0.5, color=GRID, linewidth=1, zorder=0)
    axes.set_xlabel("round-trip time to the service, ms (median of each client)")
    axes.set_xlim(left=0)
    _shares(axes, f"share of the {len(clients)} clients")
    axes.legend(loc="lower right", frameon=True, framealpha=0.95, fontsize=9)
    title(axes, "How many clients are how near to the service")
    return saved(
        figure,
        path,
        "Share of clients within each round-trip time: anycast, one site, the best PoP for each.",
    )


MOVED: Mapping[str, str] = {"same PoP": "within its PoP", "other PoP": "to another PoP"}
"""Where a set moved, by the kind of move."""


def agility(samples: pd.DataFrame, moves: Sequence[Mapping[str, Any]], path: Path) -> Path:
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
        _steps(left, values, shares, linewidth=2, label=act, **look)  # fmt: skip
    left.set_xlabel("from the wish until it is true, ms")
    left.set_xlim(left=0)
    _shares(left, "share of all tries")
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


FAILOVER_LOOKS: Mapping[str, tuple[str, str, str]] = {
    "switches": (BLUE, "o", "switches alone"),
    "controller": (ORANGE, "v", "controller alone"),
    "bgp": (GREEN, "s", "as BGP converges"),
}
"""Colour, marker and label of who repairs."""

LEAST_OUTAGE_MS = 1.0
"""What is shorter than the time between two packets is shown here."""


def failover(outages: pd.DataFrame, path: Path) -> Path:
    """How long each stream was away, by failure and by who repaired it; log scale.

    ``outages`` is the table of the study of that name.
    """
    figure, (axes,) = figure_of(7.2, 4.2, 1)
    failures = list(dict.fromkeys(outages["failure"]))
    for shift, (who, (colour, marker, label)) in enumerate(FAILOVER_LOOKS.items()):
        mine = outages[(outages["recovery"] == who) & outages["repair_ms"].notna()]
        places = [failures.index(failure) + 0.3 * (shift - 1) for failure in mine["failure"]]
        axes.plot(mine["repair_ms"].clip(lower=LEAST_OUTAGE_MS), places, color=colour,
                  marker=marker, linestyle="", alpha=0.6, markersize=7,
                  markeredgecolor="white", label=label)  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlabel(f"away after the failure, ms ({LEAST_OUTAGE_MS:g}: not at all)")
    axes.set_yticks(range(len(failures)), failures)
    axes.invert_yaxis()
    axes.grid(axis="x", color=GRID)
    axes.legend(loc="best", frameon=True, framealpha=0.95, fontsize=9)
    plain(axes)
    title(axes, "How long a failure is felt")
    return saved(
        figure,
        path,
        "How long each stream was away, by failure and by who repaired it; log scale.",
    )


def slices(losses: pd.DataFrame, formula: Callable[[int, float], float], path: Path) -> Path:
    """Which share of connections is lost at which load, by size of the set.

    ``losses`` has ``ports``, ``load`` (Erlang for each port), ``lost_share``; ``formula`` gives the
    share for a number of ports and a load.
    """
    figure, (axes,) = figure_of(7.2, 4.4, 1)
    loads = [n / 50 for n in range(10, 76)]
    sizes = sorted(set(losses["ports"]))
    colours = (BLUE, ORANGE, GREEN, PINK, YELLOW)
    for ports, colour, marker in zip(sizes, colours, "osD^v", strict=False):
        axes.plot(loads, [formula(ports, load * ports) for load in loads], color=colour)
        mine = losses[losses["ports"] == ports]
        axes.plot(mine["load"], mine["lost_share"], color=colour, marker=marker, linestyle="",
                  markersize=8, markeredgecolor="white", label=f"{ports} ports")  # fmt: skip
    axes.set_xlabel("load offered, Erlang for each port")
    axes.set_xlim(loads[0], loads[-1])
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_ylabel("connections that found no port")
    axes.legend(title="as measured; lines: Erlang B", loc="upper left", frameon=False, fontsize=9)
    plain(axes)
    title(axes, "What is lost when a port set is small")
    return saved(
        figure,
        path,
        "Share of connections lost by load and size of the port set, beside the formula.",
    )


GEO_LOOKS: Mapping[str, tuple[str, str]] = {
    "pop country": (BLUE, "its PoP's own country"),
    "one owner": (ORANGE, "one owner of each country"),
    "borrowed": (GREEN, "borrowed by tag"),
    "abroad": (PINK, "borrowed abroad"),
}
"""Colour and label of each way to an address of a country."""


def geo(designs: pd.DataFrame, fetches: pd.DataFrame, path: Path) -> Path:
    """How many fetches have their user's country, and how long they take, by design.

    ``designs`` and ``fetches`` are the tables of the study of that name.
    """
    figure, (right, far) = figure_of(10.5, 4.2, 2, width_ratios=[1, 1.15])
    _right_country(right, designs)
    good = fetches[fetches["outcome"] == "ok"]
    for design in ("borrowed", "abroad", "one owner"):
        for withdrawn in (False, True):
            mine = good[(good["design"] == design) & (good["withdrawn"] == withdrawn)]
            _way(far, mine["rtt_ms"], design, withdrawn)
    far.set_xlabel("round trip to the origin, ms")
    far.set_xlim(left=0)
    _shares(far, "share of the fetches")
    if len(good):
        far.legend(loc="lower right", frameon=True, framealpha=0.95, fontsize=9)
    title(far, "How long the way is (pale: a PoP is withdrawn)")
    return saved(
        figure,
        path,
        "Fetches with an address of their user's country, and their round trips, by design.",
    )


def _way(axes: Axes, rtt_ms: pd.Series[float], design: str, withdrawn: bool) -> None:
    """One step line of round trips; pale ones share the label of the others."""
    values, shares = stats.cdf(rtt_ms)
    if not values:
        return
    colour, label = GEO_LOOKS[design]
    lines: Mapping[str, Any] = {"one owner": "--", "abroad": ":"}
    axes.step([values[0], *values], [0, *shares], where="post", color=colour,
              linestyle=lines.get(design, "-"), linewidth=2.8 if design == "abroad" else 2,
              alpha=0.45 if withdrawn else 1, label=None if withdrawn else label)  # fmt: skip


def _right_country(axes: Axes, designs: pd.DataFrame) -> None:
    rows = list(reversed(designs.to_dict("records")))
    for height, row in enumerate(rows):
        colour, _ = GEO_LOOKS[row["design"]]
        parts = ((0.19, "accuracy_usual", 1.0), (-0.19, "accuracy_withdrawn", 0.45))
        for offset, column, alpha in parts:
            share = row[column]
            if share is None or share != share:
                continue
            axes.barh(height + offset, share, height=0.34, color=colour, alpha=alpha)
            axes.text(share + 0.015, height + offset, f"{share:.0%}", va="center", fontsize=8.5)
    axes.set_yticks(range(len(rows)), [GEO_LOOKS[row["design"]][1] for row in rows])
    axes.set_xlim(0, 1.12)
    axes.set_xticks([0, 0.5, 1])
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("fetches with the user's country")
    title(axes, "Who leaves with the right country")
    plain(axes)


SCARCITY_LOOKS: Mapping[str, tuple[str, str, str]] = {
    "own": (BLUE, "s", "A  an address for every server"),
    "port sets": (GREEN, "o", "C  port sets, in each PoP"),
    "shared": (PINK, "^", "C' port sets, across PoPs"),
    "owner": (ORANGE, "v", "B  one owner"),
}
"""Colour, marker and label of each way to use addresses, the most costly first."""


def scarcity(points: pd.DataFrame, formula: Callable[..., int], path: Path) -> Path:
    """Addresses for one tag as servers grow, and all that was counted beside the closed form.

    ``points`` is the table of the study of that name; ``formula`` gives the addresses for a design,
    the servers by PoP, tags and a size of set.
    """
    figure, (growth, true) = figure_of(10.5, 4.4, 2, width_ratios=[1.25, 1])
    _growth(growth, points[points["place"] == "book"], formula)
    for place, face in (("book", False), ("lab", True)):
        for design, (colour, marker, _) in SCARCITY_LOOKS.items():
            mine = points[(points["place"] == place) & (points["design"] == design)]
            true.plot(mine["needed"], mine["taken"], marker=marker, color=colour, linestyle="",
                      markersize=7, markerfacecolor=colour if face else "none")  # fmt: skip
    most = max(2, int(points["needed"].max()))
    true.plot([1, most], [1, most], color=QUIET, linewidth=1, zorder=0)
    true.set(xscale="log", yscale="log")
    true.set(xlabel="addresses by the closed form", ylabel="addresses taken")
    true.grid(color=GRID, linewidth=0.8)
    plain(true)
    title(true, "As counted (filled: in the lab; hollow: in the book)")
    return saved(
        figure,
        path,
        "Addresses taken against servers and tags by design, beside the formula.",
    )


def _growth(axes: Axes, points: pd.DataFrame, formula: Callable[..., int]) -> None:
    """Lines by the closed form, points as counted, for the smallest sets and the most tags."""
    tags, ports = int(points["tags"].max()), int(points["ports"].min())
    pops = max(len(row.split()) for row in points["servers_by_pop"])
    most = int(points["servers"].max()) // pops
    each = range(1, most + 1)
    for design, (colour, marker, label) in SCARCITY_LOOKS.items():
        needed = [formula(design, (n,) * pops, tags, ports) for n in each]
        axes.plot([n * pops for n in each], needed, color=colour)
        mine = points[(points["design"] == design) & (points["tags"] == tags)]
        mine = mine[mine["ports"].isin((ports, points["ports"].max()))]
        axes.plot(mine["servers"], mine["taken"], marker=marker, color=colour, linestyle="",
                  markersize=8, markeredgecolor="white", label=label)  # fmt: skip
    axes.set_yscale("log")
    axes.set_xlim(0, most * pops * 1.04)
    axes.set(xlabel=f"servers, in {pops} PoPs", ylabel=f"IPv4 addresses for {tags} tags")
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_ylim(top=10 * points["taken"].max())
    axes.legend(title=f"lines: closed form; sets of {ports:,} ports", loc="upper left", ncols=2,
                frameon=False, fontsize=9)  # fmt: skip
    plain(axes)
    title(axes, "How many addresses it takes")


def isolation(attacks: pd.DataFrame, lawful: Sequence[str], path: Path) -> Path:
    """How many frames of each kind were sent, and how many of them arrived.

    ``attacks`` has a row per kind with ``attack``, ``sent``, ``arrived``; ``lawful`` names twins.
    """
    rows = attacks.iloc[::-1]
    figure, (axes,) = figure_of(7.2, 0.28 * len(rows) + 1.2, 1)
    places = range(len(rows))
    axes.barh(places, rows["sent"], color=GRID, label="sent")
    colours = [GREEN if kind in lawful else ORANGE for kind in rows["attack"]]
    axes.barh(places, rows["arrived"], height=0.4, color=colours, label="arrived (green: lawful)")
    axes.set_yticks(list(places), list(rows["attack"]))
    axes.set_xlabel("frames")
    axes.legend(loc="upper right", bbox_to_anchor=(1, -0.08), ncols=2, frameon=False, fontsize=9)
    plain(axes)
    title(axes, "What servers forged, and what arrived")
    return saved(figure, path, "Frames sent and frames that arrived, by kind of forgery.")


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


def error_cdf(errors_us: Mapping[str, pd.Series[float]], path: Path) -> Path:
    """How far round-trip times are from the model, us, one step line for each series of pings."""
    figure, (axes,) = figure_of(7.2, 4.4, 1)
    looks: Sequence[dict[str, Any]] = (
        {"color": ORANGE},
        {"color": BLUE, "linewidth": 3.4},
        {"color": ORANGE, "linestyle": "--"},
        {"color": INK, "linestyle": ":"},
    )
    for (label, series), look in zip(errors_us.items(), looks, strict=False):
        values, shares = stats.cdf(series.clip(lower=ERROR_FLOOR_US))
        middle, most = stats.median(series), stats.quantile(series, 1.0)
        label = f"{label}\nmedian {_us(middle)}, max {_us(most)}"
        axes.step(values, shares, where="post", label=label, **{"linewidth": 1.8} | look)
    axes.set_xscale("log")
    axes.set_xlabel("|measured - modelled round-trip time|, us (logarithmic)")
    _shares(axes, "share of the pings")
    axes.legend(loc="center", frameon=False, fontsize=8.5, labelspacing=0.9)
    title(axes, "How true is an emulated round-trip time?")
    return saved(
        figure,
        path,
        "Distribution of measured minus modelled round-trip times, a line for each series.",
    )


def _steps(axes: Axes, values: Sequence[float], shares: Sequence[float], **look: Any) -> None:
    """A distribution as ``stats.cdf`` gives it, from nothing at the least of its values."""
    start = [0.0] if values else []
    axes.step([*values[:1], *values], [*start, *shares], where="post", **look)


def _shares(axes: Axes, of: str) -> None:
    """Shares from 0 to all on the upright axis, as every distribution has them."""
    axes.set(ylabel=of, ylim=(0, 1.02))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    plain(axes)


def _us(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f} us" if value >= 10 else f"{value:.2g} us"


def catchment_map(plan: Plan, landed: Mapping[str, str], path: Path) -> Path:
    """Which PoP answered the clients of each city; ``landed`` is by client, of those answered."""
    clients = plan.hosts_of(HostRole.CLIENT)
    cities = {host.city: landed[host.name] for host in clients if host.name in landed}
    figure = network_map.figure(plan.network, cities)
    return saved(
        figure,
        path,
        "Map of the network, with the PoP that answered the clients of each city.",
    )


def egress_designs(designs: pd.DataFrame, path: Path) -> Path:
    """Addresses needed against RTT to origins, and the fetches that got through, by design."""
    figure, (cost, through) = figure_of(10.5, 4.4, 2, width_ratios=[1.25, 1])
    shown = designs[designs["design"] != "plain anycast"]
    shown = shown.dropna(subset="rtt_p50_ms")  # what is lost has no RTT
    side = 0.012 * shown["addresses"].max()  # equal costs stand side by side
    before: Counter[int] = Counter()
    for row in shown.to_dict("records"):
        _cost_point(cost, row, row["addresses"] + before[row["addresses"]] * 2 * side)
        before[row["addresses"]] += 1
    cost.set(xlabel="IPv4 addresses used", ylabel="round trip to origin, ms (median; bar: to p95)")
    cost.set_ylim(bottom=0)
    cost.set_xlim(0, max(designs["addresses"].max() * 1.12, 2))
    cost.xaxis.set_major_locator(MaxNLocator(integer=True))
    cost.grid(color=GRID, linewidth=0.8)
    title(cost, "What a design costs, and how fast it is")
    plain(cost)
    _through_bars(through, designs)
    return saved(
        figure,
        path,
        "Addresses used, round trips to origins, and fetches that got through, by design.",
    )


def _cost_point(axes: Axes, row: Mapping[Any, Any], x: float) -> None:
    colour, marker, label = DESIGN_LOOKS[row["design"]]
    reach = [[0.0], [max(0.0, row["rtt_p95_ms"] - row["rtt_p50_ms"])]]
    axes.errorbar(
        [x],
        [row["rtt_p50_ms"]],
        yerr=reach,
        fmt=marker,
        color=colour,
        markersize=9,
        markeredgecolor=INK,
        elinewidth=1.2,
        capsize=3,
        linestyle="none",
    )
    letter = label.split()[0]
    axes.annotate(
        letter,
        (x, row["rtt_p50_ms"]),
        xytext=(9, -3.5),
        textcoords="offset points",
        fontsize=10,
        fontweight="bold",
        color=INK,
    )


def _through_bars(axes: Axes, designs: pd.DataFrame) -> None:
    rows = list(reversed(designs.to_dict("records")))
    for height, row in enumerate(rows):
        share = row["ok"] / row["total"]
        colour, _, _ = DESIGN_LOOKS[row["design"]]
        control = row["design"] == "plain anycast"
        face, hatch = ("white", "////") if control else (colour, "")
        axes.barh(height, share, color=face, edgecolor=INK, hatch=hatch, height=0.62, linewidth=0.8)
        text = f"{row['ok']} of {row['total']}"
        axes.text(1.02, height, text, va="center", fontsize=9, color=INK)
    labels = [DESIGN_LOOKS[row["design"]][2].replace("control: ", "control:\n") for row in rows]
    axes.set_yticks(range(len(rows)), labels)
    axes.set_xlim(0, 1.0)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("fetches that got their answer")
    title(axes, "What gets through")
    plain(axes)


def reach_matrix(samples: pd.DataFrame, plan: Plan, path: Path) -> Path:
    """Median RTT of each client by each method, and of each server to each origin."""
    tall = max(len(plan.hosts_of(HostRole.CLIENT)), len(plan.hosts_of(HostRole.SERVER)))
    origins = len(plan.hosts_of(HostRole.ORIGIN))
    width = 5.4 + 0.75 * (3 + origins)
    figure, (ingress, egress) = figure_of(
        width, 1.6 + 0.26 * max(tall, 4), 2, width_ratios=[3, max(origins, 2)]
    )
    methods = ("icmp", "tcp", "http")
    asked = samples[samples["method"].isin(methods)]
    _matrix(ingress, asked.assign(column=asked["method"].str.upper()), tall)
    title(ingress, "Clients to the service")
    fetched = samples[samples["method"] == "egress"]
    _matrix(egress, fetched.assign(column=fetched["target"]), tall)
    title(egress, "Servers to origins, as borrowers")
    figure.supxlabel("median round-trip time, ms; black: no answer", fontsize=9, color=INK)
    return saved(
        figure,
        path,
        "Median round-trip times: each client by each method, each server to each origin.",
    )


def _matrix(axes: Axes, tries: pd.DataFrame, rows: int) -> None:
    """A cell per source and column; ``rows`` is the height, so that neighbours have equal cells."""
    good = tries[tries["outcome"] == "ok"]
    table = good.pivot_table(index="source", columns="column", values="rtt_ms", aggfunc="median")
    table = table.reindex(
        index=tries["source"].drop_duplicates(), columns=tries["column"].drop_duplicates()
    )
    colours = colormaps["Blues"].with_extremes(bad="black")
    axes.imshow(table.to_numpy(float), cmap=colours, vmin=0, aspect="auto", alpha=0.75)
    axes.set_xticks(range(table.shape[1]), list(table.columns), fontsize=8.5)
    axes.set_yticks(range(table.shape[0]), list(table.index), fontsize=8)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_xticks([x - 0.5 for x in range(1, table.shape[1])], minor=True)
    axes.set_yticks([y - 0.5 for y in range(1, table.shape[0])], minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="both", length=0)
    axes.xaxis.tick_top()
    axes.spines[:].set_visible(False)
    largest = float(table.max().max())
    for y, row in enumerate(table.to_numpy(float)):
        for x, value in enumerate(row):
            lost = value != value
            colour = "white" if lost or value > 0.7 * largest else INK
            text = "lost" if lost else f"{value:.1f}"
            axes.text(x, y, text, ha="center", va="center", fontsize=8, color=colour)


def churn(changes: pd.DataFrame, arms: Sequence[str], path: Path) -> Path:
    """Which share of the connections broke at which change, a panel for each way to balance.

    ``changes`` is the table of the study of that name; ``arms`` are the panels, ours first.
    """
    names = list(changes["change"].drop_duplicates())[::-1]
    figure, panels = figure_of(2.3 * len(arms) + 1.6, 0.3 * len(names) + 1.4, len(arms))
    for axes, arm in zip(panels, arms, strict=True):
        mine = changes[changes["arm"] == arm].set_index("change").reindex(names)
        places = range(len(names))
        axes.barh(places, mine["moved_share"].fillna(0), color=GRID, label="moved by the model")
        axes.barh(places, mine["broken_share"], height=0.5, color=ORANGE, label="broke")
        axes.plot(mine["expected_share"].astype(float), places, "|", color=INK, markersize=13,
                  markeredgewidth=1.8, label="expected to break")  # fmt: skip
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_yticks(list(places), names if axes is panels[0] else [""] * len(names))
        plain(axes)
        title(axes, arm if axes is panels[0] else f"{arm}, without")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return saved(
        figure,
        path,
        "Share of connections that each change broke, by way to balance, beside the expected.",
    )


POLICY_LOOKS: Mapping[str, Mapping[str, Any]] = {
    "nearest": {"color": BLUE, "linewidth": 2.8},
    "bgp": {"color": ORANGE, "linestyle": "--"},
    "regional": {"color": GREEN, "linestyle": "-."},
    "weighted": {"color": PINK},
}


def policy_cdf(
    catchments: pd.DataFrame,
    policies: Sequence[str],
    path: Path,
    looks: Mapping[str, Mapping[str, Any]] | None = None,
) -> Path:
    """How many clients are within which RTT of the service, a step line for each policy.

    ``catchments`` is the table of the study ``catchment``, ``looks`` are those of other arms.
    """
    figure, (axes,) = figure_of(7.2, 4.4, 1)
    for policy in policies:
        rtt_ms = catchments[catchments["arm"] == policy]["rtt_ms"]
        values, shares = stats.cdf(rtt_ms)
        middle = stats.median(rtt_ms)
        label = policy if middle is None else f"{policy}: median {middle:.1f} ms"
        _steps(axes, values, shares, label=label,
                  **{"linewidth": 1.8, **(looks or POLICY_LOOKS)[policy]})  # fmt: skip
    axes.set_xlabel("round-trip time to the service, ms (median of each client)")
    axes.set_xlim(left=0)
    _shares(axes, "share of the clients")
    axes.legend(loc="lower right", frameon=True, framealpha=0.95, fontsize=9)
    title(axes, "How near the service is by policy")
    return saved(
        figure,
        path,
        "Share of the clients within each round-trip time of the service, a line for each policy.",
    )


def catchment_matrix(catchments: pd.DataFrame, policies: Sequence[str], path: Path) -> Path:
    """Which PoP every client lands in by every policy; the darker, the longer than need be.

    ``catchments`` is the table of the study ``catchment``.
    """
    shown = catchments[catchments["arm"].isin(policies)]
    by_home = shown[shown["arm"] == policies[0]].sort_values(["allowed", "client"])["client"]
    pops, inflation = (
        shown.pivot_table(index="client", columns="arm", values=column, aggfunc="first",
                          dropna=False).reindex(index=by_home, columns=list(policies))
        for column in ("pop", "latency_inflation_ms")
    )  # fmt: skip
    figure, (axes,) = figure_of(2.2 + 1.2 * len(policies), 1.3 + 0.24 * len(pops), 1)
    shades = colormaps["Oranges"].with_extremes(bad="black")
    most = max(1.0, float(inflation.max().max()))
    image = axes.imshow(inflation.clip(lower=0).to_numpy(float), cmap=shades, vmin=0, vmax=most,
                        aspect="auto")  # fmt: skip
    cells = zip(pops.to_numpy(str), inflation.to_numpy(float), strict=True)
    for y, (row, excesses) in enumerate(cells):
        for x, (pop, excess) in enumerate(zip(row, excesses, strict=True)):
            dark = excess != excess or excess > 0.6 * most
            axes.text(x, y, pop or "nobody", ha="center", va="center", fontsize=8,
                      color="white" if dark else INK)  # fmt: skip
    axes.set_xticks(range(len(policies)), list(policies), fontsize=9)
    axes.set_yticks(range(len(pops)), list(pops.index), fontsize=8)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, label="latency inflation, ms (black: no answer)", shrink=0.6)
    return saved(
        figure,
        path,
        "The PoP of every client by every policy; darker where the way is longer than need be.",
    )


def shedding(
    loads: pd.DataFrame, arms: Sequence[str], pop: str, marks: Sequence[float], path: Path
) -> Path:
    """The load of every PoP as a share of its capacity over time, a panel for each arm.

    ``loads`` is the table of the study of that name, ``pop`` the one in whose region the rush is,
    ``marks`` the shares of capacity above and below which load is moved.
    """
    figure, panels = figure_of(5.2 * len(arms), 4.2, len(arms))
    for axes, arm in zip(panels, arms, strict=True):
        mine = loads[loads["arm"] == arm]
        others = mine[mine["pop"] != pop]
        for other, line in others.groupby("pop"):
            label = "other PoPs" if other == others["pop"].min() else None
            axes.step(line["second"], line["share"], where="post", color=BLUE, linewidth=1.1,
                      linestyle="--", label=label)  # fmt: skip
        full = mine[mine["pop"] == pop]
        axes.step(full["second"], full["share"], where="post", color=ORANGE, linewidth=2.4,
                  label=f"{pop}, as its servers saw")  # fmt: skip
        told = full.dropna(subset="told_share")
        if len(told):
            axes.plot(told["second"], told["told_share"], ".", color=INK, markersize=4,
                      label=f"{pop}, as the controller counts")  # fmt: skip
        axes.axhline(1, color=INK, linewidth=1.4, label="capacity")
        for mark, label in zip(marks, ("sheds above, takes back below", None), strict=True):
            axes.axhline(mark, color=QUIET, linewidth=1.2, linestyle=":", label=label)
        axes.set(xlabel="time, s", xlim=(0, None))
        axes.set_ylim(0, max(1.7, 1.05 * float(loads["share"].max())) if len(loads) else 1.7)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        plain(axes)
        title(axes, f"By policy {arm}")
    panels[0].set_ylabel("load, of the PoP's capacity")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    return saved(
        figure,
        path,
        "Load of every PoP as a share of its capacity over time, with shedding and without.",
    )


SITES_LOOKS: Mapping[str, tuple[str, str, str]] = {
    "greedy": (BLUE, "o", "the most useful next"),
    "spread": (GREEN, "s", "the farthest next"),
    "random": (PINK, "D", "in a random order"),
    "reverse": (ORANGE, "v", "the most useful last"),
    "best": (INK, "_", "the best median of any so many"),
}
"""Colour, marker and label of each order of PoPs."""


def sites(points: pd.DataFrame, enough: float, path: Path) -> Path:
    """Median and p90 of clients' round trips against the number of PoPs, by order.

    ``points`` is the table ``sites`` of the study of that name. The band is up to ``enough`` times
    the figure for all PoPs.
    """
    panels = {"p50": "Half of the clients", "p90": "Nine in ten clients"}
    figure, all_axes = figure_of(10.5, 4.4, len(panels))
    for axes, (name, who) in zip(all_axes, panels.items(), strict=True):
        for order, (colour, marker, label) in SITES_LOOKS.items():
            mine = points[points["order"] == order]
            axes.plot(mine["pops"], mine[f"model_rtt_{name}_ms"], color=colour, linewidth=1.3,
                      linestyle=":" if order == "best" else "-")  # fmt: skip
            axes.plot(mine["pops"], mine[f"rtt_{name}_ms"], color=colour, marker=marker,
                      linestyle="", markersize=12 if order == "best" else 7,
                      label=label if len(mine) else None)  # fmt: skip
        every = float(points[f"model_rtt_{name}_ms"].iloc[-1])
        axes.axhspan(every, enough * every, color=GRID, zorder=0,
                     label=f"within {enough - 1:.0%} of all PoPs")  # fmt: skip
        axes.set(xlabel="PoPs that are announced", ylabel="round trip to the service, ms")
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        plain(axes)
        title(axes, f"{who} are so near")
    all_axes[1].legend(title="as measured; lines: closed form", loc="upper right", frameon=True,
                       framealpha=0.95, fontsize=9)  # fmt: skip
    return saved(
        figure,
        path,
        "Median and 90th percentile of the round trip against the number of PoPs, by order.",
    )


FLOOD_LOOKS: Mapping[str, tuple[str, str]] = {
    "quiet": (GRID, "anycast, no attack (control)"),
    "unicast": (ORANGE, "one site"),
    "anycast": (BLUE, "anycast, all PoPs absorb"),
    "withdrawn": (GREEN, "anycast, the fullest PoP withdrawn"),
    "lent": (PINK, "a borrowed address is attacked"),
    "moved": (YELLOW, "the same, moved to the fullest PoP"),
    "unlimited": (QUIET, "one site, uplinks without rates (control)"),
}
"""Colour and label of each way to be attacked."""


def flood(pops: pd.DataFrame, arms: Sequence[str], path: Path) -> Path:
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
        colour, label = FLOOD_LOOKS[arm]
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
        answers.barh(place, share, color=FLOOD_LOOKS[arm][0], height=0.6)
        answers.plot([float(expected) / sent], [place], marker="|", color=INK, markersize=16)
        answers.text(0.01, place + 0.36, FLOOD_LOOKS[arm][1], fontsize=8.5, color=INK)
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


INTERNET_LOOKS: Mapping[str, tuple[str, str, str]] = {
    "random": (BLUE, "o", "random sites"),
    "greedy": (GREEN, "", "greedy sites"),
    "given": (ORANGE, "D", "the network's PoPs"),
}
"""Colour, marker and label of where sites are."""


def internet_sites(placements: pd.DataFrame, path: Path) -> Path:
    """Round trips and what BGP adds to the straight way, against the number of sites.

    ``placements`` is the table of the study ``internet``.
    """
    figure, panels = figure_of(10.5, 4.4, 2)
    columns = ("rtt_p50_ms", "inflation_p95_ms")
    for axes, column in zip(panels, columns, strict=True):
        for arm, (colour, marker, label) in INTERNET_LOOKS.items():
            mine = placements[placements["arm"] == arm]
            axes.plot(mine["sites"], mine[column], color=colour, marker=marker, linewidth=1.8,
                      label=label)  # fmt: skip
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.set_xlabel("sites")
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", color=GRID)
        plain(axes)
    rtt, inflation = panels
    straight = placements[placements["arm"] == "random"]
    rtt.plot(straight["sites"], straight["nearest_p50_ms"], color=INK, linestyle=":",
             label="random, straight to the nearest")  # fmt: skip
    rtt.set_ylabel("median round trip, ms")
    rtt.legend(loc="upper right", frameon=True, framealpha=0.95, fontsize=9)
    inflation.set_ylabel("inflation of one client in twenty, ms")
    title(rtt, "How near the service is")
    title(inflation, "What BGP adds to the way to the nearest site")
    return saved(
        figure,
        path,
        "Median round trip and inflation on the Internet against the number of sites.",
    )


def internet_splits(splits: pd.DataFrame, floods: pd.DataFrame, path: Path) -> Path:
    """How far every announcement is from the wanted split; what floods leave of the sites' room.

    ``splits`` and ``floods`` are tables of the study ``internet``.
    """
    figure, (left, right) = figure_of(10.5, 4.4, 2)
    values, shares = stats.cdf(splits.drop_duplicates("way")["off_share"])
    left.step([*values[:1], *values], [0.0, *shares], where="post", color=BLUE, linewidth=2)
    plain = float(splits[splits["arm"] == "plain"]["off_share"].iloc[0])
    left.axvline(plain, color=ORANGE, linestyle="--", label=f"plain: {plain:.0%}")
    left.axvline(min(values), color=GREEN, linestyle=":", label=f"best: {min(values):.0%}")
    left.set_xlabel("clients that are not where they are wanted")
    left.xaxis.set_major_formatter(PercentFormatter(1))
    left.legend(loc="lower right", frameon=True, framealpha=0.95, fontsize=9)
    _shares(left, f"share of the {len(values)} announcements")
    title(left, "Announcements of the given sites")
    for arm, (colour, marker, label) in INTERNET_LOOKS.items():
        mine = floods[floods["arm"] == arm]
        count = int(mine["sites"].max())
        mine = mine[mine["sites"] == count].sort_values("volume")
        right.plot(mine["volume"], mine["absorbed_share"], color=colour, label=f"{label}: {count}")
        right.plot(mine["volume"], mine["counted_share"], color=colour, linestyle="",
                   marker=marker or "s")  # fmt: skip
    right.set_xlabel("attack over the capacity of all sites")
    right.set_xlim(left=0)
    right.legend(loc="upper right", frameon=True, framealpha=0.95, fontsize=9,
                 title="lines: closed form")  # fmt: skip
    _shares(right, "share of the attack that is absorbed")
    title(right, "Floods over sites of equal capacity")
    return saved(
        figure,
        path,
        "How far announcements are from the wanted split, and how much of floods is absorbed.",
    )


NAMES_LOOKS: Mapping[str, tuple[str, str]] = {
    "random": (BLUE, "-"),
    "static": (ORANGE, "--"),
    "one": (INK, ":"),
}
"""Colour and line of each binding of names to addresses."""

LATE_STEP_S = 0.5
"""Visits are counted over so long."""


@dataclass(frozen=True)
class Late:
    """Visits of an arm in which names leave an address, and the closed form, if there is one.

    ``visits`` has ``since_s`` (when names left is 0) and ``old``: whether it went there.
    """

    visits: pd.DataFrame
    formula: Callable[[float], float] | None


def names(loads: pd.DataFrame, late: Mapping[str, Late], path: Path) -> Path:
    """The load of each address, the busiest first; and who still goes to one that names leave.

    ``loads`` is the table of the study of that name, without addresses that nobody visits.
    """
    figure, (left, right) = figure_of(10.5, 4.4, 2)
    most = max((int(str(arm).split()[1]) for arm in loads["arm"].unique()), default=0)
    for arm, mine in loads.groupby("arm", sort=False):
        colour, line = NAMES_LOOKS[str(arm).split()[0]]
        share = mine["over_mean"].sort_values(ascending=False).reset_index(drop=True)
        wide = 2.2 if int(str(arm).split()[1]) == most else 1.2
        left.plot(share.index + 1, share, color=colour, linestyle=line, linewidth=wide, label=arm,
                  marker="." if str(arm).startswith("one") else None)  # fmt: skip
    left.set(xscale="log", yscale="log", xlabel="addresses that are visited, the busiest first",
             ylabel="visits to the address, over the mean of all")  # fmt: skip
    if len(loads):
        left.legend(title="names are bound", frameon=True, framealpha=0.95, fontsize=9)
    plain(left)
    title(left, "How even the load is")
    for (arm, one), colour in zip(late.items(), itertools.cycle(cartography.COLOURS)):
        _coming_late(right, arm, one, colour)
    right.axvline(0, color=INK, linewidth=1)
    right.set_xlabel("seconds since names have left the address")
    _shares(right, "visits that go there")
    right.legend(loc="upper right", frameon=True, framealpha=0.95, fontsize=9)
    plain(right)
    title(right, "Who still comes (lines: closed form)")
    return saved(
        figure,
        path,
        "Visits by address over their mean, by binding; the share that still goes to an address.",
    )


def _coming_late(axes: Axes, arm: str, late: Late, colour: str) -> None:
    visits = late.visits.dropna(subset="since_s")
    step = (visits["since_s"] // LATE_STEP_S + 0.5) * LATE_STEP_S
    shares = visits.groupby(step)["old"].mean()
    axes.plot(shares.index, shares, color=colour, marker="o", markersize=4, label=arm,
              linestyle="" if late.formula else "--")  # fmt: skip
    if late.formula and len(shares):
        after = [at_s for at_s in shares.index if at_s >= 0]
        axes.plot(after, [late.formula(at_s) for at_s in after], color=colour, linewidth=1.5)


def scale(lab: pd.DataFrame, core: pd.DataFrame, path: Path) -> Path:
    """The rules of all switches as leases grow, in the lab and in larger networks.

    ``lab`` and ``core`` are the tables ``rules`` and ``core`` of the study of that name.
    """
    figure, (left, right) = figure_of(10.5, 4.4, 2)
    rounds = lab.groupby("leases")[["others", "leased", "model_leased"]].sum().reset_index()
    wide = 0.8 * float(rounds["leases"].diff().min() if len(rounds) > 1 else 1)
    left.bar(rounds["leases"], rounds["others"], width=wide, color=GRID, label="all other rules")
    left.bar(rounds["leases"], rounds["leased"], width=wide, bottom=rounds["others"], color=BLUE,
             label="rules of leases, as counted")  # fmt: skip
    left.plot(rounds["leases"], rounds["others"] + rounds["model_leased"], color=INK, marker="_",
              markersize=18, linestyle="", label="closed form")  # fmt: skip
    left.set(xlabel="leases in the lab", ylabel="rules of all switches")
    left.legend(loc="lower left", frameon=True, framealpha=0.95, fontsize=9)
    plain(left)
    title(left, "Rules as leases grow")
    core = core.assign(held=core["pops"] * core["servers"] * core["leases"])
    for (pops, mine), colour in zip(core.groupby("pops"), itertools.cycle(cartography.COLOURS)):
        model = mine[[name for name in mine if str(name).startswith("model_")]].sum(axis=1)
        order = mine["held"].sort_values().index
        right.plot(mine["held"][order], model[order], color=colour, linewidth=1.3)
        right.plot(mine["held"], mine["leased"], color=colour, marker="o", linestyle="",
                   label=f"{pops} PoPs")  # fmt: skip
    right.set(xscale="log", yscale="log", xlabel="leases", ylabel="rules of leases")
    right.legend(title="lines: closed form", frameon=True, framealpha=0.95, fontsize=9)
    plain(right)
    title(right, "Beyond the lab, by the controller's core")
    return saved(
        figure, path, "Rules against leases, in the lab's switches and in larger networks."
    )


def urpf(checks: pd.DataFrame, pops: Sequence[str], path: Path) -> Path:
    """The share of egress that upstreams refuse, PoP by PoP, by check and who announces.

    ``checks`` is the table of the study of that name.
    """
    kinds = list(checks["check"].drop_duplicates())
    figure, all_axes = figure_of(3.6 * len(kinds), 4.2, len(kinds))
    announced = list(checks["announced"].drop_duplicates())
    for axes, kind in zip(all_axes, kinds, strict=True):
        mine = checks[checks["check"] == kind]
        shares = (mine["refused"] / mine["fetches"].clip(lower=1)).set_axis(
            [mine["announced"], mine["pop"]]
        )
        grid = shares.unstack().reindex(index=announced, columns=list(pops)).to_numpy(float)
        axes.imshow(grid, cmap="Greys", vmin=-0.15, vmax=1.4, aspect="auto")
        for (row, column), share in np.ndenumerate(grid):
            ink = "white" if share > 0.6 else INK
            axes.text(
                column, row, f"{share:.0%}", ha="center", va="center", color=ink, fontsize=8.5
            )
        axes.set_xticks(range(len(pops)), pops)
        axes.set_yticks(range(len(announced)), announced)
        axes.set_xlabel("sent by servers of PoP")
        axes.tick_params(colors=INK, labelsize=9, length=0)
        axes.spines[:].set_visible(False)
        title(axes, f"Check: {kind}")
    all_axes[0].set_ylabel("borrowed addresses are announced by")
    return saved(
        figure,
        path,
        "Share of egress that upstreams refuse, by PoP, by check and by who announces.",
    )


ANNOUNCING_LOOKS: Mapping[str, tuple[str, str]] = {
    "one PoP": (ORANGE, "--"),
    "everywhere": (BLUE, "-"),
    "at home": (GREEN, "-."),
}
"""Colour and line of each way to announce borrowed addresses."""


def announcing(ways: pd.DataFrame, extra: pd.DataFrame, path: Path) -> Path:
    """What becomes of replies by how addresses are announced, and how much longer they take.

    ``ways`` is the table of the study of that name, ``extra`` what its ``extra_ms`` gives.
    """
    figure, (left, right) = figure_of(11, 4.2, 2)
    at = np.arange(len(ways))
    shares = (
        ("elsewhere_share", BLUE, "", "land elsewhere"),
        ("refused_share", ORANGE, "//", "refused by strict upstreams"),
        ("lost_share", INK, "", "lost without a check"),
    )
    for n, (column, colour, hatch, label) in enumerate(shares):
        values = ways[column].to_numpy(float)
        bars = left.barh(at + 0.26 * (n - 1), values, height=0.24, color=colour, hatch=hatch,
                         edgecolor="white", label=label)  # fmt: skip
        left.bar_label(bars, [f"{x:.0%}" for x in values], padding=3, fontsize=8, color=INK)
    names = zip(ways["way"], ways["prefixes"], strict=True)
    left.set_yticks(at, [f"{way}\n{n} {'prefix' if n == 1 else 'prefixes'}" for way, n in names])
    left.invert_yaxis()
    left.set(xlim=(0, 1.12))
    left.xaxis.set_major_formatter(PercentFormatter(1))
    left.set_xlabel("of fetches")
    left.legend(loc="upper right", frameon=True, framealpha=0.95, fontsize=8.5)
    plain(left)
    title(left, "What becomes of replies")
    for way, (colour, line) in ANNOUNCING_LOOKS.items():
        longer, reached = stats.cdf(extra[extra["way"] == way]["extra_ms"].dropna())
        _steps(right, longer, reached, color=colour,
                   linestyle=line, linewidth=1.8, label=way)  # fmt: skip
    right.set_xlabel("round trip over that from an own address, ms")
    _shares(right, "servers and origins")
    right.legend(loc="lower right", frameon=True, framealpha=0.95, fontsize=9)
    title(right, "What the way home adds")
    return saved(
        figure,
        path,
        "Shares of replies that land elsewhere, are refused or lost; what the way home adds.",
    )


CROSSPOP_LOOKS: Mapping[str, tuple[str, str, str]] = {
    "whole": (BLUE, "o", "over the backbone"),
    "cut": (ORANGE, "v", "with the backbone cut"),
}
"""Colour, marker and label of each state of the backbone."""


def crosspop(ways: pd.DataFrame, downloads: pd.DataFrame, rate_mbit_s: float, path: Path) -> Path:
    """What the way home adds against the closed form, and what downloads over the backbone get.

    ``ways`` and ``downloads`` are the tables of the study of that name.
    """
    figure, (left, right) = figure_of(10.5, 4.4, 2)
    least = most = 0.0
    for state, (colour, marker, label) in CROSSPOP_LOOKS.items():
        mine = ways[ways["state"] == state].dropna(subset="extra_ms")
        least = min([least, *mine["model_extra_ms"]])
        most = max([most, *mine["model_extra_ms"]])
        left.plot(mine["model_extra_ms"], mine["extra_ms"], color=colour, marker=marker,
                  markersize=6, linestyle="", alpha=0.6, label=label)  # fmt: skip
    left.plot(
        [least, most], [least, most], color=INK, linewidth=1, linestyle=":", label="as modelled"
    )
    left.set(xlabel="d(o, L) + b(L, h) - d(o, h), ms", ylabel="measured over an own address, ms")
    left.legend(loc="upper left", frameon=True, framealpha=0.95, fontsize=9)
    plain(left)
    title(left, "What the way home adds")
    over = downloads[downloads["crossings"] > 0]
    for state, colour, line in (("free", BLUE, "-"), ("limited", ORANGE, "--")):
        values, shares = stats.cdf(over[over["state"] == state]["mbit_s"])
        _steps(right, values, shares, color=colour,
                   linestyle=line, linewidth=1.8,
                   label="no rate" if state == "free" else "with a rate")  # fmt: skip
    right.axvline(rate_mbit_s, color=INK, linewidth=1, linestyle=":", label="the rate")
    right.set(xscale="log", xlabel="goodput of a download, Mbit/s")
    _shares(right, "downloads over the backbone")
    right.legend(loc="lower right", frameon=True, framealpha=0.95, fontsize=9)
    title(right, "What a rate of the backbone leaves")
    return saved(
        figure,
        path,
        "What the way home adds to a round trip against the closed form; goodput of downloads.",
    )


def _range(values: Sequence[float]) -> tuple[float, float]:
    """The least and the most of what a logarithmic axis shows; some range if that is nothing."""
    shown = [value for value in values if value > 0]
    return (min(shown), max(shown)) if shown else (1.0, 10.0)


WORKLOADS_LOOKS: Mapping[str, tuple[str, str, str]] = {
    "even": (BLUE, "-", "open loop, even"),
    "poisson": (GREEN, "-", "open loop, at random"),
    "trace": (PINK, "-", "open loop, from a trace"),
    "udp": (YELLOW, "-", "open loop, UDP"),
    "closed": (ORANGE, "--", "closed loop"),
    "closed, corrected": (INK, ":", "closed loop, corrected"),
    "connect": (QUIET, "-.", "connects alone"),
}
"""Colour, line and label of each workload."""


def workloads(
    times: Mapping[str, pd.Series[float]], goodputs: Mapping[str, float], model: float, path: Path
) -> Path:
    """The share of requests that take longer than so many ms, and what a bulk transfer gets.

    ``times`` are in ms, by arm; ``goodputs`` in Mbit/s, with a rate and without, ``model`` is what
    the rate leaves.
    """
    figure, (left, right) = figure_of(10.5, 4.4, 2, width_ratios=(2.2, 1))
    for arm, (colour, line, label) in WORKLOADS_LOOKS.items():
        values, shares = stats.cdf(times[arm])
        longer = [1 - share + 1 / len(values) for share in shares]
        left.step(values, longer, where="post", color=colour, linestyle=line, label=label,
                  linewidth=4 if arm == "even" else 1.8)  # fmt: skip
    left.axhline(0.01, color=GRID, linewidth=1.2, zorder=0)
    left.annotate("1 in 100", (0.6, 0.01), xycoords=("axes fraction", "data"), fontsize=8,
                  color=INK, va="bottom")  # fmt: skip
    least, most = _range([x for one in times.values() for x in one.dropna()])
    left.set(xscale="log", yscale="log", xlabel="time of a request, ms",
             xlim=(0.8 * least, 1.3 * most), ylim=(1e-4, 1.5),
             ylabel="share of requests that take as long or longer")  # fmt: skip
    left.xaxis.set_major_formatter(ScalarFormatter())
    plain(left)
    title(left, "What workloads see of the same stall")
    _bulk_bars(right, goodputs, model)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4,
                  frameon=False, fontsize=9)  # fmt: skip
    return saved(
        figure,
        path,
        "Share of requests that take so long or longer, by workload; goodput of a bulk transfer.",
    )


def _bulk_bars(axes: Axes, goodputs: Mapping[str, float], model: float) -> None:
    for place, goodput in enumerate(goodputs.values()):
        axes.bar(place, goodput, width=0.6, color=(BLUE, ORANGE)[place],
                 hatch=("", "//")[place], edgecolor="white")  # fmt: skip
        axes.annotate(f"{goodput:.4g}", (place, goodput), ha="center", va="bottom", fontsize=9)
    axes.plot([-0.4, 0.4], [model, model], color=INK, linewidth=2, label="closed form")
    axes.set_xticks(range(len(goodputs)), ["with a rate", "without"])
    axes.set(yscale="log", ylabel="goodput, Mbit/s", ylim=(1, 4 * max(model, *goodputs.values())))
    axes.legend(loc="upper left", frameon=False, fontsize=9)
    plain(axes)
    title(axes, "Bulk")
