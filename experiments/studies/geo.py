"""Does a user leave with an address of their own country, from the nearest PoP?

Three places go with a fetch for a user: their country, the PoP where they landed, and the country
that the geofeed gives the address which the origin sees. Anycast decides the second; the first and
the third should agree. Every server borrows of the tag of every country. For each client the
server that answers it fetches from every origin, by each design:

- ``pop country``: each PoP has addresses of its own country alone,
- ``one owner``: one server has the address of a country, all others go through it by CONNECT,
- ``borrowed``: any server leaves by any country's tag, by leases,
- ``abroad``: the country has one address, which is at home in another PoP.

Then PoPs are withdrawn, one after the other, and their clients land in the next one.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import pools
from experiments.errors import RefusedError, UsageError
from experiments.parameters import SOME, Parameter, Value
from experiments.study import Evidence, Findings, Study, Trial, total
from experiments.verdict.result import Check, Metric
from experiments.verdict.truth import Timed
from topologies.model import Network
from topologies.plan import HostPlan, HostRole, Plan

if TYPE_CHECKING:
    import pandas as pd

    from experiments.measure.http import HttpRow, Request

POP_COUNTRY, OWNER, BORROWED, ABROAD = "pop country", "one owner", "borrowed", "abroad"
WRONG, NOWHERE = "another country", "no such tag"
DESIGNS = (POP_COUNTRY, OWNER, BORROWED, ABROAD)
EVERYWHERE = (POP_COUNTRY, OWNER, BORROWED)
"""The designs that are tried while a PoP is withdrawn too."""
NO_TAG = "nowhere"
"""A tag that no pool has."""
SCARCE = "-scarce"
"""Ends the tag of a country's pool that has an address for one PoP alone."""
BORROW_SPACING_S = 0.1
"""A server's door opens ten times a second."""


# -- the network


def prepare(network: Network, _params: Mapping[str, Value]) -> Network:
    """Two pools for each country that has a client or a PoP; every server borrows of the first.

    The first has addresses enough for each PoP to open its own, the other as few as can be.
    """
    countries = _countries(network)
    servers = [pop.servers for pop in network.pops]
    ports = pools.PORTS >> network.port_set_bits
    enough = pools.one_prefix(pools.addresses_for(servers, ports))
    few = pools.one_prefix(pools.addresses_for([len(servers)], ports))
    wanted = [pools.Wanted(tag(x), enough, x) for x in countries]
    wanted += [pools.Wanted(scarce(x), few, x) for x in countries]
    borrow = dict.fromkeys((*network.borrow, *map(tag, countries)))
    return replace(pools.with_pools(network, wanted), borrow=tuple(borrow))


def _countries(network: Network) -> list[str]:
    """Those of the cities with a client or a PoP. Raises UsageError if no client has one."""
    clients = {network.city(at.city).country for at in network.clients} - {""}
    if not clients:
        raise UsageError(
            f"No client of {network.name} is in a country: give its cities a country each."
        )
    return sorted((clients | {network.city(pop.city).country for pop in network.pops}) - {""})


def tag(country: str) -> str:
    """What a server asks for to be seen in a country."""
    return country.lower()


def scarce(country: str) -> str:
    """The tag of a country's pool that has an address for one PoP alone."""
    return f"{tag(country)}{SCARCE}"


# -- what is done


@dataclass(frozen=True, slots=True)
class Landing:
    """Where a client of a country is served."""

    client: HostPlan
    country: str
    server: HostPlan


@dataclass(frozen=True, slots=True)
class Fetch:
    """One fetch for a client: by which tag, through the proxy of which server."""

    design: str
    landing: Landing
    tag: str
    via: HostPlan
    origin: HostPlan


def trial(t: Trial) -> None:
    """Fetch for every client as the network stands, then with PoPs withdrawn."""
    t.observed["landed"] = []
    landings = _land(t, "")
    with t.step("the pools of one address are borrowed from"):
        _borrow_scarce(t, landings)
    before = t.counters()
    plans = [*_fetches(t, landings, DESIGNS), *_wrong(t, landings)]
    _fetch(t, "", plans)
    _fetch(t, "", _nowhere(t, landings))
    abroad = total(t.counters_since(before), "abroad")
    for pop in _busiest(t, landings)[: t.count("outages")]:
        t.lab.control.pop_withdraw(pop)
        _fetch(t, pop, list(_fetches(t, _land(t, pop), EVERYWHERE)))
        t.lab.control.pop_announce(pop)
    t.observed |= {
        "abroad_packets": abroad,
        "geofeed": t.lab.controller_api.geofeed(),
        "leases": _leases(t),
        "owners": {x: _owner(t, x).city for x in _served(t)},
        "refusal": _ask_book_for_no_tag(t),
    }


def _land(t: Trial, without: str) -> list[Landing]:
    """Let every client ask the service who serves it, and note it beside what the model says."""
    from experiments.measure.http import Request, get

    clients = [x for x in t.plan.hosts_of(HostRole.CLIENT) if _country(t.plan, x.city)]
    rows = get([Request(x.name, t.service) for x in clients], timeout_s=TIMEOUT_S)
    found = []
    for client, row in zip(clients, rows, strict=True):
        server = row.fields.get("server")
        t.observed["landed"].append(
            {
                "without": without,
                "client": client.name,
                "pop": row.fields.get("pop"),
                "nearest": t.oracle.nearest_pops(client.name, without),
            }
        )
        if server is not None:
            country = _country(t.plan, client.city)
            found.append(Landing(client, country, t.plan.host(server)))
    return found


TIMEOUT_S = 10.0
"""When a fetch is given up: none of them should be."""


def _country(plan: Plan, city: str) -> str:
    return plan.network.city(city).country


def _served(t: Trial) -> list[str]:
    """The countries that have clients."""
    cities = {_country(t.plan, x.city) for x in t.plan.hosts_of(HostRole.CLIENT)}
    return sorted(cities - {""})


def _borrow_scarce(t: Trial, landings: Sequence[Landing]) -> None:
    """Open each country's one address where its clients do not land, then borrow where they do."""
    for country in _served(t):
        landed = {x.server.city for x in landings if x.country == country}
        pops = [edge.city for edge in t.plan.edges if t.plan.servers_of(edge.city)]
        elsewhere = [pop for pop in pops if pop not in landed]
        for pop in (*elsewhere[:1], *sorted(landed)):
            time.sleep(BORROW_SPACING_S)
            t.lab.control.server_borrow(t.plan.servers_of(pop)[0].name, tag=scarce(country))


def _owner(t: Trial, country: str) -> HostPlan:
    """The one server that has a country's address: in the PoP that is nearest to its clients."""
    clients = [x for x in t.plan.hosts_of(HostRole.CLIENT) if _country(t.plan, x.city) == country]

    def delay(pop: str) -> int:
        return sum(t.oracle.delay_ns(x.name, t.plan.edge(pop).name) for x in clients)

    return t.plan.servers_of(min(t.oracle.pops, key=delay))[0]


def _busiest(t: Trial, landings: Sequence[Landing]) -> list[str]:
    """The PoPs that can be withdrawn, those with most clients first; one must be left."""
    served = Counter(x.server.city for x in landings)
    return sorted(served, key=lambda pop: -served[pop])[: len(t.oracle.pops) - 1]


def _fetches(t: Trial, landings: Sequence[Landing], designs: Sequence[str]) -> Iterator[Fetch]:
    for landing in landings:
        server = landing.server
        first = t.plan.servers_of(server.city)[0]
        ways = {
            POP_COUNTRY: (tag(_country(t.plan, server.city)), server),
            OWNER: (tag(landing.country), _owner(t, landing.country)),
            BORROWED: (tag(landing.country), server),
            ABROAD: (scarce(landing.country), first),
        }
        for origin in t.plan.hosts_of(HostRole.ORIGIN):
            for design in designs:
                yield from [Fetch(design, landing, *ways[design], origin)] * t.count("fetches")


def _wrong(t: Trial, landings: Sequence[Landing]) -> Iterator[Fetch]:
    """One fetch for each client by the tag of the next country, if there is another."""
    countries = _countries(t.plan.network)
    origin = t.plan.hosts_of(HostRole.ORIGIN)[0]
    for landing in landings:
        other = countries[(countries.index(landing.country) + 1) % len(countries)]
        if other != landing.country:
            yield Fetch(WRONG, landing, tag(other), landing.server, origin)


def _nowhere(t: Trial, landings: Sequence[Landing]) -> list[Fetch]:
    """One fetch for each client by a tag that no pool has."""
    origin = t.plan.hosts_of(HostRole.ORIGIN)[0]
    return [Fetch(NOWHERE, x, NO_TAG, x.server, origin) for x in landings]


def _fetch(t: Trial, without: str, fetches: list[Fetch]) -> None:
    from experiments.measure.http import get

    t.random.shuffle(fetches)
    spacing_s = 1 / t.param("rate_per_s")
    what = f"{len(fetches)} fetches" + (f" without {without}" if without else "")
    with t.timed_step(what, len(fetches) * spacing_s):
        rows = get([_request(x) for x in fetches], timeout_s=TIMEOUT_S, spacing_s=spacing_s)
    for fetch, row in zip(fetches, rows, strict=True):
        _emit(t, without, fetch, row)


def _request(fetch: Fetch) -> Request:
    from experiments.measure.http import Proxy, Request

    proxy = Proxy(fetch.via.address, tag=fetch.tag)
    return Request(fetch.landing.server.name, fetch.origin.address, proxy=proxy, warm=True)


def _emit(t: Trial, without: str, fetch: Fetch, row: HttpRow) -> None:
    server, via, origin = fetch.landing.server, fetch.via.name, fetch.origin.name
    home = t.oracle.nearest_pops(origin, without)[0]
    port = row.fields.get("client_port")
    to_via_ms = t.oracle.rtt_ms(server.name, via)
    t.reporter.emit(
        {
            "without": without,
            "design": fetch.design,
            "client": fetch.landing.client.name,
            "country": fetch.landing.country,
            "pop": server.city,
            "pop_country": _country(t.plan, server.city),
            "server": server.name,
            "origin": origin,
            "tag": fetch.tag,
            "outcome": row.outcome,
            "seen_address": row.fields.get("client"),
            "seen_port": None if port is None else int(port),
            "rtt_ms": None if row.warm_rtt_ns is None else row.warm_rtt_ns / 1e6,
            "model_rtt_ms": to_via_ms + t.oracle.borrowed_rtt_ms(via, origin, (home,)),
        }
    )


def _leases(t: Trial) -> list[dict[str, Any]]:
    """Who may use what, by the book."""
    facts = ("address", "first_port", "last_port", "tag", "pop", "home")
    return [{x: lease[x] for x in facts} for lease in t.lab.control.leases()]


def _ask_book_for_no_tag(t: Trial) -> str:
    """What the book says to a borrower that asks for no pool's tag; empty if it lends."""
    server = t.plan.hosts_of(HostRole.SERVER)[0]
    try:
        t.lab.control.lease_acquire(server.name, tag=NO_TAG, client_id=NAME)
    except RefusedError as refused:
        return str(refused)
    return ""


NAME = "geo"
"""The client identifier of what is asked for by hand."""


# -- what the evidence says


def evaluate(e: Evidence) -> Findings:
    """By design: how many fetches had the right country, left where they landed, how quickly."""
    from experiments import stats
    from experiments.measure import geofeed

    fetches = fetches_table(e)
    designs, detours = designs_table(fetches), _detours(fetches)
    metrics = {
        "countries": Metric(int(fetches["country"].nunique()), "1"),
        "clients": Metric(int(fetches["client"].nunique()), "1"),
        "geofeed_rows": Metric(len(geofeed.parse(e.observed["geofeed"]).rows), "1"),
        "addresses": Metric(len({x["address"] for x in e.observed["leases"]}), "1"),
    }
    for row in designs.to_dict("records"):
        name = row["design"].replace(" ", "_")
        metrics[f"{name}_accuracy"] = Metric(row["accuracy"], "1")
        metrics[f"{name}_local_share"] = Metric(row["local_share"], "1")
        metrics[f"{name}_rtt_p50"] = Metric(row["rtt_p50_ms"], "ms")
    metrics |= {
        "pop_country_accuracy_model": Metric(_nearest_is_home(fetches), "1"),
        "detour_p50": Metric(stats.median(detours), "ms"),
        "detour_max": Metric(stats.quantile(detours, 1.0), "ms"),
        "sets_abroad": Metric(len(_lent_abroad(e.observed["leases"])), "1"),
        "abroad_packets": Metric(e.observed["abroad_packets"], "packets"),
    }
    checks = _checks(e, fetches)
    return Findings(_answer(metrics), metrics, checks, {"designs": designs})


def fetches_table(e: Evidence) -> pd.DataFrame:
    """Every fetch with the country of the address that the origin saw, and the PoP it left from.

    The geofeed tells the country, the book the PoP: neither asks what was wished for.
    """
    from experiments.measure import geofeed

    feed, holders = geofeed.parse(e.observed["geofeed"]), _holders(e.observed["leases"])
    table = e.samples.copy()
    table["seen_country"], table["egress_pop"] = None, None
    for at, address, port in e.samples[["seen_address", "seen_port"]].dropna().itertuples():
        table.loc[at, "seen_country"] = feed.country(address)
        table.loc[at, "egress_pop"] = _holder(holders, address, int(port))
    return table.assign(
        right=table["seen_country"] == table["country"],
        local=table["egress_pop"] == table["pop"],
        withdrawn=table["without"] != "",
    )


_Holders = Mapping[str, Sequence[tuple[int, int, str]]]
"""By address: first and last port, and the holder's PoP."""


def _holders(leases: Sequence[Mapping[str, Any]]) -> _Holders:
    found: defaultdict[str, list[tuple[int, int, str]]] = defaultdict(list)
    for x in leases:
        found[x["address"]].append((x["first_port"], x["last_port"], x["pop"]))
    return found


def _holder(holders: _Holders, address: str, port: int) -> str | None:
    """The PoP of whoever holds a port of an address; None if nobody does."""
    sets = holders.get(address, ())
    return next((pop for first, last, pop in sets if first <= port <= last), None)


def designs_table(fetches: pd.DataFrame) -> pd.DataFrame:
    """A row per design: what was answered, in the right country, from where the client landed."""
    import pandas as pd

    from experiments import stats

    rows = []
    for design in DESIGNS:
        mine = fetches[fetches["design"] == design]
        good = mine[mine["outcome"] == "ok"]
        usual, away = (good[good["withdrawn"] == withdrawn] for withdrawn in (False, True))
        rows.append(
            {
                "design": design,
                "fetches": len(mine),
                "ok": len(good),
                "accuracy": stats.share(int(good["right"].sum()), len(good)),
                "accuracy_usual": stats.share(int(usual["right"].sum()), len(usual)),
                "accuracy_withdrawn": stats.share(int(away["right"].sum()), len(away)),
                "local_share": stats.share(int(good["local"].sum()), len(good)),
                "rtt_p50_ms": stats.median(usual["rtt_ms"]),
                "rtt_withdrawn_p50_ms": stats.median(away["rtt_ms"]),
            }
        )
    return pd.DataFrame(rows)


def _nearest_is_home(fetches: pd.DataFrame) -> float | None:
    """The share of fetches that a PoP with addresses of its own country alone does right."""
    from experiments import stats

    mine = fetches[fetches["design"] == POP_COUNTRY]
    return stats.share(int((mine["pop_country"] == mine["country"]).sum()), len(mine))


def _detours(fetches: pd.DataFrame) -> pd.Series[float]:
    """By how many ms one owner is slower than borrowing, where it stands in another PoP."""
    where = ["without", "client", "origin"]
    good = fetches[fetches["outcome"] == "ok"]
    forwarded = good[(good["design"] == OWNER) & ~good["local"]]
    borrowed = good[good["design"] == BORROWED]
    owner_ms, borrowed_ms = (x.groupby(where)["rtt_ms"].median() for x in (forwarded, borrowed))
    return (owner_ms - borrowed_ms).dropna()


def _checks(e: Evidence, fetches: pd.DataFrame) -> tuple[Check, ...]:
    designs = {x: fetches[fetches["design"] == x] for x in (*DESIGNS, WRONG, NOWHERE)}
    tried = fetches[fetches["design"].isin(DESIGNS)]
    return (
        _landed(e.observed["landed"]),
        _every("every fetch by a tag is answered", tried["outcome"] == "ok", "fetches"),
        _every("who borrows has the right country", designs[BORROWED]["right"], "fetches"),
        _every("and leaves where its client landed", designs[BORROWED]["local"], "fetches"),
        _one_owner(e.observed["owners"], designs[OWNER]),
        _own_country_alone(designs[POP_COUNTRY]),
        *_abroad(e, designs[ABROAD]),
        _wrong_is_found(designs[WRONG], e.plan.network),
        _nobody_lends_nowhere(e.observed["refusal"], designs[NOWHERE]),
    )


def _every(name: str, good: pd.Series[bool], what: str) -> Check:
    return Check(name, 0 < len(good) == int(good.sum()), f"{int(good.sum())} of {len(good)} {what}")


def _landed(landed: Sequence[Mapping[str, Any]]) -> Check:
    right = sum(x["pop"] in x["nearest"] for x in landed)
    return Check(
        "every client lands in the nearest PoP that is announced",
        0 < len(landed) == right,
        f"{right} of {len(landed)}, once for each PoP that is withdrawn and once without",
    )


def _one_owner(owners: Mapping[str, str], mine: pd.DataFrame) -> Check:
    right = mine["right"] & (mine["egress_pop"] == mine["country"].map(owners))
    return _every("one owner gives the right country, from its own PoP", right, "fetches")


def _own_country_alone(mine: pd.DataFrame) -> Check:
    """The baseline is no better and no worse than its address: the PoP's country, whoever asks."""
    as_the_pop = mine["seen_country"] == mine["pop_country"]
    return _every("without tags an address is of its PoP's country", as_the_pop, "fetches")


def _abroad(e: Evidence, mine: pd.DataFrame) -> Iterator[Check]:
    away = _lent_abroad(e.observed["leases"])
    name = "a pool that is dry here lends abroad, and the country is still right"
    if len(e.plan.edges) < 2:
        yield Check(name, None, "this network has one PoP")
        return
    right = mine["right"] & mine["local"]
    yield Check(
        name,
        bool(away) and 0 < len(right) == int(right.sum()),
        f"{len(away)} sets are lent abroad; {int(right.sum())} of {len(right)} fetches have the "
        "right country and leave where their client landed",
    )


def _lent_abroad(leases: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The leases of the scarce tags whose address is at home in another PoP."""
    return [x for x in leases if x["tag"].endswith(SCARCE) and x["pop"] != x["home"]]


def _wrong_is_found(mine: pd.DataFrame, network: Network) -> Check:
    name = "control: an address of another country is found out"
    if len(_countries(network)) < 2:
        return Check(name, None, "all of this network is in one country")
    found = (mine["outcome"] == "ok") & ~mine["right"] & mine["seen_country"].notna()
    return _every(name, found, "fetches by another country's tag")


def _nobody_lends_nowhere(refusal: str, mine: pd.DataFrame) -> Check:
    refused = int((mine["outcome"] == "proxy refused").sum())
    told = "no pool is tagged" in refusal
    return Check(
        "control: a tag that no pool has gives no connection",
        told and 0 < len(mine) == refused,
        f"{refused} of {len(mine)} fetches were refused; the book "
        + ("says why" if told else "lends"),
    )


def _answer(metrics: Mapping[str, Metric]) -> str:
    names = ("borrowed_accuracy", "pop_country_accuracy", "one_owner_local_share", "detour_p50")
    borrowed, plain, local, detour = (metrics[name].value for name in names)
    if borrowed is None or plain is None or local is None:
        return "Too little was answered to tell with which country users leave."
    longer = "" if detour is None else f", {detour:.1f} ms farther (median)"
    return (
        f"Of the fetches {borrowed:.0%} leave with their user's country, {plain:.0%} where a PoP "
        f"has its own country's addresses alone; one owner of each country serves {1 - local:.0%} "
        f"from another PoP{longer}."
    )


def draw(e: Evidence, findings: Findings, folder: Path) -> list[Path]:
    """How many leave with the right country, and how long the way is."""
    from experiments.show.figures import geo as figure

    fetches = fetches_table(e)
    return [figure.draw(findings.tables["designs"], fetches, folder / "geo.png")]


STUDY = Study(
    name="geo",
    question="Does a user leave with an address of their own country, from the nearest PoP?",
    baselines=(
        "pop country: each PoP has addresses of its own country alone",
        "one owner: one server has a country's address, the others forward to it",
    ),
    controls=(
        "a tag that no pool has must give no connection",
        "an address of another country must be found out",
    ),
    parameters={
        "fetches": Parameter(5, 1, "fetches per client, origin and design", least=1),
        "rate_per_s": Parameter(30, 30, "fetches per second in the whole network", least=SOME),
        "outages": Parameter(
            2, 1, "PoPs that are withdrawn, one after the other, busiest first", least=1
        ),
    },
    prepare=prepare,
    families=(4,),  # what is lent is IPv4
    trial=trial,
    evaluate=evaluate,
    draw=draw,
    timed=Timed(
        ("design", "without", "client", "origin"),
        where=lambda s: s["design"].isin(DESIGNS),
        floor_us=1000.0,  # proxies on the way compute
        arm="design",
    ),
)
