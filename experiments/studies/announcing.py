"""By which announcement of borrowed addresses do replies come home, and at what price?

Between networks BGP decides where a reply lands. Every server fetches from every origin

- ``own``: from an address of its own, which is in its PoP's prefix,
- ``one PoP``: from a borrowed address that one PoP announces for all,
- ``everywhere``: from one that every PoP announces,
- ``at home``: from one whose piece, a longer prefix, its home announces beside what all announce,
- ``plain anycast``, the control: from the service address, which nobody sends home,

while the upstreams of PoPs check no reverse path, and while they check strictly (RFC 3704).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Address
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import pools
from experiments.errors import UsageError
from experiments.measure.reverse_path import Check as Asked
from experiments.measure.reverse_path import need_one_packet
from experiments.parameters import SOME, Parameter, Value
from experiments.study import Evidence, Findings, Study, Trial, with_a_choice
from experiments.verdict import egress
from experiments.verdict.oracle import Oracle
from experiments.verdict.result import Check, Metric
from experiments.verdict.truth import Timed
from topologies.model import Network, Policy, Scope, Upstream
from topologies.plan import HostRole, Plan

if TYPE_CHECKING:
    import pandas as pd

    from experiments.measure.tcp import TcpAttempt

OWN, ALONE, EVERYWHERE, AT_HOME = "own", "one PoP", "everywhere", "at home"
PLAIN = "plain anycast"
WAYS = (OWN, EVERYWHERE, AT_HOME, PLAIN, ALONE)
"""In the order in which they are tried: the last has all PoPs but one withdrawn."""
BORROWED = (ALONE, EVERYWHERE, AT_HOME)
CHECKS = (Asked.NONE, Asked.STRICT)

TAG = "pieces"
"""What servers borrow by, whose pool is cut into pieces."""
PIECE = 24
"""The longest prefix that networks take from each other (RFC 7454 section 6.1.3)."""


def prepare(network: Network, params: Mapping[str, Value]) -> Network:
    """The network with a pool of a piece for each PoP, beside pools that are not cut.

    Raises UsageError for one PoP, for one that is not told to all, and if packets would be sent
    twice.
    """
    for pop in with_a_choice(network, params).pops:
        if pop.scope is not Scope.ALL:
            raise UsageError(f"A piece of {pop.city} is not known to all: let its scope be all.")
    need_one_packet(params["timeout_s"])
    whole = tuple(replace(pool, more_specifics=None) for pool in network.pools)
    addresses = pools.one_prefix(len(network.pops)) << (32 - PIECE)
    made = pools.with_pools(replace(network, pools=whole), [pools.Wanted(TAG, addresses)])
    cut = replace(made.pools[-1], more_specifics=PIECE)
    return replace(made, pools=(*whole, cut), borrow=(*network.borrow, TAG))


# -- what the model says


def announced(oracle: Oracle, way: str, home: str) -> tuple[str, ...]:
    """Who announces the longest prefix of the address that servers of a PoP send from."""
    if way == ALONE:
        return (oracle.one_owner(),)
    return (home,) if way in (OWN, AT_HOME) else oracle.pops


def landing(oracle: Oracle, way: str, home: str, origin: str) -> str:
    """The PoP where an origin's reply lands."""
    pops = oracle.anycast_pops(origin, announced(oracle, way, home))
    return home if way == OWN else pops[0]


def passes(oracle: Oracle, check: str, way: str, pop: str) -> bool:
    """Whether a PoP's upstream takes what it sends: if it would send the reply there too."""
    upstream = oracle.plan.transit(pop).name
    return check == Asked.NONE or landing(oracle, way, pop, upstream) == pop


def rtt_ms(oracle: Oracle, way: str, server: str, origin: str) -> float:
    """The round trip; of the control that of a reply that lands at home."""
    if way == OWN:
        return oracle.rtt_ms(server, origin)
    home = oracle.plan.host(server).city
    return oracle.borrowed_rtt_ms(server, origin, announced(oracle, way, home))


# -- what is done in the lab


def trial(t: Trial) -> None:
    """All ways that all PoPs announce, then the one where one PoP does."""
    owner = t.oracle.one_owner()
    t.observed |= {"owner": owner, "landed": [], "refused": [], "spoken": []}
    pieces = {lease["server"]: lease for lease in t.lab.control.leases() if lease["tag"] == TAG}
    with t.step("what the speakers say"):
        _listen(t, pieces)
    for way in WAYS:
        if way == ALONE:
            t.announce(set(t.oracle.pops), {owner})
        for check in CHECKS:
            _fetch(t, way, check, pieces)
    t.announce({owner}, set(t.oracle.pops))


def _listen(t: Trial, pieces: Mapping[str, Mapping[str, Any]]) -> None:
    """Which PoP each origin's router would send a reply to, by its speaker's own word."""
    numbers = {edge.number: edge.city for edge in t.plan.edges}
    pool = t.plan.network.pools[-1]
    homes = {IPv4Address(lease["address"]): lease["home"] for lease in pieces.values()}
    wanted = {pool.piece(address): (AT_HOME, home) for address, home in homes.items()}
    for prefix, (way, home) in {pool.prefix: (EVERYWHERE, ""), **wanted}.items():
        assert prefix is not None
        routes = t.lab.speakers.routes(prefix)
        known = sum(any(x.best for x in routes[router.name]) for router in t.plan.routers)
        told = {"way": way, "prefix": str(prefix), "home": home, "routers": known}
        for origin in t.plan.hosts_of(HostRole.ORIGIN):
            best = [x.pop for x in routes[t.plan.transit(origin.city).name] if x.best]
            landed = numbers[best[0]] if best else ""
            t.observed["spoken"].append(told | {"origin": origin.name, "pop": landed})


def _fetch(t: Trial, way: str, check: Asked, pieces: Mapping[str, Mapping[str, Any]]) -> None:
    """Every server connects to every origin; what switches and upstreams count meanwhile."""
    from experiments.measure.reverse_path import checking
    from experiments.measure.tcp import connect

    asked = _attempts(t, way, pieces)
    before = t.counters()
    with checking(t.plan, check) as refused, t.timed_step(f"{way}, check {check}"):
        rows = connect(
            [attempt for _, attempt in asked],
            timeout_s=t.param("timeout_s"),
            spacing_s=1 / t.param("rate_per_s"),
        )
        found = refused()
    counted = t.counters_since(before)
    for edge in t.plan.edges:
        where = {"way": way, "check": check.value, "pop": edge.city}
        t.observed["refused"].append(where | {"packets": found[edge.city]})
        elsewhere = counted.get(edge.name, {}).get("home", 0)
        t.observed["landed"].append(where | {"packets": elsewhere})
    for (origin, attempt), row in zip(asked, rows, strict=True):
        pop = t.plan.host(row.host).city
        t.reporter.emit(
            {
                "way": way,
                "check": check.value,
                "server": row.host,
                "pop": pop,
                "origin": origin,
                "source": str(attempt.source),
                "landing_pop": landing(t.oracle, way, pop, origin),
                "outcome": row.outcome,
                "rtt_ms": None if row.handshake_rtt_ns is None else row.handshake_rtt_ns / 1e6,
                "model_rtt_ms": rtt_ms(t.oracle, way, row.host, origin),
            }
        )


def _attempts(
    t: Trial, way: str, pieces: Mapping[str, Mapping[str, Any]]
) -> list[tuple[str, TcpAttempt]]:
    """Origin and attempt of every fetch of a way."""
    from experiments.measure.tcp import TcpAttempt

    found = []
    for _ in range(t.count("fetches")):
        for server in t.plan.hosts_of(HostRole.SERVER):
            lease, piece = t.leases[server.name], pieces[server.name]
            source, ports = IPv4Address(lease.address), lease.ports
            if way == AT_HOME:
                source = IPv4Address(piece["address"])
                ports = piece["first_port"], piece["last_port"]
            if way in (OWN, PLAIN):
                source = server.address if way == OWN else t.plan.network.services[0]
            for origin in t.plan.hosts_of(HostRole.ORIGIN):
                attempt = TcpAttempt(server.name, origin.address, 80, source, ports)
                found.append((origin.name, attempt))
    return found


# -- what the evidence says


def evaluate(e: Evidence) -> Findings:
    """Way by way: where replies land, how much longer they take, what is refused and lost."""
    from experiments import stats

    landings = landings_table(e)
    ways = ways_table(e, landings)
    by_way = {row["way"]: row for row in ways.to_dict("records")}
    metrics = {"pops": Metric(len(e.oracle.pops), "1")}
    for way, row in by_way.items():
        key = way.lower().replace(" ", "_")
        for name in ("elsewhere_share", "model_elsewhere_share", "lost_share"):
            metrics[f"{key}_{name}"] = Metric(float(row[name]), "1")
        metrics[f"{key}_strict_refused_share"] = Metric(float(row["refused_share"]), "1")
        metrics[f"{key}_addresses"] = Metric(int(row["addresses"]), "1")
        metrics[f"{key}_prefixes"] = Metric(int(row["prefixes"]), "1")
        if way in BORROWED:
            away = stats.known(row["away_extra_p50_ms"])
            metrics[f"{key}_away_extra_p50"] = Metric(away, "ms")
            metrics[f"{key}_extra_p50"] = Metric(stats.known(row["extra_p50_ms"]), "ms")
            metrics[f"{key}_extra_max"] = Metric(stats.known(row["extra_max_ms"]), "ms")
    checks = tuple(_checks(e, by_way, landings))
    tables = {"ways": ways, "landings": landings}
    return Findings(_answer(metrics), metrics, checks, tables)


def extra_ms(e: Evidence) -> pd.DataFrame:
    """A row per way, server and origin: by how much the median outlasts that of an own address.

    ``away``: the replies land in another PoP.
    """
    unchecked = e.samples[(e.samples["check"] == Asked.NONE) & (e.samples["outcome"] == "ok")]
    pair = ["server", "origin"]
    of_pair = unchecked.assign(away=unchecked["pop"] != unchecked["landing_pop"]).groupby(
        ["way", *pair]
    )
    medians = of_pair.agg(rtt_ms=("rtt_ms", "median"), away=("away", "max")).reset_index()
    own = medians[medians["way"] == OWN].set_index(pair)["rtt_ms"].rename("own_ms")
    both = medians[medians["way"] != OWN].join(own, on=pair)
    return both.assign(extra_ms=both["rtt_ms"].astype(float) - both["own_ms"].astype(float))


def landings_table(e: Evidence) -> pd.DataFrame:
    """A row per way, check and PoP: its fetches, and what landed there on its way elsewhere.

    As its switch counted and as the model says, in packets; likewise what its upstream refused.
    """
    import pandas as pd

    home, refused = (
        {(x["way"], x["check"], x["pop"]): x["packets"] for x in e.observed[name]}
        for name in ("landed", "refused")
    )
    rows = []
    for way, check in product(WAYS, CHECKS):
        tried = e.samples[(e.samples["way"] == way) & (e.samples["check"] == check)]
        took = {pop: passes(e.oracle, check, way, pop) for pop in e.oracle.pops}
        away = tried[(tried["pop"] != tried["landing_pop"]) & tried["pop"].map(took).eq(True)]
        for pop in e.oracle.pops:
            mine, key = int((tried["pop"] == pop).sum()), (way, check.value, pop)
            lands = int((away["landing_pop"] == pop).sum()) if way in BORROWED else 0
            row: dict[str, Any] = {"way": way, "check": check.value, "pop": pop, "fetches": mine}
            row |= {"landed": home.get(key, 0), "model_landed": lands}
            row |= {"refused": refused.get(key, 0), "model_refused": 0 if took[pop] else mine}
            rows.append(row)
    return pd.DataFrame(rows)


def ways_table(e: Evidence, landings: pd.DataFrame) -> pd.DataFrame:
    """A row per way: shares of fetches, extra round trip, and what it takes to announce it."""
    import pandas as pd

    extra, rows = extra_ms(e), []
    for way in WAYS:
        mine = e.samples[(e.samples["way"] == way) & (e.samples["check"] == Asked.NONE)]
        counted = landings[landings["way"] == way]
        free, strict = (counted[counted["check"] == check] for check in CHECKS)
        pairs = extra[extra["way"] == way]
        longer = pairs["extra_ms"]
        away = mine["landing_pop"] != mine["pop"]
        rows.append(
            {
                "way": way,
                "fetches": len(mine),
                "elsewhere_share": _share(free, "landed") if way != PLAIN else float(away.mean()),
                "model_elsewhere_share": float(away.mean()),
                "lost_share": float((mine["outcome"] != "ok").mean()),
                "refused_share": _share(strict, "refused"),
                "extra_p50_ms": longer.median(),
                "extra_max_ms": longer.max(),
                "away_extra_p50_ms": pairs[pairs["away"]]["extra_ms"].median(),
                "addresses": mine["source"].nunique(),
                "prefixes": prefixes(e.plan, way),
            }
        )
    return pd.DataFrame(rows)


def _share(counted: pd.DataFrame, what: str) -> float:
    return float(counted[what].sum() / max(1, counted["fetches"].sum()))


def prefixes(made: Plan, way: str) -> int:
    """How many prefixes every router of the Internet keeps for what servers send from."""
    pops = len(made.edges)
    return {OWN: pops, AT_HOME: pops + 1}.get(way, 1)


def _checks(
    e: Evidence, ways: Mapping[Any, Mapping[Any, Any]], landings: pd.DataFrame
) -> Iterator[Check]:
    home = e.samples[(e.samples["check"] == Asked.NONE) & (e.samples["way"] != PLAIN)]
    good = int((home["outcome"] == "ok").sum())
    yield Check(
        "every reply comes home, whoever announces", 0 < len(home) == good, f"{good} of {len(home)}"
    )
    yield _counted("replies land where the model says, as switches count", landings, "landed")
    yield _counted("upstreams refuse what the model says", landings, "refused")
    yield _spoken(e)
    yield from _lost(e)
    elsewhere, own = (ways[way]["elsewhere_share"] for way in (EVERYWHERE, AT_HOME))
    yield Check(
        "control: announced everywhere some replies land elsewhere",
        bool(elsewhere > 0),
        f"{elsewhere:.1%} of {EVERYWHERE}",
    )
    yield Check(
        "twin: with their pieces announced from home none do",
        bool(own == 0),
        f"{own:.1%} of {AT_HOME}",
    )
    yield from _refused(e, landings)


def _counted(name: str, landings: pd.DataFrame, what: str) -> Check:
    """Whether every counter is the model's."""
    right = int((landings[what] == landings[f"model_{what}"]).sum())
    total, model = int(landings[what].sum()), int(landings[f"model_{what}"].sum())
    told = (
        f"{right} of {len(landings)} by way, check and PoP; {total} packets, by the model {model}"
    )
    return Check(name, right == len(landings) and model > 0, told)


def _spoken(e: Evidence) -> Check:
    """The speakers of origins' cities name the PoP that the model names, prefix by prefix."""
    said = e.observed["spoken"]
    right = [x["pop"] == landing(e.oracle, x["way"], x["home"], x["origin"]) for x in said]
    known = [x["routers"] == len(e.plan.routers) for x in said]
    homes = {x["home"] for x in said if x["way"] == AT_HOME}
    return Check(
        "the speakers say so too, and every router knows every prefix",
        bool(said) and all(right) and all(known) and homes == set(e.oracle.pops),
        f"{sum(right)} of {len(right)}, by prefix and origin; pieces of {len(homes)} PoPs",
    )


def _lost(e: Evidence) -> tuple[Check, Check]:
    plain = (e.samples["way"] == PLAIN) & (e.samples["check"] == Asked.NONE)
    return egress.plain_anycast_checks(e.samples[plain], e.plan)


def _refused(e: Evidence, landings: pd.DataFrame) -> Iterator[Check]:
    """What strict upstreams must refuse, and what they must take."""
    strict = landings[landings["check"] == Asked.STRICT]
    owner, alone = e.observed["owner"], strict["way"] == ALONE
    others = strict[alone & (strict["pop"] != owner)]
    refused = int(others["refused"].sum())
    yield Check(
        "control: where one PoP announces, strict upstreams refuse all of the others",
        0 < refused == int(others["fetches"].sum()),
        f"{refused} of {int(others['fetches'].sum())}; {owner} announces",
    )
    taken = strict[strict["way"].isin([OWN, AT_HOME]) | (alone & (strict["pop"] == owner))]
    yield Check(
        "twin: they take what a PoP sends from what it announces as its own",
        int(taken["refused"].sum()) == 0 < int(taken["fetches"].sum()),
        f"{int(taken['refused'].sum())} of {int(taken['fetches'].sum())} refused",
    )


def _answer(metrics: Mapping[str, Metric]) -> str:
    names = ("everywhere_elsewhere_share", "everywhere_away_extra_p50", "at_home_prefixes")
    share, extra, prefixes = (metrics[name].value for name in names)
    refused = metrics["one_pop_strict_refused_share"].value
    if share is None or extra is None or refused is None:
        return "Not every way was answered, so there is nothing to compare."
    longer = f"{abs(extra):.1f} ms {'less' if extra < 0 else 'more'}"
    return (
        f"Announced everywhere {share:.0%} of replies land elsewhere ({longer} for them, median);"
        f" none with {prefixes} prefixes, pieces from home; announced by one PoP strict upstreams"
        f" refuse {refused:.0%}."
    )


def draw(e: Evidence, findings: Findings, folder: Path) -> list[Path]:
    """What lands elsewhere, is refused and is lost; and what the way home adds."""
    from experiments.show.figures import announcing as figure

    path = folder / "announcing.png"
    return [figure.draw(findings.tables["ways"], extra_ms(e), path)]


STUDY = Study(
    name="announcing",
    question="By which announcement of borrowed addresses do replies come home, at what price?",
    baselines=(
        "own: an address of each server's own, in its PoP's prefix",
        "one PoP: it announces what all borrow",
    ),
    controls=(
        "plain anycast must lose the replies that land in another PoP",
        "announced everywhere, some must land in another PoP",
        "strict upstreams must refuse PoPs that do not announce what they borrow",
    ),
    parameters={
        "fetches": Parameter(4, 2, "fetches of each server from each origin, by each way", least=1),
        "rate_per_s": Parameter(200, 200, "fetches per second in the whole network", least=SOME),
        "timeout_s": Parameter(0.8, 0.8, "when a fetch is given up, seconds", least=SOME),
    },
    trial=trial,
    evaluate=evaluate,
    draw=draw,
    prepare=prepare,
    families=(4,),  # what is lent is IPv4
    policies=(Policy.BGP,),
    upstreams=(Upstream.BGP,),
    timed=Timed(("way", "check", "pop"), where=lambda s: s["way"] != PLAIN, arm="way"),
)
