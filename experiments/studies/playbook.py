"""Which announcements split clients over PoPs as they should be, and do routers do as is computed?

Under attack operators of anycast reach for a playbook: what each PoP announces, and the split of
clients that comes of it (Rizvi et al., "Anycast Agility", USENIX Security 2022). Here the model
works out every way of a small set, in which each PoP prepends or is told to its network's customers
alone. The ways nearest to the split that the PoPs' weights ask for are then announced by real
speakers, and every client asks who serves it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from controller.core.events import PrependSet, ScopeSet
from controller.core.world import World
from experiments import playbook
from experiments.parameters import SOME, Parameter
from experiments.study import Evidence, Findings, Study, Trial, with_a_choice
from experiments.verdict import landing
from experiments.verdict.oracle import BgpOracle
from experiments.verdict.result import Check, Metric
from topologies.model import Policy, Upstream
from topologies.plan import HostRole, Plan

if TYPE_CHECKING:
    import pandas as pd

SHIFTED = "shifted"
"""All PoPs prepend alike: BGP sees no difference."""
PLAIN, BEST = "plain", "best"


def trial(t: Trial) -> None:
    """Compute all ways, then announce the plain one, its shift, and those that are nearest."""
    clients = t.plan.hosts_of(HostRole.CLIENT)
    with t.step("what the model says of every way"):
        prepends, most = t.count("prepends"), t.count("ways")
        every = list(playbook.ways(len(t.plan.edges), prepends, most, t.random.randbytes))
        t.observed["ways"] = every
        chosen = to_run(t.plan, every, prepends, t.count("runs"))
    for arm, way in chosen:
        with t.step(f"{arm}: {way}"):
            _announce(t, way)
            t.lab.come_to_rest()
            answered, probed = landing.asked(t, clients), landing.probed(t, clients)
        for client in clients:
            fields = answered.get(client.name, {})
            found = {pop for pops in probed[client.name].values() for pop in pops}
            t.reporter.emit(
                {
                    "arm": arm,
                    "way": way,
                    "client": client.name,
                    "city": client.city,
                    "outcome": "ok" if fields else "lost",
                    "pop": fields.get("pop"),
                    "probed": " ".join(sorted(found)),
                }
            )
    with t.step("as it was"):
        _announce(t, plain(t.plan))


def plain(made: Plan) -> str:
    """Every PoP to all, without prepending."""
    return " ".join("0" for _ in made.edges)


def to_run(
    made: Plan, every: Iterable[str], prepends: int, runs: int
) -> tuple[tuple[str, str], ...]:
    """By arm: the ways that are announced in the lab; the plain one is among ``every``.

    The best are those by which every city is served, each for a split of clients of its own.
    """
    usual = plain(made)
    shifted = " ".join(str(prepends) for _ in made.edges)
    found = {way: catchments(made, way) for way in every}
    whole = {way: where for way, where in found.items() if None not in where.values()}
    off = {way: off_share(made, where) for way, where in whole.items()}
    seen = {_of_clients(made, found[usual])}
    best: list[str] = []
    for way in sorted(off, key=lambda way: (off[way], way)):
        split = _of_clients(made, whole[way])
        if split not in seen and len(best) < runs:
            best.append(way)
            seen.add(split)
    numbered = ((f"{BEST} {n}", way) for n, way in enumerate(best, 1))
    return ((PLAIN, usual), (SHIFTED, shifted), *numbered)


def _of_clients(made: Plan, where: Mapping[str, str | None]) -> tuple[str | None, ...]:
    return tuple(where[client.city] for client in made.hosts_of(HostRole.CLIENT))


def catchments(made: Plan, way: str) -> dict[str, str | None]:
    """By city: the PoP that policy bgp chooses, which knows nothing of the speakers."""
    world = World(made)
    for edge, (prepend, scope) in zip(made.edges, playbook.asked(way), strict=True):
        world = world.after(PrependSet(edge.city, prepend), ScopeSet(edge.city, scope))
    return BgpOracle(world).catchments(edge.city for edge in made.edges)


def off_share(made: Plan, where: Mapping[str, str | None]) -> float:
    """The share of clients that are not where they are wanted, if cities are served so."""
    return playbook.off_share(shares(made, _of_clients(made, where)), wanted(made))


def wanted(made: Plan) -> list[float]:
    """By PoP: the share of clients that its weight asks for."""
    return playbook.wanted(made.network)


def shares(made: Plan, landed: Iterable[str | None]) -> list[float]:
    """By PoP: its share of all clients."""
    pops = list(landed)
    return [pops.count(edge.city) / max(1, len(pops)) for edge in made.edges]


def _announce(t: Trial, way: str) -> None:
    for edge, (prepend, scope) in zip(t.plan.edges, playbook.asked(way), strict=True):
        t.lab.control.pop_prepend(edge.city, prepend)
        t.lab.control.pop_scope(edge.city, scope.value)


# -- what the evidence says


def evaluate(e: Evidence) -> Findings:
    """How near the model comes to the wanted split, and whether the lab does as it says."""
    ways, landed = ways_table(e), landed_table(e)
    splits = splits_table(e, landed)
    off = splits.set_index("arm")["off_share"]
    tried = _tried(splits)["off_share"]
    metrics = {
        "ways": Metric(len(ways), "1"),
        "plain_off_share": Metric(float(off[PLAIN]), "1"),
        "best_off_share": Metric(float(tried.min()) if len(tried) > 1 else None, "1"),
        "model_best_off_share": Metric(float(ways["off_share"].min()), "1"),
        "moved_share": Metric(_moved(landed, f"{BEST} 1"), "1"),
        "splits": Metric(ways["split"].nunique(), "1"),
    }
    tables = {"ways": ways, "splits": splits, "landed": landed}
    return Findings(_answer(e, metrics, splits), metrics, _checks(splits, landed, ways), tables)


def ways_table(e: Evidence) -> pd.DataFrame:
    """A row per way: by the model each PoP's clients, and how far that is from what is wanted."""
    import pandas as pd

    rows = []
    for way in e.observed["ways"]:
        where = catchments(e.plan, way)
        found = _of_clients(e.plan, where)
        split = " ".join(str(found.count(edge.city)) for edge in e.plan.edges)
        told = {"way": way, "split": split, "unserved": found.count(None)}
        rows.append(told | {"off_share": off_share(e.plan, where)})
    return pd.DataFrame(rows, columns=["way", "split", "unserved", "off_share"])


def landed_table(e: Evidence) -> pd.DataFrame:
    """A row per way that was announced and client: where it landed, and where it should."""
    expected = {way: catchments(e.plan, way) for way in e.samples["way"].unique()}
    pairs = zip(e.samples["way"], e.samples["city"], strict=True)
    landed = e.samples.assign(expected=[expected[way][city] or "" for way, city in pairs])
    pop = landed["pop"].fillna("")
    agreed = (pop == landed["expected"]) & (landed["probed"] == landed["expected"])
    return landed.assign(pop=pop, agreed=agreed)


def splits_table(e: Evidence, landed: pd.DataFrame) -> pd.DataFrame:
    """A row per way that was announced: the share of each PoP, and how far that is off."""
    import pandas as pd

    rows = []
    for (arm, way), mine in landed.groupby(["arm", "way"], sort=False):
        found = shares(e.plan, mine["pop"])
        by_pop = {edge.city: share for edge, share in zip(e.plan.edges, found, strict=True)}
        off = playbook.off_share(found, wanted(e.plan))
        rows.append({"arm": arm, "way": way, **by_pop, "off_share": off})
    return pd.DataFrame(rows)


def _tried(splits: pd.DataFrame) -> pd.DataFrame:
    """The plain way, and the best of those that were computed."""
    return splits[splits["arm"].str.startswith(BEST) | (splits["arm"] == PLAIN)]


def _moved(landed: pd.DataFrame, arm: str) -> float | None:
    """The share of clients that land elsewhere than by the plain way; None if it was not run."""
    here = landed[landed["arm"] == arm].set_index("client")["pop"]
    usual = landed[landed["arm"] == PLAIN].set_index("client")["pop"]
    return float((here != usual.reindex(here.index)).mean()) if len(here) else None


def _checks(splits: pd.DataFrame, landed: pd.DataFrame, ways: pd.DataFrame) -> tuple[Check, ...]:
    wrong = landed[~landed["agreed"]]
    first = "" if wrong.empty else "; first: {arm}, {client}".format(**wrong.iloc[0])
    served = ways[ways["unserved"] == 0]["off_share"]
    least, measured = float(served.min()), float(splits["off_share"].min())
    shifted, moved = _moved(landed, SHIFTED), _moved(landed, f"{BEST} 1")
    return (
        Check(
            "every client lands where the model says, by who answers and by what comes back",
            len(landed) > 0 and wrong.empty,
            f"{len(landed) - len(wrong)} of {len(landed)} times{first}",
        ),
        Check(
            "the best split that was computed is that of the lab",
            math.isclose(measured, least, abs_tol=1e-9),
            f"{measured:.1%} of the clients are off, {least:.1%} by the best of {len(ways)} ways",
        ),
        Check(
            "control: where all PoPs prepend alike nobody moves",
            shifted == 0.0,
            "it was not run" if shifted is None else f"{shifted:.1%} of the clients did",
        ),
        Check(
            "twin: by the best way somebody moves",
            bool(moved),
            "it was not run" if moved is None else f"{moved:.1%} of the clients did",
        ),
    )


def _answer(e: Evidence, metrics: Mapping[str, Metric], splits: pd.DataFrame) -> str:
    before, after = (metrics[f"{name}_off_share"].value for name in (PLAIN, BEST))
    if before is None or after is None or not len(splits):
        return "No way but the plain one was announced."
    best = _tried(splits).sort_values("off_share", kind="stable").iloc[0]
    ways = metrics["ways"].value
    alike = f"Announced alike {before:.0%} of the clients are not where they are wanted"
    if best["arm"] == PLAIN:
        return f"{alike}; none of {ways} ways is better."
    named = zip((edge.city for edge in e.plan.edges), str(best["way"]).split(), strict=True)
    asked = ", ".join(f"{pop} {_in_words(word)}" for pop, word in named)
    return f"{alike}; the best of {ways} ways leaves {after:.0%} ({asked})."


def _in_words(word: str) -> str:
    if word == playbook.NARROW:
        return "to customers only"
    return "plain" if word == "0" else f"prepends {word}"


def draw(e: Evidence, findings: Findings, folder: Path) -> list[Path]:
    """Each PoP's share by each way that was announced, beside what is wanted."""
    from experiments.show.figures import playbook as figure

    pops: Sequence[str] = [edge.city for edge in e.plan.edges]
    path = folder / "playbook.png"
    tables = findings.tables
    return [figure.draw(tables["splits"], tables["ways"], pops, wanted(e.plan), path)]


STUDY = Study(
    name="playbook",
    question="Which announcements split clients as wanted, and do routers do as computed?",
    baselines=("every PoP announced alike",),
    controls=("where all PoPs prepend alike nobody moves",),
    parameters={
        "prepends": Parameter(3, 2, "most times that a PoP names us once more"),
        "ways": Parameter(4096, 1024, "most ways that are computed", least=1),
        "runs": Parameter(5, 2, "so many of the best are announced in the lab", least=1),
        "rate_per_s": Parameter(150, 150, "probes per second in the whole network", least=SOME),
        "timeout_s": Parameter(2, 1, "how long to wait for a reply, seconds", least=SOME),
    },
    trial=trial,
    evaluate=evaluate,
    draw=draw,
    families=(4,),
    policies=(Policy.BGP,),
    upstreams=(Upstream.BGP,),
    prepare=with_a_choice,
)
