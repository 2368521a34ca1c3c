"""How even does agility make the load of addresses, and how soon is one of them left?

Clients ask the DNS for names, some of which are far more popular than others, and fetch by HTTP.
Names are bound to service addresses at random for each query, by a hash, or all to one. Then all
names leave an address that is attacked, and the study looks who still goes there: those whose
resolvers keep an answer, or whose connections are open.
"""

from __future__ import annotations

import itertools
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import IPv4Address, IPv4Network, collapse_addresses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.errors import UsageError
from experiments.parameters import SOME, Parameter, Value
from experiments.runs.spec import Spec
from experiments.study import Evidence, Findings, Study, Trial
from experiments.verdict import names
from experiments.verdict.result import Check, Metric
from experiments.verdict.truth import Timed
from topologies import family as families
from topologies.model import Names, Network
from topologies.plan import HostPlan, HostRole, Plan

if TYPE_CHECKING:
    import pandas as pd

    from experiments.measure.visits import Change, Keeping, Place, Visit
    from experiments.show.figures.names import Late

NEEDED = 3
"""Service addresses at least: of the name servers, the one that is attacked, and its heir."""

PREFIX = IPv4Network("198.51.96.0/20")
"""Where service addresses are taken from if the network has too few."""

AROUND_S = 1.0
"""How long clients visit before names leave an address, and after all could have left it."""

SLACK_S, SLACK_RTTS = 0.05, 4
"""So much later than by the model a visit may be sent or be over, since it takes round trips."""

STEEPEST = 10
"""The largest exponent of popularity: by it one visit in a thousand is not to the first name."""

SIGMAS = 5.0
"""How many standard deviations chance is allowed."""

SURE = 1e-4
"""Chance is believed to have done what it does in more than this share of cases."""

ALIKE = 0.98
"""The share of visits that must do exactly what the model says: it has no round trips."""

TTL, HOLD = "ttl", "hold"


@dataclass(frozen=True, slots=True)
class Binding:
    """An arm that loads addresses: how names are bound, and to how many."""

    how: Names
    count: int

    @property
    def name(self) -> str:
        """As it stands in the samples."""
        return f"{self.how} {self.count}"


@dataclass(frozen=True, slots=True)
class Leaving:
    """An arm that leaves an address: what is kept for how long, s.

    ``withdrawn`` tells whether no PoP announces the address any more, either.
    """

    ttl_s: float
    hold_s: float = 0.0
    withdrawn: bool = False

    @property
    def name(self) -> str:
        """As it stands in the samples."""
        held = f" {HOLD} {self.hold_s:g}" if self.hold_s else ""
        return f"{TTL} {self.ttl_s:g}{held}{' withdrawn' if self.withdrawn else ''}"

    @property
    def bound_s(self) -> float:
        """After so long nobody goes there: the TTL, and what connections outlive it."""
        return self.ttl_s + self.hold_s

    @property
    def moved_s(self) -> float:
        """When names leave, since the arm's start: connections are as they will stay by then."""
        return AROUND_S + self.hold_s

    @property
    def seconds(self) -> float:
        """How long the arm is."""
        return self.moved_s + self.bound_s + AROUND_S


def bindings(spec: Spec) -> tuple[Binding, ...]:
    """What is compared; ``one`` leaves all others of the most addresses idle."""
    counts = _counts(spec.params)
    arms = itertools.product((Names.RANDOM, Names.STATIC), counts)
    return (*itertools.starmap(Binding, arms), Binding(Names.ONE, max(counts)))


def leavings(spec: Spec) -> tuple[Leaving, ...]:
    """Each time-to-live, then with connections that are held, then withdrawn."""
    ttls = _floats(spec.params, "ttls_s")
    longest = max(ttls)
    held = Leaving(longest, spec.number("hold_s"))
    return (*map(Leaving, ttls), held, Leaving(longest, withdrawn=True))


def prepare(network: Network, params: Mapping[str, Value]) -> Network:
    """The network with as many service addresses as the study binds names to.

    Raises UsageError for parameters that leave nothing to measure.
    """
    counts = _counts(params)
    if min(counts) < 2:
        raise UsageError(f"On {min(counts)} address there is nothing to spread: use 2 or more.")
    exponent = params["zipf"]
    assert isinstance(exponent, int | float)
    if exponent > STEEPEST:
        raise UsageError(f"zipf is {STEEPEST} at most, not {exponent:g}: one name has it all then.")
    if min(_floats(params, "ttls_s")) <= 0:
        raise UsageError("A resolver that keeps nothing leaves at once: use a TTL above 0 s.")
    needed = max(*counts, NEEDED)
    if len(network.services) >= needed:
        return network
    longest = 32 - math.ceil(math.log2(needed))
    if longest < PREFIX.prefixlen:
        raise UsageError(f"{needed} addresses are more than {PREFIX} has: use 4096 or fewer.")
    prefix = IPv4Network((PREFIX.network_address, longest))
    return replace(network, service_prefixes=(prefix,))


def _counts(params: Mapping[str, Value]) -> tuple[int, ...]:
    return tuple(int(count) for count in _floats(params, "addresses"))


def _floats(params: Mapping[str, Value], name: str) -> tuple[float, ...]:
    found = params[name]
    assert isinstance(found, tuple)
    return tuple(float(value) for value in found)


def roles(network: Network) -> tuple[IPv4Address, IPv4Address]:
    """The address that is attacked, and the one where names go then; name servers have neither."""
    others = names.addresses(network.services, len(network.services))
    attacked, heir = [ip for ip in others if ip != network.services[0]][:2]
    return attacked, heir


def shares(spec: Spec) -> list[float]:
    """The popularity of each name."""
    return names.popularity(int(spec.number("names")), spec.number("zipf"))


def rates(spec: Spec, clients: int) -> list[float]:
    """Visits a second of each client to each name, client by client."""
    each = spec.number("rate_per_s") / clients
    return [each * share for _ in range(clients) for share in shares(spec)]


def visitors(spec: Spec, made: Plan) -> tuple[HostPlan, ...]:
    """The clients that visit while an address is left, apart in the network's order.

    Among many clients each would ask so seldom that its cache had hardly anything to remember.
    """
    clients, most = made.hosts_of(HostRole.CLIENT), int(spec.number("visitors"))
    return clients[:: -(-len(clients) // most)]


# -- what is done in the lab


def trial(t: Trial) -> None:
    """First the loads, binding by binding; then an address is left, arm by arm."""
    t.observed["left"] = {}
    for number, binding in enumerate(bindings(t.spec)):
        _load(t, binding, number)
    for number, leaving in enumerate(leavings(t.spec)):
        _leave(t, leaving, number)


def planned(
    spec: Spec, clients: Sequence[HostPlan], arm: Leaving, number: int
) -> tuple[dict[Place, float], list[tuple[Place, float]]]:
    """What is left of cached answers at the start of an arm, s, and all visits: where and when."""
    chance, zone = random.Random(f"{spec.seed} leave {number}"), spec.network.zone
    count = int(spec.number("names"))
    places = [(c.name, names.named(n, zone)) for c in clients for n in range(count)]
    each = rates(spec, len(clients))
    left = dict(zip(places, names.primed(each, arm.ttl_s, chance), strict=True))
    visits = [(places[n], at_s) for at_s, n in names.schedule(each, arm.seconds, chance)]
    return left, visits


def _load(t: Trial, arm: Binding, number: int) -> None:
    """Visits at a steady rate by clients that remember nothing."""
    from experiments.measure.visits import Keeping, Visit

    network, chance = t.plan.network, random.Random(f"{t.spec.seed} load {number}")
    clients, apart_s = t.plan.hosts_of(HostRole.CLIENT), 1 / t.param("load_per_s")
    _bind(t, arm.how, names.addresses(network.services, arm.count))
    drawn = chance.choices(range(t.count("names")), shares(t.spec), k=t.count("visits"))
    visits = [
        Visit(chance.choice(clients).name, names.named(n, network.zone), turn * apart_s)
        for turn, n in enumerate(drawn)
    ]
    with t.timed_step(f"{len(visits)} visits, names bound {arm.name}", len(visits) * apart_s):
        _visit(t, arm.name, arm.how, visits, {}, Keeping(0.0))


def _leave(t: Trial, arm: Leaving, number: int) -> None:
    """All names leave the attacked address while clients visit; caches begin as they stay."""
    from experiments.measure.visits import Keeping, Visit

    left, places = planned(t.spec, visitors(t.spec, t.plan), arm, number)
    visits = [Visit(*place, at_s) for place, at_s in places]
    attacked, heir = roles(t.plan.network)
    _bind(t, Names.ONE, [attacked])
    times_ns: dict[str, int] = {}

    def move() -> None:
        _bind(t, Names.ONE, [heir])
        times_ns["moved"] = time.monotonic_ns()
        if arm.withdrawn:
            _everywhere(t, t.lab.control.service_withdraw, attacked)
        times_ns["gone"] = time.monotonic_ns()

    known = {place: left_s for place, left_s in left.items() if left_s}
    with t.timed_step(f"names leave an address, {arm.name}", arm.seconds):
        keeping = Keeping(arm.ttl_s, arm.hold_s)
        began_ns = _visit(t, arm.name, Names.ONE, visits, known, keeping, (arm.moved_s, move))
    t.observed["left"][arm.name] = {k: (ns - began_ns) / 1e9 for k, ns in times_ns.items()}
    if arm.withdrawn:
        _everywhere(t, t.lab.control.service_announce, attacked)


def _bind(t: Trial, how: Names, among: Sequence[IPv4Address]) -> None:
    prefixes = collapse_addresses(map(IPv4Network, among))
    t.lab.control.names_bind(how, among=",".join(map(str, prefixes)))


def _everywhere(t: Trial, say: Callable[[str, str], None], address: IPv4Address) -> None:
    """Have every PoP announce an address, or withdraw it."""
    for pop in t.oracle.pops:
        say(str(address), pop)
    t.lab.settle()


def _visit(
    t: Trial,
    arm: str,
    binding: Names,
    visits: Sequence[Visit],
    left_s: Mapping[Place, float],
    keeping: Keeping,
    change: Change | None = None,
) -> int:
    """Make visits, and keep what came of them; when they began, by the monotonic clock."""
    from experiments.measure.visits import Visitors

    with Visitors(t.service, keeping, timeout_s=t.param("timeout_s")) as visitors:
        rows = visitors.visit(visits, left_s, change)
    models = {host.name: _model_rtt_ms(t, host) for host in t.plan.hosts_of(HostRole.CLIENT)}
    for row in rows:
        t.reporter.emit(
            {
                "arm": arm,
                "binding": binding.value,
                "client": row.visit.host,
                "city": t.plan.host(row.visit.host).city,
                "name": row.visit.name,
                "planned_s": row.visit.at_s,
                "at_s": None if row.sent_ns is None else (row.sent_ns - visitors.began_ns) / 1e9,
                "asked": row.asked,
                "opened": row.opened,
                "address": None if row.address is None else str(row.address),
                "reached": row.fields.get("host"),
                "pop": row.fields.get("pop"),
                "outcome": row.outcome,
                "rtt_ms": None if row.rtt_ns is None else row.rtt_ns / 1e6,
                "model_rtt_ms": models[row.visit.host],
            }
        )
    return visitors.began_ns


def _model_rtt_ms(t: Trial, client: HostPlan) -> float:
    """To a server of the nearest PoP."""
    nearest = t.plan.servers_of(t.oracle.nearest_pops(client.name)[0])[0]
    return t.oracle.rtt_ms(client.name, nearest.name)


# -- what the evidence says


def evaluate(e: Evidence) -> Findings:
    """Loads beside chance and popularity; who comes late beside caches in the steady state."""
    loads, leaving = loads_table(e), leaving_table(e)
    metrics = {"names": Metric(int(e.spec.number("names")), "1")}
    metrics |= {
        name: metric for arm in bindings(e.spec) for name, metric in _evenness(e, arm, loads)
    }
    for row in leaving.to_dict("records"):
        key = str(row["arm"]).replace(" ", "_")
        metrics[f"{key}_left"] = Metric(_known(row["left_s"]), "s")
        metrics[f"{key}_bound"] = Metric(row["bound_s"], "s")
        metrics[f"{key}_late"] = Metric(row["late"], "1")
        metrics[f"{key}_late_model"] = Metric(_known(row["model_late"]), "1")
        metrics[f"{key}_lost"] = Metric(row["lost"], "1")
    checks = (*_load_checks(e, loads), *_leaving_checks(e, leaving))
    tables = {"loads": loads[loads["visits"] > 0], "leaving": leaving}
    return Findings(_answer(e, metrics), metrics, checks, tables)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _of(e: Evidence, arm: Binding | Leaving) -> pd.DataFrame:
    return e.samples[e.samples["arm"] == arm.name]


def _written(e: Evidence, address: IPv4Address) -> str:
    """An address as clients of the run's family know it."""
    return str(families.address(address, e.spec.family))


def loads_table(e: Evidence) -> pd.DataFrame:
    """A row per binding and address: its visits, these over the mean, and the model's share."""
    import pandas as pd

    frames = []
    for arm in bindings(e.spec):
        among = names.addresses(e.plan.network.services, arm.count)
        index = [_written(e, address) for address in among]
        visits = _of(e, arm)["address"].value_counts().reindex(index, fill_value=0)
        frame = pd.DataFrame({"arm": arm.name, "address": index, "visits": visits.to_numpy()})
        frame = frame.assign(over_mean=frame["visits"] * arm.count / max(frame["visits"].sum(), 1))
        frames.append(frame.assign(model_share=_model_shares(e, arm)))
    return pd.concat(frames, ignore_index=True)


def _model_shares(e: Evidence, arm: Binding) -> list[float]:
    match arm.how:
        case Names.RANDOM:
            return [1 / arm.count] * arm.count
        case Names.STATIC:
            return names.hashed_shares(shares(e.spec), e.plan.network.zone, arm.count)
        case Names.ONE:
            return [1.0] + [0.0] * (arm.count - 1)


def _loads(arm: Binding, loads: pd.DataFrame) -> list[int]:
    return [int(visits) for visits in loads[loads["arm"] == arm.name]["visits"]]


def _evenness(e: Evidence, arm: Binding, loads: pd.DataFrame) -> Iterator[tuple[str, Metric]]:
    """The busiest address over the mean, as counted and expected, and the Gini coefficient."""
    from experiments import stats

    visits, key = _loads(arm, loads), arm.name.replace(" ", "_")
    mean = sum(visits) / arm.count
    yield f"{key}_max_over_mean", Metric(max(visits) / mean if mean else None, "times")
    yield f"{key}_max_over_mean_model", Metric(_busiest(e, arm), "times")
    yield f"{key}_gini", Metric(stats.gini(visits), "1")


def _busiest(e: Evidence, arm: Binding) -> float:
    """The expected load of the busiest address, over the mean."""
    if arm.how is Names.RANDOM:
        return names.busiest_of_random(int(e.spec.number("visits")), arm.count)
    return max(_model_shares(e, arm)) * arm.count


def leaving_table(e: Evidence) -> pd.DataFrame:
    """A row per arm that leaves an address: how late somebody came, and how many, s and visits.

    ``left_s`` is when the last visit to it was sent, since names left; ``steady`` arms have a
    closed form (``model_``): connections that are held have none.
    """
    import pandas as pd

    each = rates(e.spec, len(visitors(e.spec, e.plan)))
    attacked, rows = _written(e, roles(e.plan.network)[0]), []
    for number, arm in enumerate(leavings(e.spec)):
        mine, times = _of(e, arm), e.observed["left"][arm.name]
        old = mine[mine["address"] == attacked]
        late = old[old["at_s"] > times["moved"]]
        row: dict[str, Any] = {"arm": arm.name, "ttl_s": arm.ttl_s, "hold_s": arm.hold_s}
        row |= {"withdrawn": arm.withdrawn, "bound_s": arm.bound_s, "visits": len(mine)}
        row |= {"before": len(old) - len(late), "late": len(late)}
        row |= {"left_s": float(late["at_s"].max() - times["moved"]) if len(late) else 0.0}
        row |= {"lost": int((mine["outcome"] != "ok").sum()), "asked": int(mine["asked"].sum())}
        row |= {"alike_share": _alike(e, arm, number, times["moved"])}
        rows.append(row | _steady(each, arm, row["left_s"]))
    numbers = ["model_late", "late_deviation", "model_asked", "left_chance"]
    return pd.DataFrame(rows).astype(dict.fromkeys(numbers, float))


def _steady(each: Sequence[float], arm: Leaving, left_s: float) -> dict[str, float | None]:
    """The closed forms of an arm whose visitors hold no connections."""
    if arm.hold_s:
        return dict.fromkeys(("model_late", "late_deviation", "model_asked", "left_chance"))
    late, deviation = names.late(each, arm.ttl_s)
    return {
        "model_late": late,
        "late_deviation": deviation,
        "model_asked": names.questions(each, arm.ttl_s, arm.seconds),
        "left_chance": names.left_by(each, arm.ttl_s, left_s),
    }


def _alike(e: Evidence, arm: Leaving, number: int, moved_s: float) -> float:
    """The share of an arm's visits that asked, connected and went where the model says."""
    left, visits = planned(e.spec, visitors(e.spec, e.plan), arm, number)
    times: dict[Place, list[float]] = {}
    for place, at_s in visits:
        times.setdefault(place, []).append(at_s)
    ways = {
        place: names.follow(at_s, left[place], arm.ttl_s, arm.hold_s, moved_s)
        for place, at_s in times.items()
    }
    attacked, heir = (_written(e, address) for address in roles(e.plan.network))
    said = [next(ways[place]) for place, _ in visits]
    mine = _of(e, arm)
    seen = zip(mine["asked"], mine["opened"], mine["address"], strict=True)
    model = [(one.asked, one.opened, attacked if one.old else heir) for one in said]
    alike = sum(a == b for a, b in zip(seen, model, strict=True))
    return alike / max(len(model), 1)


def _load_checks(e: Evidence, loads: pd.DataFrame) -> Iterator[Check]:
    arms = bindings(e.spec)
    ours = e.samples[e.samples["arm"].isin([arm.name for arm in arms])]
    right = sum(
        outcome == "ok" and pop in e.oracle.nearest_pops(client)
        for outcome, pop, client in zip(ours["outcome"], ours["pop"], ours["client"], strict=True)
    )
    yield Check(
        "every visit is answered from the nearest PoP, whatever the address",
        0 < len(ours) == right,
        f"{right} of {len(ours)}",
    )
    good = e.samples[e.samples["outcome"] == "ok"]
    reached = int((good["reached"] == good["address"]).sum())
    yield Check(
        "servers are reached at the address that the name had",
        0 < len(good) == reached,
        f"{reached} of {len(good)} visits",
    )
    yield _bound_by_hash(e, arms)
    yield _as_popular(loads)
    offs = {arm.name: names.deviation(_loads(arm, loads)) for arm in arms}
    told = {name: f"{name}: {off:.2g} standard deviations from even" for name, off in offs.items()}
    random_, static = (
        [arm.name for arm in arms if arm.how is how] for how in (Names.RANDOM, Names.STATIC)
    )
    yield Check(
        "twin: a binding at random is as even as chance lets it be",
        all(abs(offs[name]) <= SIGMAS for name in random_),
        "; ".join(told[name] for name in random_),
    )
    yield Check(
        "control: a binding by hash is not: it shows how popular names are",
        all(offs[name] > SIGMAS for name in static),
        "; ".join(told[name] for name in static),
    )


def _slack_s(e: Evidence) -> float:
    """For a question, a handshake and a fetch of the farthest client."""
    return SLACK_S + SLACK_RTTS * float(e.samples["model_rtt_ms"].max()) / 1000


def _bound_by_hash(e: Evidence, arms: Sequence[Binding]) -> Check:
    """Every visit by hash, or to the one address, goes where the model says."""
    total = wrong = 0
    for arm in arms:
        if arm.how is Names.RANDOM:
            continue
        among = names.addresses(e.plan.network.services, arm.count)
        written = [_written(e, address) for address in among]
        for name, address in zip(_of(e, arm)["name"], _of(e, arm)["address"], strict=True):
            place = names.place(name, arm.count) if arm.how is Names.STATIC else 0
            wrong += address != written[place]
            total += 1
    name = "by hash every visit goes to the address of its name, and by one to the first"
    return Check(name, total > 0 and wrong == 0, f"{total - wrong} of {total}")


def _as_popular(loads: pd.DataFrame) -> Check:
    """Each address has the popularity of its names; rare ones may come by chance, if not often."""
    total = loads.groupby("arm")["visits"].transform("sum")
    expected = total * loads["model_share"]
    bound = SIGMAS * (expected * (1 - loads["model_share"])).clip(lower=0) ** 0.5 + SIGMAS
    off = (loads["visits"] - expected).abs() / bound
    return Check(
        "every address is visited as often as the closed form says",
        bool((off <= 1).all()) and bool((total > 0).all()),
        f"{len(loads)} loads; the worst is at {float(off.max()):.0%} of its bound",
    )


def _leaving_checks(e: Evidence, table: pd.DataFrame) -> Iterator[Check]:
    worst = float((table["left_s"] - table["bound_s"]).max())
    yield Check(
        "nobody goes to an address for longer than its TTL and held connections allow",
        worst <= _slack_s(e) and bool(table["late"].any()),
        "; ".join(
            f"{x['arm']}: {x['left_s']:.2f} of {x['bound_s']:g} s" for _, x in table.iterrows()
        ),
    )
    least = float(table["alike_share"].min())
    yield Check(
        "caches and connections are used as the model says, visit by visit",
        least >= ALIKE,
        f"{least:.1%} of the visits of the worst arm",
    )
    steady = table[table["model_late"].notna()]
    yield _near_mean(
        "as many come late as the closed form says",
        steady["late"] - steady["model_late"],
        steady["late_deviation"],
    )
    yield _near_mean(
        "as many questions reach the DNS as the closed form says",
        steady["asked"] - steady["model_asked"],
        steady["model_asked"] ** 0.5,
    )
    chances = [float(chance) for chance in steady["left_chance"]]
    yield Check(
        "the last one comes as late as the closed form lets expect",
        all(SURE < chance < 1 - SURE for chance in chances),
        f"with chance {', '.join(f'{chance:.2g}' for chance in chances)} nobody comes after that",
    )
    yield from _turned(e, table)


def _near_mean(name: str, off: pd.Series[float], deviation: pd.Series[float]) -> Check:
    """Whether all are near what they are on average; their spread is at most ``deviation``."""
    far = float((off.abs() / deviation).max())
    detail = f"{len(off)} numbers, off by {far:.2g} standard deviations at most"
    return Check(name, far <= SIGMAS, detail)


def _turned(e: Evidence, table: pd.DataFrame) -> Iterator[Check]:
    """Who goes where before and after; what is withdrawn serves nobody, what is left still does."""
    attacked, heir = (_written(e, address) for address in roles(e.plan.network))
    arms, right, settled, served, late = leavings(e.spec), 0, 0, 0, 0
    for arm in arms:
        mine, times = _of(e, arm), e.observed["left"][arm.name]
        before = mine[mine["at_s"] <= times["moved"]]
        after = mine[mine["at_s"] > times["moved"] + arm.bound_s + _slack_s(e)]
        settled += len(before) + len(after)
        right += int((before["address"] == attacked).sum()) + int((after["address"] == heir).sum())
        if not arm.withdrawn:
            late += len(mine)
            served += int((mine["outcome"] == "ok").sum())
    yield Check(
        "twin: until names leave it all go there, and all to the other in the end",
        0 < settled == right,
        f"{right} of {settled} visits",
    )
    yield Check(
        "twin: an address that names have left serves who comes late",
        0 < late == served,
        f"{served} of {late} visits are answered; {int(table['late'].sum())} came late in all arms",
    )
    gone = next(arm for arm in arms if arm.withdrawn)
    mine, times = _of(e, gone), e.observed["left"][gone.name]
    under_way = mine["at_s"] > times["moved"] - _slack_s(e)
    late_ones = mine[(mine["address"] == attacked) & under_way]
    knocked = late_ones[late_ones["at_s"] > times["gone"]]
    silent, others = (
        int((some["outcome"] != "ok").sum()) for some in (knocked, mine.drop(late_ones.index))
    )
    yield Check(
        "control: an address that is withdrawn as well serves nobody, whatever caches say",
        0 < len(knocked) == silent and others == 0,
        f"{silent} of {len(knocked)} visits are lost, and {others} others",
    )


def _answer(e: Evidence, metrics: Mapping[str, Metric]) -> str:
    most = max(_counts(e.spec.params))
    even, skewed = (
        metrics[f"{how}_{most}_max_over_mean"].value for how in (Names.RANDOM, Names.STATIC)
    )
    held = next(arm for arm in leavings(e.spec) if arm.hold_s)
    short = Leaving(held.ttl_s)
    left = [metrics[f"{arm.name.replace(' ', '_')}_left"].value for arm in (short, held)]
    if None in (even, skewed, *left):
        return "Nobody was served, so there is nothing to compare."
    return (
        f"On {most} addresses the busiest has {even:.3g} times the mean if names are bound at"
        f" random, {skewed:.3g} times by hash. An address that names leave is visited for"
        f" {left[0]:.1f} s more with a TTL of {held.ttl_s:g} s, for {left[1]:.1f} s if connections"
        f" are held for {held.hold_s:g} s."
    )


def draw(e: Evidence, findings: Findings, folder: Path) -> list[Path]:
    """The load of each address by binding; who still comes after names have left one."""
    from experiments.show.figures import names as figure

    late = {arm.name: _late(e, arm) for arm in leavings(e.spec) if not arm.withdrawn}
    return [figure.draw(findings.tables["loads"], late, folder / "names.png")]


def _late(e: Evidence, arm: Leaving) -> Late:
    """An arm as its figure shows it; connections that are held have no closed form."""
    from experiments.show.figures.names import Late

    each = rates(e.spec, len(visitors(e.spec, e.plan)))
    mine, moved_s = _of(e, arm), e.observed["left"][arm.name]["moved"]
    old = mine["address"] == _written(e, roles(e.plan.network)[0])
    visits = mine.assign(since_s=mine["at_s"] - moved_s, old=old)
    return Late(visits, None if arm.hold_s else partial(names.late_share, each, arm.ttl_s))


STUDY = Study(
    name="names",
    question="How even does agility make the load of addresses, and how soon is one of them left?",
    baselines=("static: by a hash of the name", "one: all names have one address"),
    controls=(
        "a binding by hash must not pass for even",
        "an address that is withdrawn must serve nobody",
    ),
    parameters={
        "addresses": Parameter(
            (256, 4096), (256, 4096), "service addresses that names are bound to"
        ),
        "names": Parameter(1000, 200, "names in the zone", least=1),
        "zipf": Parameter(1.0, 1.0, "exponent of the names' popularity: the n-th has 1/n^zipf"),
        "visits": Parameter(2000, 150, "visits by each binding", least=1),
        "load_per_s": Parameter(
            150, 150, "these visits per second in the whole network", least=SOME
        ),
        "visitors": Parameter(8, 4, "clients at most that visit while an address is left", least=1),
        "rate_per_s": Parameter(100, 30, "visits per second while an address is left", least=SOME),
        "ttls_s": Parameter(
            (2.0, 5.0, 10.0), (1.0, 3.0), "how long resolvers keep answers, seconds"
        ),
        "hold_s": Parameter(4, 2, "how long connections are used, seconds", least=SOME),
        "timeout_s": Parameter(
            2, 1, "when a question, a connection or a fetch is given up, seconds", least=SOME
        ),
    },
    trial=trial,
    evaluate=evaluate,
    draw=draw,
    prepare=prepare,
    timed=Timed(("arm", "client"), where=lambda samples: samples["opened"], arm="binding"),
)
