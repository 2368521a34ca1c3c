"""How long does the Internet take to follow when a PoP goes, comes back, or dies?

Every client asks the service all the time, and something changes: a PoP is withdrawn by its own
word, and announced again; its uplink is pulled; its uplink falls silent, so that only timers tell;
a link between two cities is cut. Each change meets BGP at several paces, for a router may tell a
neighbour of changes no more often than every MRAI seconds (RFC 4271 section 9.2.1.1). With upstream
sdn the same changes meet switches that a controller steers.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from controller.core.routing import uplink
from controller.core.steering.bgp import ways
from controller.core.world import World
from experiments.breaks import need_a_stand_in
from experiments.errors import UsageError
from experiments.parameters import Parameter, Value
from experiments.study import Evidence, Findings, Study, Trial
from experiments.verdict.oracle import BgpOracle
from experiments.verdict.result import Check, Metric
from topologies.model import Network, Policy, Timers, Upstream
from topologies.plan import HostPlan, HostRole, LinkKind, LinkPlan, Plan, transit_name
from topologies.validate import NetworkError, problems

if TYPE_CHECKING:
    import pandas as pd

    from experiments.measure.echo import EchoRow

NOTHING, WITHDRAWN, ANNOUNCED = "nothing", "withdrawn", "announced"
PULLED, SILENT, CUT = "uplink pulled", "uplink silent", "link cut"
CHANGES = (NOTHING, WITHDRAWN, ANNOUNCED, PULLED, SILENT, CUT)
GONE = (WITHDRAWN, PULLED, SILENT)
"""After these a PoP serves nobody."""
SDN, WITH_BFD = "SDN", ", BFD"

MS = 10**6
BEFORE_S = 1.0
"""What is sent in the first second is answered before the change."""
SETTLE_S = 5.0
"""To be watched after a change, beside timers."""
ROUNDS = 3
"""So many MRAI are waited: each more would be another router that has to wait for its turn."""
PATIENCE_S = 1.0
REST_S = 60.0


def prepare(network: Network, params: Mapping[str, Value]) -> Network:
    """With the timers asked for. Raises UsageError, NetworkError."""
    need_a_stand_in(network)
    if network.upstream is Upstream.SDN:
        return replace(network, bfd_ns=100 * MS)
    every_ms = params["bfd_ms"]
    assert isinstance(every_ms, int | float)
    network = replace(network, bfd_ns=round(every_ms) * MS or None)
    paces, hold_s = params["mrai_s"], params["hold_s"]
    assert isinstance(paces, tuple)
    assert isinstance(hold_s, int | float)
    if any(float(seconds) % 1 for seconds in (*paces, hold_s)):
        raise UsageError("BGP counts in whole seconds: give mrai_s and hold_s without fractions.")
    if every_ms % 1:
        raise UsageError("BFD counts in whole milliseconds: give bfd_ms without a fraction.")
    hold, most = round(hold_s), round(float(max(paces)))
    timers = Timers(max(1, hold // 3), hold, most)  # the slowest for what is checked,
    if found := problems(replace(network, timers=timers)):
        raise NetworkError(found)
    return replace(network, timers=replace(timers, advertisement_s=0))  # the quickest to begin


def arms(e: Trial | Evidence) -> tuple[str, ...]:
    """By whom changes are met."""
    if e.plan.network.upstream is Upstream.SDN:
        return (SDN,)
    paces = [f"MRAI {mrai_s:g} s" for mrai_s in e.spec.numbers("mrai_s")]
    return (*paces, f"{paces[0]}{WITH_BFD}") if e.spec.number("bfd_ms") else tuple(paces)


def mrai_s(arm: str) -> float:
    """The pace of an arm."""
    return 0.0 if arm == SDN else float(arm.split()[1])


def trial(t: Trial) -> None:
    """Every change at every pace."""
    victim, link = t.oracle.busiest(), felt(t.plan)
    t.observed |= {"victim": victim, "link": None if link is None else link.number, "changes": []}
    for arm in arms(t):
        if arm != SDN:
            with t.step(f"BGP at {arm}"):
                t.lab.speakers.pace(int(mrai_s(arm)))
                if t.param("bfd_ms"):
                    t.lab.speakers.watch(arm.endswith(WITH_BFD))
                t.lab.come_to_rest()
        for change in CHANGES:
            if change != CUT or link is not None:
                seconds = BEFORE_S + watched_s(t, arm, change)
                with t.timed_step(f"{change}, {arm}", seconds):
                    _watch(t, arm, change, seconds)
                if change in (PULLED, SILENT, CUT):
                    with t.step("everything is mended"):
                        _mend(t, change)


def watched_s(t: Trial, arm: str, change: str) -> float:
    """How long clients are watched after a change."""
    by_timers = change == SILENT and arm != SDN and not arm.endswith(WITH_BFD)
    silent_s = t.param("hold_s") if by_timers else 0.0
    return SETTLE_S + silent_s + ROUNDS * mrai_s(arm) * (change != NOTHING)


def _watch(t: Trial, arm: str, change: str, seconds: float) -> None:
    """Probes all the time, and the change after the first second."""
    from experiments.measure.echo import EchoProbe
    from experiments.measure.meanwhile import Meanwhile
    from experiments.measure.ping import ping
    from experiments.measure.witness import Marked
    from topologies.emulation.processes import repeatedly

    clients, token = t.plan.hosts_of(HostRole.CLIENT), t.random.randbytes(8)
    probes = [EchoProbe(client.name, t.service) for client in clients]
    servers = {server.name: server.city for server in t.plan.hosts_of(HostRole.SERVER)}
    count = t.count("packets")
    send = partial(ping, probes, count=count, interval_s=seconds / count, timeout_s=PATIENCE_S)
    landed: dict[tuple[int, int], str] = {}
    before = _state(t)
    with Marked(servers, token) as marked:

        def look() -> bool:
            for host, stamp in marked.stamped():
                landed.setdefault((stamp.probe, stamp.sequence), servers[host])
            return True

        with (
            repeatedly(look, 0.2),
            Meanwhile(lambda _: send(seed=t.spec.seed, token=token)) as sent,
        ):
            time.sleep(BEFORE_S)
            changed_ns = time.monotonic_ns()
            _change(t, change)
        look()
    case = {"arm": arm, "change": change}
    after = _state(t)
    said = {name: after[name] - before[name] for name in after}
    t.observed["changes"].append(case | said | {"steered": _steered(t)})
    for row in sent.rows:
        t.reporter.emit(case | _sample(row, clients[row.probe], changed_ns, landed))


def _sample(
    row: EchoRow, client: HostPlan, changed_ns: int, landed: Mapping[tuple[int, int], str]
) -> dict[str, Any]:
    return {
        "client": client.name,
        "city": client.city,
        "sequence": row.sequence,
        "after_ms": (row.sent_ns - changed_ns) / MS,
        "outcome": row.outcome,
        "pop": landed.get((row.probe, row.sequence)),
        "rtt_ms": None if row.rtt_ns is None else row.rtt_ns / MS,
    }


def _state(t: Trial) -> dict[str, int]:
    """What BGP has said and chosen so far."""
    if not t.plan.routers:
        return {}
    tables = t.lab.speakers.tables()
    routers = sum(tables[router.name] for router in t.plan.routers)
    return {"updates": t.lab.speakers.updates(), "choices": routers}


def _change(t: Trial, change: str) -> None:
    from experiments.control.words import link_name

    control, victim = t.lab.control, t.observed["victim"]
    if change == WITHDRAWN:
        control.pop_withdraw(victim)
    elif change == ANNOUNCED:
        control.pop_announce(victim)
    elif change == PULLED:
        control.link_cut(link_name(uplink(t.plan, t.plan.edge(victim))))
    elif change == SILENT:
        control.link_blackhole(link_name(uplink(t.plan, t.plan.edge(victim))))
    elif change == CUT:
        control.link_cut(link_name(t.plan.links[t.observed["link"] - 1]))


def _mend(t: Trial, change: str) -> None:
    from experiments.control.words import link_name

    broken = uplink(t.plan, t.plan.edge(t.observed["victim"]))
    if change == CUT:
        broken = t.plan.links[t.observed["link"] - 1]
    t.lab.control.link_restore(link_name(broken))
    if t.plan.routers:
        t.lab.come_to_rest()
    t.lab.wait(lambda: _is_whole(t), "the network to be mended", REST_S)


def _is_whole(t: Trial) -> bool:
    """Whether the controller knows of nothing that is down."""
    api = t.lab.controller_api
    return t.lab.hear() and not api.world()["down"] and api.is_ready()


def _steered(t: Trial) -> dict[str, str | None]:
    """By city: the PoP that our controller chose, where it is for it to choose."""
    if t.plan.routers:
        return {}
    ranking = t.lab.controller_api.world()["ranking"]
    return {city: next(iter(ranked), None) for city, ranked in ranking.items()}


# -- what a network is made of


def felt(plan: Plan) -> LinkPlan | None:
    """The link between cities that most clients' packets take and that BGP can do without."""
    links = [link for link in plan.links if link.kind is LinkKind.TRANSIT]
    world, pops = World(plan), tuple(edge.city for edge in plan.edges)
    clients = [client.city for client in plan.hosts_of(HostRole.CLIENT)]
    usual = ways(world, pops)

    def takers(link: LinkPlan) -> int:
        ends = {link.a.node, link.b.node}
        steps = (pairwise(map(transit_name, usual[city])) for city in clients)
        return sum(any({*step} == ends for step in way) for way in steps)

    for link in sorted(links, key=lambda link: (-takers(link), link.number)):
        if takers(link) and all(ways(_without(world, link), pops)[city] for city in clients):
            return link
    return None


def _without(world: World, link: LinkPlan) -> World:
    assert link.a.port is not None
    return replace(world, down=world.down | {(link.a.node, link.a.port)})


def expected_by_bgp(plan: Plan, observed: Mapping[str, Any], change: str) -> dict[str, str | None]:
    """By city: the PoP that policy bgp, which knows nothing of the speakers, chooses then."""
    world, pops = World(plan), tuple(edge.city for edge in plan.edges)
    if change == CUT:
        world = _without(world, plan.links[observed["link"] - 1])
    elif change in GONE:
        pops = tuple(pop for pop in pops if pop != observed["victim"])
    return BgpOracle(world).catchments(pops)


# -- what the evidence says


@dataclass(frozen=True, slots=True)
class Follow:
    """How one client took a change: where it ended, and how long that took.

    ``lost`` probes after the change, ``back_ms`` until it was answered for good, ``settled_ms``
    until its packets came for good to the PoP where they were at the end. ``home`` is the PoP where
    they came before.
    """

    before_ok: float
    home: str | None
    pop: str | None
    lost: int
    back_ms: float | None
    settled_ms: float | None


def follow(sent: pd.DataFrame) -> Follow:
    """What one client's probes around one change say."""
    after = sent[sent["after_ms"] >= 0].sort_values("after_ms")
    before = sent[sent["after_ms"] < -PATIENCE_S / 10 * 1e3]
    bad = after["outcome"] != "ok"
    pop = after["pop"].iloc[-1]
    elsewhere = bad | (after["pop"] != pop)
    return Follow(
        before_ok=float((before["outcome"] == "ok").mean()),
        home=_some_pop(before["pop"].iloc[-1]),
        pop=None if bad.iloc[-1] else _some_pop(pop),
        lost=int(bad.sum()),
        back_ms=_for_good(after["after_ms"], bad),
        settled_ms=_for_good(after["after_ms"], elsewhere),
    )


def _some_pop(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _for_good(times: pd.Series[float], bad: pd.Series[bool]) -> float | None:
    """From when on nothing is bad: 0 if nothing ever was, None if the last is."""
    if bad.iloc[-1]:
        return None
    return float(times[~bad & (bad[::-1].cumsum()[::-1] == 0)].iloc[0]) if bad.any() else 0.0


def follows_table(e: Evidence) -> pd.DataFrame:
    """A row per change, pace and client of what ``follow`` says, and where it should have ended."""
    import pandas as pd

    rows = []
    by_case = dict(list(e.samples.groupby(["arm", "change"])))
    for case in e.observed["changes"]:
        expected = case["steered"] or expected_by_bgp(e.plan, e.observed, case["change"])
        for client, sent in by_case[case["arm"], case["change"]].groupby("client", sort=False):
            city, found = sent["city"].iloc[0], follow(sent)
            named = {"arm": case["arm"], "change": case["change"], "client": client, "city": city}
            rows.append(
                named
                | {"expected": expected[city], "pop": found.pop, "lost": found.lost}
                | {"home": found.home, "before_ok": found.before_ok, "back_ms": found.back_ms}
                | {"settled_ms": found.settled_ms}
                | {"moved": found.home != found.pop or found.lost > 0}
            )
    return pd.DataFrame(rows)


def evaluate(e: Evidence) -> Findings:
    """Until when clients were away, by change and pace; and what BGP had to say about it."""
    from experiments import stats

    follows = follows_table(e)
    metrics: dict[str, Metric] = {}
    for case in e.observed["changes"]:
        mine = _of(follows, case["arm"], case["change"])
        name = f"{case['arm']}_{case['change']}".lower().replace(",", "").replace(" ", "_")
        moved = mine[mine["moved"]]
        metrics |= {
            f"{name}_first": Metric(stats.quantile(moved["settled_ms"], 0.0), "ms"),
            f"{name}_last": Metric(_last(mine["settled_ms"]), "ms"),
            f"{name}_away_max": Metric(_last(mine["back_ms"]), "ms"),
            f"{name}_lost": Metric(int(mine["lost"].sum()), "1"),
            f"{name}_moved": Metric(len(moved), "1"),
        }
        for said in ("updates", "choices"):
            if said in case:
                metrics[f"{name}_{said}"] = Metric(case[said], "1")
    return Findings(_answer(e, follows), metrics, _checks(e, follows), {"follows": follows})


def _last(times: pd.Series[float]) -> float | None:
    """The longest; None if somebody never came."""
    from experiments import stats

    return None if times.isna().any() else stats.quantile(times, 1.0)


def _of(follows: pd.DataFrame, arm: str, change: str) -> pd.DataFrame:
    return follows[(follows["arm"] == arm) & (follows["change"] == change)]


def _checks(e: Evidence, follows: pd.DataFrame) -> tuple[Check, ...]:
    return (
        _ends_right(follows),
        _nothing(follows),
        _moves(e, follows),
        _before(follows),
        _notices(e, follows),
    )


def _ends_right(follows: pd.DataFrame) -> Check:
    wrong = follows[follows["pop"] != follows["expected"]]
    first = "" if wrong.empty else f"; first: {'; '.join(map(str, wrong.iloc[0][:6]))}"
    return Check(
        "every client ends where the model says, and is answered there",
        len(follows) > 0 and wrong.empty,
        f"{len(wrong)} of {len(follows)} do not{first}",
    )


def _nothing(follows: pd.DataFrame) -> Check:
    mine = follows[follows["change"] == NOTHING]
    felt = mine[mine["moved"] | (mine["settled_ms"] != 0)]
    return Check(
        "control: where nothing changes nobody moves or waits",
        len(mine) > 0 and felt.empty,
        f"{len(felt)} of {len(mine)} clients did",
    )


def _moves(e: Evidence, follows: pd.DataFrame) -> Check:
    """The twin of the control, at every pace: the victim's clients go, and come again."""
    victim = e.observed["victim"]
    home = set(follows[(follows["change"] == NOTHING) & (follows["pop"] == victim)]["client"])
    lazy = []
    for arm in arms(e):
        for change in (*GONE, ANNOUNCED):
            mine = _of(follows, arm, change)
            moved = set(mine[mine["moved"]]["client"])
            lazy += [f"{change}, {arm}"] * (not home <= moved)
    return Check(
        f"twin: whatever happens to {victim}, its clients move",
        bool(home) and not lazy,
        f"{len(home)} clients; they did not at {'; '.join(lazy)}" if lazy else f"all {len(home)}",
    )


def _before(follows: pd.DataFrame) -> Check:
    good = int((follows["before_ok"] == 1).sum())
    return Check(
        "twin: before each change every probe is answered",
        0 < len(follows) == good,
        f"{good} of {len(follows)} times",
    )


def _notices(e: Evidence, follows: pd.DataFrame) -> Check:
    """Silence ends a session when nothing was heard for the hold time (RFC 4271 section 6.5)."""
    victim, hold_s = e.observed["victim"], e.spec.number("hold_s")
    home = follows[(follows["change"] == NOTHING) & (follows["pop"] == victim)]["client"]
    good = total = 0
    for arm in arms(e):
        least_s, most_s = hold_s - max(1, hold_s // 3), hold_s + 1.0 + ROUNDS * mrai_s(arm)
        if arm == SDN or arm.endswith(WITH_BFD):  # four intervals, and what BGP takes
            least_s, most_s = (
                0.0,
                4e-3 * (e.spec.number("bfd_ms") or 100) + 1.0 + ROUNDS * mrai_s(arm),
            )
        mine = _of(follows, arm, SILENT)
        away_s = mine[mine["client"].isin(home)]["back_ms"] / 1e3
        total += len(away_s)
        good += int(away_s.between(least_s, most_s).sum())
    return Check(
        "a silent PoP is missed for as long as timers say",
        0 < total == good,
        f"{good} of {total} clients are away until a session is over, and what BGP takes then",
    )


def _answer(e: Evidence, follows: pd.DataFrame) -> str:
    told = []
    for arm in arms(e):
        last = [_last(_of(follows, arm, x)["back_ms"]) for x in (WITHDRAWN, PULLED)]
        if None in last:
            return "Not everybody came back while clients were watched."
        gone, pulled = (value / 1e3 for value in last if value is not None)
        told.append(f"{pulled:.2g} s ({arm}; withdrawn in good order {gone:.2g} s)")
    return f"A PoP whose uplink is pulled is missed for up to {', '.join(told)}."


def draw(e: Evidence, findings: Findings, folder: Path) -> list[Path]:
    """Clients that are served, over time, by change and pace."""
    from experiments.show.figures import convergence as figure

    path = folder / "convergence.png"
    return [figure.draw(e.samples, findings.tables["follows"], path)]


STUDY = Study(
    name="convergence",
    question="How long does the Internet take to follow when a PoP goes, comes back, or dies?",
    baselines=("BGP at other paces", "with --upstream sdn: a controller that steers switches"),
    controls=("where nothing changes nobody moves or waits",),
    parameters={
        "mrai_s": Parameter((0, 5, 30), (0, 5), "least time between two updates of a session, s"),
        "hold_s": Parameter(9, 6, "a BGP session that is silent for so long is over, seconds"),
        "bfd_ms": Parameter(0, 0, "how often BFD says that a link lives, ms (0: never)"),
        "packets": Parameter(1500, 300, "probes of each client around a change", least=2),
    },
    trial=trial,
    evaluate=evaluate,
    draw=draw,
    families=(4,),
    policies=(Policy.BGP, Policy.NEAREST),
    upstreams=(Upstream.BGP, Upstream.SDN),
    prepare=prepare,
)
