"""What does anycast do on an Internet of 75,000 autonomous systems?

Nothing is emulated: policy bgp is worked out on arrays (``controller.core.steering.vectorised``),
so neither a lab nor root is needed. Sites stand at random ASes, at greedily chosen ones, and at
those nearest to the PoPs of the network that is asked for. Then sites are lost, announcements
change, a route leaks, floods come, and servers in hundreds of cities borrow addresses.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.errors import UsageError
from experiments.internet.arms import (
    ANNOUNCED,
    DESCENDED,
    GENERATED,
    GIVEN,
    GREEDY,
    LAWFUL,
    LEAK,
    PLAIN,
    PREPENDED,
    RANDOM,
    SHIFTED,
)
from experiments.parameters import SOME, Parameter, Value
from experiments.study import Evidence, Findings, Study, Trial, with_a_choice
from experiments.verdict.result import Check, Metric
from topologies.model import Network, Policy

if TYPE_CHECKING:
    import pandas as pd

ROUND_MS = 1e-6
"""A round trip may be shorter than light's by so much, which is rounding."""

ROUND_SHARE = 1e-6
"""Shares may be off by so much, which is rounding."""

FLOOD_SHARE = 0.003
"""A flood of a million packets may be off the closed form by so much: more than five standard
deviations of any sum of its parts (0.0005 at most)."""

VIEWS = [
    "reached_share",
    "hops_mean",
    "rtt_mean_ms",
    "rtt_p50_ms",
    "rtt_p95_ms",
    "nearest_p50_ms",
    "inflation_p50_ms",
    "inflation_p95_ms",
    "inflated_share",
    "far_share",
    "largest_share",
    "used_sites",
]
"""What is told of a placement, as the median over its draws."""


def prepare(network: Network, params: Mapping[str, Value]) -> Network:
    """The network as it is: its PoPs are the given sites. Raises UsageError.

    It must have two PoPs or more, what is counted must be a whole number, at least 1, and a file of
    relations has its whole path, since the trial runs in another folder.
    """
    relations = str(params["relations"])
    if relations != GENERATED and not Path(relations).is_absolute():
        raise UsageError(f"relations is `{GENERATED}` or the whole path of a file: {relations!r}.")
    with_a_choice(network, params)
    for name in ("sites", "draws", "candidates", "greedy", "ways", "egress_cities", "tags"):
        given = params[name]
        for value in given if isinstance(given, tuple) else (given,):
            if not isinstance(value, int | float) or value < 1 or int(value) != value:
                raise UsageError(f"{name} is a whole number from 1 up, not {value!r}.")
    return network


def trial(t: Trial) -> None:
    """Compute it all: a heavy import, which only this needs."""
    from experiments.internet.computing import compute

    compute(t)


# -- what the evidence says


def evaluate(e: Evidence) -> Findings:
    """Medians over draws; losses, splits, floods and addresses beside what they should be."""
    tables = {
        "placements": placements_table(e.samples),
        "losses": losses_table(e),
        "splits": splits_table(e),
        "floods": floods_table(e),
        "egress": egress_table(e),
    }
    metrics = {name: metric for part in _metrics(e, tables) for name, metric in part.items()}
    return Findings(_answer(e, tables, metrics), metrics, _checks(e, tables), tables)


def placements_table(samples: pd.DataFrame) -> pd.DataFrame:
    """A row per arm and number of sites: medians over draws."""
    mine = samples[samples["arm"].isin((RANDOM, GREEDY, GIVEN))]
    table = mine.groupby(["arm", "sites"], sort=True)[VIEWS].median().reset_index()
    counts = mine.groupby(["arm", "sites"], sort=True).size()
    return table.assign(draws=counts.to_numpy())


def losses_table(e: Evidence) -> pd.DataFrame:
    """A row per arm and site that goes down: its load, the first heir's, and who else moves."""
    import pandas as pd

    rows = []
    for loss in e.observed["losses"]:
        heirs, share = loss["heirs"], loss["share"]
        first = max(range(len(heirs)), key=lambda site: heirs[site])
        row = {name: loss[name] for name in ("arm", "site", "share", "left_share")}
        row |= {"nowhere_share": loss["nowhere_share"], "moved_share": loss["bystanders_share"]}
        row |= {"heirs": sum(one > 0 for one in heirs), "first_heir": first}
        row |= {"first_heir_share": heirs[first] / share if share else None}
        inherited = sum(heirs) + loss["nowhere_share"]
        kept = sum(loss["after"]) + loss["nowhere_share"] - sum(loss["before"])
        rows.append(row | {"unaccounted_share": max(abs(inherited - share), abs(kept))})
    return pd.DataFrame(rows).astype({"first_heir_share": float})


def splits_table(e: Evidence) -> pd.DataFrame:
    """A row per way to announce the given sites, the nearest to the wanted split first."""
    from experiments.playbook import off_share, wanted

    mine = e.samples[e.samples["arm"].isin((ANNOUNCED, DESCENDED, PLAIN, SHIFTED, PREPENDED))]
    shares = [[float(x) for x in text.split()] for text in mine["shares"]]
    goal = wanted(e.plan.network)
    table = mine[["arm", "way", "reached_share", "shares"]].copy()
    table["off_share"] = [off_share(one, goal) for one in shares]
    table["sum_share"] = [sum(one) for one in shares]
    table["largest_share"] = [max(one) for one in shares]
    return table.sort_values(["off_share", "arm", "way"], kind="stable").reset_index(drop=True)


def floods_table(e: Evidence) -> pd.DataFrame:
    """A row per placement and volume: what was absorbed, and what the closed form says."""
    import pandas as pd

    from experiments.internet.floods import absorbed

    rows = []
    for flood in e.observed["floods"]:
        row = {name: flood[name] for name in ("arm", "sites", "volume", "counted_share")}
        row["absorbed_share"] = absorbed(flood["shares"], flood["volume"])
        rows.append(row | {"largest_share": max(flood["shares"])})
    return pd.DataFrame(rows)


def egress_table(e: Evidence) -> pd.DataFrame:
    """A row per number of cities and design: addresses that were taken, and the closed form."""
    import pandas as pd

    from experiments.studies.scarcity import needed

    rows = []
    for lent in e.observed["egress"]:
        servers = lent["servers_by_city"]
        row = {name: lent[name] for name in ("cities", "design", "ports", "tags", "taken")}
        row |= {"servers": sum(servers)}
        rows.append(row | {"needed": needed(lent["design"], servers, lent["tags"], lent["ports"])})
    return pd.DataFrame(rows)


def _metrics(e: Evidence, tables: Mapping[str, pd.DataFrame]) -> Iterator[dict[str, Metric]]:
    facts = e.observed["internet"]
    yield {name: Metric(int(facts[name]), "1") for name in ("ases", "relations")}
    for row in tables["placements"].to_dict("records"):
        if row["arm"] != GREEDY or row["sites"] in e.spec.numbers("sites"):
            yield _of_placement(row)
    losses = tables["losses"][tables["losses"]["arm"] == GIVEN]
    yield {
        "loss_first_heir_share": Metric(_median(losses["first_heir_share"]), "1"),
        "loss_moved_share": Metric(_median(losses["moved_share"]), "1"),
    }
    splits = tables["splits"]
    yield {
        "ways": Metric(int(splits["way"].nunique()), "1"),
        "plain_off_share": Metric(_median(splits[splits["arm"] == PLAIN]["off_share"]), "1"),
        "best_off_share": Metric(float(splits["off_share"].min()), "1"),
        "leak_drawn_share": Metric(float(e.observed["leak"]["drawn_share"]), "1"),
    }
    largest = tables["egress"][tables["egress"]["cities"] == tables["egress"]["cities"].max()]
    for row in largest.to_dict("records"):
        yield {f"{row['design'].replace(' ', '_')}_addresses": Metric(int(row["taken"]), "1")}
    for row in tables["floods"][tables["floods"]["arm"] == GIVEN].to_dict("records"):
        name = f"given_flood_{row['volume']:g}_absorbed_share"
        yield {name: Metric(float(row["absorbed_share"]), "1")}


def _of_placement(row: Mapping[Hashable, Any]) -> dict[str, Metric]:
    name = f"{row['arm']}_{row['sites']}"
    units = {"hops_mean": "hops", "rtt_p50_ms": "ms", "inflation_p50_ms": "ms"}
    units |= {"inflated_share": "1", "far_share": "1"}
    return {
        f"{name}_{view.removesuffix('_ms')}": Metric(float(row[view]), unit)
        for view, unit in units.items()
    }


def _median(values: pd.Series[float]) -> float | None:
    from experiments import stats

    return stats.median(values)


def _checks(e: Evidence, tables: Mapping[str, pd.DataFrame]) -> tuple[Check, ...]:
    seen = e.samples[e.samples["valleys"].notna()]
    lawful, leaked = seen[seen["arm"] == LAWFUL], seen[seen["arm"] == LEAK]
    others = seen[~seen["arm"].isin((LAWFUL, LEAK))]
    found = int(leaked["valleys"].sum())
    return (
        Check(
            "control: a route leak is seen as a valley",
            found > 0,
            f"{found} ASes have what {e.observed['leak']['leaker']} should not have told them",
        ),
        _none("twin: without the leak there is none", lawful, "valleys"),
        _none("no placement's paths have a valley", others, "valleys"),
        _none("every route is that of a neighbour, a hop longer", seen, "strangers"),
        _all_reached(e),
        _no_faster_than_light(others),
        _nearer(tables["placements"]),
        _greedy_pays(tables["placements"]),
        *_loss_checks(tables["losses"]),
        *_split_checks(tables["splits"]),
        _floods_as_the_form(tables["floods"]),
        _addresses_as_the_form(tables["egress"]),
    )


def _none(name: str, rows: pd.DataFrame, column: str) -> Check:
    """Of some rows, none has any."""
    bad = int((rows[column] > 0).sum())
    return Check(name, len(rows) > 0 and bad == 0, f"{bad} of {len(rows)} sets of sites have some")


def _all_reached(e: Evidence) -> Check:
    """A drawn Internet has a lawful way between any two; a file need not."""
    mine = e.samples[e.samples["arm"].isin((RANDOM, GREEDY, GIVEN))]
    least = float(mine["reached_share"].min())
    floor = 1 - ROUND_SHARE if e.spec.params["relations"] == GENERATED else 0.5
    return Check(
        "clients reach a site",
        least >= floor,
        f"at least {least:.2%} of all clients, for each of {len(mine)} sets of sites",
    )


def _no_faster_than_light(rows: pd.DataFrame) -> Check:
    least = float(rows["inflation_least_ms"].min())
    return Check(
        "no path is shorter than the straight way to the nearest site",
        least >= -ROUND_MS,
        f"the least inflation is {least:.6f} ms",
    )


def _nearer(placements: pd.DataFrame) -> Check:
    mine = placements[placements["arm"] == RANDOM].sort_values("sites")
    few, many = float(mine["rtt_p50_ms"].iloc[0]), float(mine["rtt_p50_ms"].iloc[-1])
    return Check(
        "most sites are nearer than fewest",
        many < few if mine["sites"].nunique() > 1 else None,
        f"median round trip {few:.1f} ms by {mine['sites'].iloc[0]}, {many:.1f} ms by "
        f"{mine['sites'].iloc[-1]} random sites",
    )


def _greedy_pays(placements: pd.DataFrame) -> Check:
    both = placements.pivot_table(index="sites", columns="arm", values="rtt_mean_ms")
    both = both.dropna(subset=[GREEDY, RANDOM])
    worse = [int(str(count)) for count in both.index[both[GREEDY] > both[RANDOM]]]
    return Check(
        "greedy sites are nearer than random ones",
        not worse if len(both) else None,
        f"of {len(both)} numbers of sites not with: {', '.join(map(str, worse)) or 'none'}",
    )


def _loss_checks(losses: pd.DataFrame) -> Iterator[Check]:
    left = float(losses["left_share"].max())
    yield Check(
        "control: a site that is lost gets nobody",
        left == 0,
        f"of {len(losses)} sites one has at most {left:.2%} of all clients left",
    )
    off = float(losses["unaccounted_share"].max())
    yield Check(
        "twin: others have what it had",
        off <= ROUND_SHARE and float(losses["share"].max()) > 0,
        f"unaccounted for is at most {off:.2g} of all clients",
    )


def _split_checks(splits: pd.DataFrame) -> Iterator[Check]:
    by_arm = {str(arm): rows.iloc[0] for arm, rows in splits.groupby("arm")}
    plain, shifted, one = by_arm[PLAIN], by_arm[SHIFTED], by_arm[PREPENDED]
    yield Check(
        "control: prepending the largest site takes clients from it",
        _share_of_largest(one, plain) < _share_of_largest(plain, plain),
        f"it has {_share_of_largest(plain, plain):.2%}, then {_share_of_largest(one, plain):.2%}",
    )
    pairs = list(zip(shifted["shares"].split(), plain["shares"].split(), strict=True))
    other = sum(a != b for a, b in pairs)
    yield Check(
        "twin: prepending all sites alike moves nobody",
        len(pairs) > 0 and other == 0,
        f"{other} of {len(pairs)} sites have another load",
    )
    off = (splits["sum_share"] - splits["reached_share"]).abs().max()
    yield Check(
        "the loads of sites add up to the clients that are reached",
        bool(off <= ROUND_SHARE),
        f"off by at most {off:.2g} in {len(splits)} announcements",
    )


def _share_of_largest(row: pd.Series[str], plain: pd.Series[str]) -> float:
    """The share of that site which is the largest when announced plainly."""
    shares, usual = ([float(x) for x in one["shares"].split()] for one in (row, plain))
    return shares[usual.index(max(usual))]


def _floods_as_the_form(floods: pd.DataFrame) -> Check:
    off = float((floods["counted_share"] - floods["absorbed_share"]).abs().max())
    return Check(
        "floods are absorbed as the closed form says",
        off <= FLOOD_SHARE,
        f"off by at most {off:.3%} in {len(floods)} floods; {FLOOD_SHARE:.1%} is allowed",
    )


def _addresses_as_the_form(egress: pd.DataFrame) -> Check:
    wrong = int((egress["taken"] != egress["needed"]).sum())
    return Check(
        "as many addresses are lent as the closed form says",
        len(egress) > 0 and wrong == 0,
        f"{wrong} of {len(egress)} designs and numbers of cities are off",
    )


def _answer(e: Evidence, tables: Mapping[str, pd.DataFrame], metrics: Mapping[str, Metric]) -> str:
    mine = tables["placements"][tables["placements"]["arm"] == RANDOM].sort_values("sites")
    told = [
        f"{row['sites']}: {row['rtt_p50_ms']:.0f} ms ({row['inflation_p50_ms']:.0f} ms too many)"
        for row in mine.to_dict("records")
    ]
    plain, best = (metrics[f"{name}_off_share"].value or 0 for name in ("plain", "best"))
    return (
        f"Median round trip on {e.observed['internet']['ases']:,} ASes by random sites, and what "
        f"BGP adds to it: {', '.join(told)}. Of {metrics['ways'].value} announcements of the "
        f"given sites the best is {best:.1%} off the wanted split, the plain one {plain:.1%}."
    )


def draw(e: Evidence, findings: Findings, folder: Path) -> list[Path]:
    """Round trips by number of sites, and how announcements split the load."""
    from experiments.show.figures import internet as figure

    tables = findings.tables
    return [
        figure.sites(tables["placements"], folder / "internet-sites.png"),
        figure.splits(tables["splits"], tables["floods"], folder / "internet-splits.png"),
    ]


STUDY = Study(
    name="internet",
    question="What does anycast do on an Internet of 75,000 autonomous systems?",
    baselines=("random sites", "the straight way to the nearest site"),
    controls=(
        "a route leak must be seen as a valley; without it there is none",
        "a site that is lost must get nobody; others have what it had",
        "prepending the largest site must take clients from it; prepending all moves nobody",
    ),
    parameters={
        "relations": Parameter(
            GENERATED, GENERATED, "`generated`, or a file of CAIDA's AS relationships"
        ),
        "ases": Parameter(75_000, 2_000, "autonomous systems of a generated Internet", least=2),
        "sites": Parameter(
            (1, 3, 10, 30, 100, 300, 1000), (1, 3, 10, 30), "numbers of random sites"
        ),
        "draws": Parameter(20, 5, "random sets of sites of each number", least=1),
        "candidates": Parameter(60, 15, "ASes that greedy sites are chosen from", least=1),
        "greedy": Parameter(30, 10, "greedy sites", least=1),
        "prepends": Parameter(3, 3, "how often a site may prepend", least=1),
        "ways": Parameter(5_000, 200, "ways to announce the given sites, at most"),
        "volumes": Parameter(
            (0.5, 1, 2, 5), (0.5, 2), "floods over the capacity of all sites", least=SOME
        ),
        "egress_cities": Parameter((100, 300), (30,), "cities in which servers borrow"),
        "tags": Parameter(12, 3, "tags of which each server borrows"),
    },
    trial=trial,
    evaluate=evaluate,
    draw=draw,
    prepare=prepare,
    policies=tuple(Policy),
    families=(4,),
    sends_packets=False,
    lab=False,
)
