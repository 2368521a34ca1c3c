"""Which connections break when what is planned is changed, by balancing scheme?

Clients hold TCP connections to the service open while servers, PoPs, cities and the policy are
changed one after the other and back, and the controller restarts; after each change every
connection is asked once. The same is done by every scheme: with a second chance, and without one.
A steady load of new requests runs beside it. At last a server crashes, which nothing can mend.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from controller.core.events import (
    BalancingSet,
    Event,
    OverrideSet,
    PolicySet,
    PopSet,
    PopState,
    WeightSet,
)
from controller.core.world import World
from experiments.errors import UsageError
from experiments.parameters import SOME, Parameter, Value
from experiments.study import Evidence, Findings, Study, Trial
from experiments.verdict.oracle import Oracle
from experiments.verdict.placement import Flow, Placement
from experiments.verdict.result import Check, Metric
from experiments.verdict.truth import Timed
from topologies.model import Balancing, Network, Policy
from topologies.plan import HostRole, Plan

if TYPE_CHECKING:
    import pandas as pd

    from experiments.measure.held import Held, HeldRow

OPENED, RESTARTED, CRASHED = "opened", "controller restarted", "server crashed"
DRAINED = "server drained"
IDLE_S = 0.5
"""After an exchange: its last acknowledgement is late (40 ms) and has a long way."""
CONTROLLER = "controller"
"""The program that is killed and started again."""


@dataclass(frozen=True, slots=True)
class Arm:
    """A way to balance."""

    name: str
    scheme: Balancing
    second_chance: bool = False

    @property
    def event(self) -> BalancingSet:
        """What brings it about."""
        return BalancingSet(self.scheme, self.second_chance)

    @property
    def predicted(self) -> bool:
        """Whether it is known which server a flow goes to: a group is the switch's own affair."""
        return self.scheme is not Balancing.GROUP


OURS = Arm("second chance", Balancing.MAGLEV, second_chance=True)
BARE = tuple(Arm(scheme.value, scheme) for scheme in Balancing)
"""Without a second chance."""
ARMS = (OURS, *BARE)


@dataclass(frozen=True, slots=True)
class Change:
    """Something planned: the word that does it, with what, and the event that it is."""

    name: str
    word: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    event: Event | None = None


def changes(plan: Plan, oracle: Oracle) -> Iterator[Change]:
    """What is changed, in this order, at the PoP that has most clients; all of it is undone."""
    pop = _busiest(plan, oracle)
    server = plan.servers_of(pop)[0].name
    for name, weight in ((DRAINED, 0), ("server back", 1), ("server x3", 3), ("server x1", 1)):
        params = {"server": server, "weight": weight}
        yield Change(name, "server.weigh", params, WeightSet(server, weight))
    if len(plan.edges) > 1:
        yield Change("PoP drained", "pop.drain", {"pop": pop}, PopSet(pop, PopState.DRAINED))
        yield Change("PoP announced", "pop.announce", {"pop": pop}, PopSet(pop, PopState.ANNOUNCED))
        city, far = _far_from(plan, oracle, pop)
        params = {"city": city, "pop": far}
        yield Change("city steered", "city.steer", params, OverrideSet(city, far))
        yield Change("city released", "city.release", {"city": city}, OverrideSet(city, None))
        for policy in (Policy.WEIGHTED, Policy.NEAREST):
            params = {"policy": policy.value}
            yield Change(f"policy {policy.value}", "policy.set", params, PolicySet(policy))
    yield Change(RESTARTED)


def _busiest(plan: Plan, oracle: Oracle) -> str:
    """The PoP nearest to most clients, of those with servers enough to do without one."""
    near = oracle.clients_by_pop()
    able = [edge.city for edge in plan.edges if len(plan.servers_of(edge.city)) > 1]
    return max(able, key=near.__getitem__)


def _far_from(plan: Plan, oracle: Oracle, pop: str) -> tuple[str, str]:
    """A client's city, of those nearest to a PoP if there are some, and its farthest PoP."""
    clients = plan.hosts_of(HostRole.CLIENT)
    client = next((c for c in clients if oracle.nearest_pops(c.name)[0] == pop), clients[0])
    far = max(oracle.pops, key=lambda x: oracle.delay_ns(client.name, plan.edge(x).name))
    return client.city, far


def prepare(network: Network, _params: Mapping[str, Value]) -> Network:
    """The network with servers that can hand back, in which nothing changes but what is planned:
    health checks would, after a crash. Raises UsageError if no server can be spared.
    """
    if all(pop.servers < 2 for pop in network.pops):
        raise UsageError(f"{network.name} has no PoP with two servers: none can be drained.")
    return replace(network, second_chance=True, health_ns=0)


def trial(t: Trial) -> None:
    """The same changes by every scheme, then a crash."""
    t.observed["steady"], t.observed["handed_back"] = {}, {}
    for arm in ARMS:
        with t.timed_step(f"{t.count('connections')} connections, {arm.name}"):
            _Round(t, arm).run()


class _Round:
    """What connections go through by one scheme."""

    def __init__(self, t: Trial, arm: Arm) -> None:
        self._t, self._arm = t, arm
        self._clients = t.plan.hosts_of(HostRole.CLIENT)
        self._world = World(t.plan)
        self._holders: dict[int, str] = {}

    def run(self) -> None:
        from experiments.measure.held import Held

        t, arm = self._t, self._arm
        given = {"scheme": arm.scheme.value, "second_chance": arm.second_chance}
        self._happen("balancing.set", given, arm.event)
        turns = range(t.count("connections"))
        hosts = [self._clients[turn % len(self._clients)].name for turn in turns]
        with Held(hosts, t.service, timeout_s=t.param("timeout_s")) as held:
            self._ask(OPENED, held)
            time.sleep(IDLE_S)
            self._planned(held)
            if arm is OURS:
                self._crash(held)

    def _planned(self, held: Held) -> None:
        """Every change, with new requests beside it."""
        from experiments.measure import arrivals
        from experiments.measure.held import OTHER_PORTS
        from experiments.measure.http import HttpRow, Request, fetch
        from experiments.measure.meanwhile import Meanwhile
        from experiments.measure.open_loop import offer

        t = self._t
        requests = [Request(client.name, t.service, ports=OTHER_PORTS) for client in self._clients]
        times, timeout_s = arrivals.even(t.param("rate_per_s")), t.param("timeout_s")
        before = self._handed_back()

        async def ask(turn: int, request: Request) -> HttpRow:
            return await fetch(turn, request, timeout_s)

        with Meanwhile(lambda over: offer(requests, ask, times, over)) as load:
            for change in changes(t.plan, t.oracle):
                self._carry_out(change)
                self._ask(change.name, held)
                self._know(held.reopen())
                time.sleep(IDLE_S)
        outcomes = Counter(arrival.row.outcome for arrival in load.rows)
        t.observed["steady"][self._arm.name] = dict(outcomes)
        t.observed["handed_back"][self._arm.name] = self._handed_back() - before

    def _handed_back(self) -> int:
        """Packets that servers have handed back so far."""
        from topologies.emulation import second_chance

        return second_chance.handed_back(self._t.plan.hosts_of(HostRole.SERVER))

    def _carry_out(self, change: Change) -> None:
        t = self._t
        t.reporter.event("change", f"{self._arm.name}: {change.name}")
        if change.event is not None:
            self._happen(change.word, change.params, change.event)
            return
        t.lab.control.program_kill(CONTROLLER)
        t.lab.control.program_restart(CONTROLLER)
        t.lab.wait(t.lab.controller_api.is_listening, "the controller to answer")
        t.lab.wait(t.lab.controller_api.is_ready, "the controller to have every switch")

    def _happen(self, word: str, params: Mapping[str, Any], event: Event) -> None:
        """Say a word, and know what the world is then; no switch goes by what was before."""
        self._t.lab.control.say(word, params)
        self._t.lab.settle()
        self._world = self._world.after(event)

    def _crash(self, held: Held) -> None:
        """A server's services end at once; nothing is told to anybody."""
        server = self._t.plan.servers_of(_busiest(self._t.plan, self._t.oracle))[0].name
        self._t.observed["crashed"] = server
        self._t.lab.control.server_kill(server)
        self._ask(CRASHED, held)
        self._t.lab.control.server_restart(server)

    def _know(self, rows: list[HeldRow]) -> None:
        """Remember who holds which connection."""
        self._holders = {
            row.connection: row.fields["server"] for row in rows if row.outcome == "ok"
        }

    def _ask(self, change: str, held: Held) -> None:
        """One exchange on every connection; a row for each that was alive at the change."""
        place, spacing_s = Placement(self._world), self._t.param("spacing_s")
        before, rows = self._holders, held.ask(spacing_s)
        self._know(rows)
        for row in rows:
            if change == OPENED or row.connection in before:
                self._emit(change, row, before.get(row.connection), place)

    def _emit(self, change: str, row: HeldRow, before: str | None, place: Placement) -> None:
        t, client = self._t, self._t.plan.host(row.host)
        server, model_rtt_ms = row.fields.get("server"), None
        if server is not None:
            landed = place.pop(client.city)
            model_rtt_ms = t.oracle.borrowed_rtt_ms(server, row.host, (landed,))
        model = None
        if self._arm.predicted and row.port is not None:
            flow = Flow(t.address(client), t.service, row.port)
            model = place.server(client.city, flow)
        t.reporter.emit(
            {
                "arm": self._arm.name,
                "change": change,
                "connection": row.connection,
                "host": row.host,
                "port": row.port,
                "outcome": row.outcome,
                "before": before,
                "server": server,
                "model": model,
                "rtt_ms": None if row.rtt_ns is None else row.rtt_ns / 1e6,
                "model_rtt_ms": model_rtt_ms,
            }
        )


# -- what the evidence says


def evaluate(e: Evidence) -> Findings:
    """Per-connection consistency: what broke, of the connections that were alive at a change."""
    judged = _judged(e.samples)
    planned = judged[judged["change"] != CRASHED]
    table = changes_table(planned)
    metrics = {
        "connections": Metric(e.spec.number("connections"), "1"),
        "stalled": Metric(int((planned["outcome"] == "timeout").sum()), "1"),
        "handed_back": Metric(e.observed["handed_back"].get(OURS.name, 0), "packets"),
    }
    for arm in ARMS:
        metrics |= _metrics_of(arm, table, e.observed["steady"].get(arm.name, {}))
    metrics |= _extra_rtts(e.plan, planned)
    return Findings(_answer(table, metrics), metrics, _checks(e, judged), {"changes": table})


def _judged(samples: pd.DataFrame) -> pd.DataFrame:
    """The exchanges after changes: whether balancing sends elsewhere now, and what broke."""
    judged = samples[samples["change"] != OPENED]
    known = judged["model"].notna()
    return judged.assign(
        broken=judged["outcome"] != "ok", moved=known & (judged["model"] != judged["before"])
    )


def changes_table(planned: pd.DataFrame) -> pd.DataFrame:
    """A row per arm and change: connections alive, those that the model moves, those that broke.

    ``expected_share`` is what the model has break: what it moves, nothing with a second chance,
    and None where the switch chooses by itself.
    """
    import pandas as pd

    rows = []
    for (arm, change), mine in planned.groupby(["arm", "change"], sort=False):
        moved, broken = float(mine["moved"].mean()), float(mine["broken"].mean())
        row = {"arm": arm, "change": change, "connections": len(mine)}
        row |= {"broken": int(mine["broken"].sum()), "broken_share": broken}
        row |= {"stalled": int((mine["outcome"] == "timeout").sum())}
        guess = None if arm == Balancing.GROUP.value else moved
        rows.append(
            row | {"moved_share": guess, "expected_share": 0.0 if arm == OURS.name else guess}
        )
    numbers = ["connections", "broken", "broken_share", "stalled", "moved_share", "expected_share"]
    return pd.DataFrame(rows, columns=["arm", "change", *numbers])


def _metrics_of(arm: Arm, table: pd.DataFrame, steady: Mapping[str, int]) -> dict[str, Metric]:
    from experiments import stats

    name, mine = arm.name.replace(" ", "_"), table[table["arm"] == arm.name]
    drained = mine[mine["change"] == DRAINED]["broken_share"]
    broken = int(mine["broken"].sum())
    return {
        f"{name}_broken": Metric(broken, "1"),
        f"{name}_broken_share": Metric(stats.share(broken, int(mine["connections"].sum())), "1"),
        f"{name}_broken_share_drain": Metric(stats.median(drained), "1"),
        f"{name}_lost_requests": Metric(_lost(steady), "1"),
    }


def _lost(outcomes: Mapping[str, int]) -> int:
    return sum(outcomes.values()) - outcomes.get("ok", 0)


def _extra_rtts(plan: Plan, planned: pd.DataFrame) -> dict[str, Metric]:
    """How much longer an exchange takes that is handed on, than a direct one of its connection."""
    from experiments import stats

    ours = planned[(planned["arm"] == OURS.name) & ~planned["broken"]]
    direct = ours[~ours["moved"]].groupby("connection")["rtt_ms"].median()
    handed = ours[ours["moved"]]
    extra = handed["rtt_ms"] - handed["connection"].map(direct)
    same = handed["model"].map(_pops(plan)) == handed["server"].map(_pops(plan))
    return {
        "extra_rtt_same_pop_p50": Metric(stats.median(extra[same]), "ms"),
        "extra_rtt_other_pop_p50": Metric(stats.median(extra[~same]), "ms"),
    }


def _pops(plan: Plan) -> dict[str, str]:
    return {server.name: server.city for server in plan.hosts_of(HostRole.SERVER)}


def _checks(e: Evidence, judged: pd.DataFrame) -> tuple[Check, ...]:
    planned = judged[judged["change"] != CRASHED]
    ours = planned[planned["arm"] == OURS.name]
    restarts = planned[planned["change"] == RESTARTED]
    return (
        _placed(e.samples),
        _none_breaks("twin: with a second chance nothing breaks", ours),
        _handed_back(ours, e.observed["handed_back"]),
        _steady_check(e.observed["steady"].get(OURS.name, {})),
        _exactly_what_moved(planned),
        _drain_breaks(planned, next(changes(e.plan, e.oracle)).params["server"]),
        _none_breaks("a controller's restart breaks nothing by any scheme", restarts),
        _crash_breaks(judged[judged["change"] == CRASHED], e.observed.get("crashed")),
    )


def _placed(samples: pd.DataFrame) -> Check:
    """The foundation of all predictions: the hash, the spreads and the rankings are as modelled."""
    opened = samples[samples["change"] == OPENED]
    known = opened["model"].isna() | (opened["model"] == opened["server"])
    right = int(((opened["outcome"] == "ok") & known).sum())
    return Check(
        "every connection goes to the server that the model names",
        0 < len(opened) == right,
        f"{right} of {len(opened)} when they were opened, by all schemes",
    )


def _none_breaks(name: str, rows: pd.DataFrame) -> Check:
    broken = int(rows["broken"].sum())
    first = "" if not broken else f"; first: {rows[rows['broken']].iloc[0]['change']}"
    detail = f"{broken} of {len(rows)} broke, counted after every change{first}"
    return Check(name, len(rows) > 0 and broken == 0, detail)


def _handed_back(ours: pd.DataFrame, packets: Mapping[str, int]) -> Check:
    """Nothing could break if nothing moved: each exchange that moved has two packets or more."""
    moved = int((ours["moved"] & ~ours["broken"]).sum())
    with_it, without = packets.get(OURS.name, 0), sum(packets.values())
    without -= with_it
    return Check(
        "what moved is handed on",
        moved > 0 and with_it >= 2 * moved and without == 0,
        f"{with_it} packets for {moved} exchanges; {without} without a second chance",
    )


def _steady_check(outcomes: Mapping[str, int]) -> Check:
    sent, lost = sum(outcomes.values()), _lost(outcomes)
    return Check(
        "twin: with a second chance no new request is lost",
        sent > 0 and lost == 0,
        f"{lost} of {sent} during all changes",
    )


def _exactly_what_moved(planned: pd.DataFrame) -> Check:
    bare = planned[planned["arm"].isin([arm.name for arm in BARE if arm.predicted])]
    other = bare[bare["broken"] != bare["moved"]]
    first = "" if other.empty else f"; first: {other.iloc[0]['arm']}, {other.iloc[0]['change']}"
    return Check(
        "without a second chance a connection breaks if and only if it moves by the model",
        len(bare) > 0 and other.empty,
        f"{len(other)} of {len(bare)} are otherwise, {int(bare['moved'].sum())} moved{first}",
    )


def _drain_breaks(planned: pd.DataFrame, server: str) -> Check:
    """Every connection of a drained server, by every scheme without a second chance."""
    mine = planned[(planned["change"] == DRAINED) & (planned["before"] == server)]
    by_arm = {arm.name: mine[mine["arm"] == arm.name]["broken"] for arm in BARE}
    return Check(
        "control: without a second chance a drained server's connections break",
        all(len(broken) and broken.all() for broken in by_arm.values()),
        ", ".join(f"{name} {int(x.sum())} of {len(x)}" for name, x in by_arm.items()),
    )


def _crash_breaks(rows: pd.DataFrame, server: str | None) -> Check:
    mine = rows["before"] == server
    reset, kept = int((rows[mine]["outcome"] == "reset").sum()), int((~rows[~mine]["broken"]).sum())
    return Check(
        "control: a server that crashes breaks its own connections, at once, and no others",
        0 < int(mine.sum()) == reset and kept == len(rows) - reset,
        f"{reset} of {int(mine.sum())} were reset, {kept} of {len(rows) - int(mine.sum())} others"
        " answered",
    )


def _answer(table: pd.DataFrame, metrics: Mapping[str, Metric]) -> str:
    shares = {arm.name: metrics[f"{arm.name.replace(' ', '_')}_broken_share"].value for arm in ARMS}
    if any(share is None for share in shares.values()):
        return "Not every scheme had connections, so there is nothing to compare."
    ours = table[table["arm"] == OURS.name]
    bare = ", ".join(f"{arm.name} {shares[arm.name]:.1%}" for arm in BARE)
    return (
        f"Over {len(ours)} planned changes {int(ours['broken'].sum())} of"
        f" {int(ours['connections'].sum())} times a connection broke with a second chance;"
        f" without one, of all connections at each change: {bare}."
    )


def draw(e: Evidence, findings: Findings, folder: Path) -> list[Path]:
    """What broke by change and scheme, beside what the model expects."""
    from experiments.show.figures import churn as figure

    names = [arm.name for arm in ARMS]
    return [figure.draw(findings.tables["changes"], names, folder / "churn.png")]


STUDY = Study(
    name="churn",
    question="Which connections break when what is planned is changed, by balancing scheme?",
    baselines=tuple(f"{arm.name} without a second chance" for arm in BARE),
    controls=(
        "without a second chance a drained server's connections must break",
        "a server that crashes must break its own connections, at once, and no others",
    ),
    parameters={
        "connections": Parameter(
            400, 120, "TCP connections that clients hold open, in all", least=1
        ),
        "rate_per_s": Parameter(50, 25, "new requests per second beside them", least=SOME),
        "spacing_s": Parameter(
            0.002, 0.004, "between two connections that are asked, seconds", least=SOME
        ),
        "timeout_s": Parameter(
            5, 5, "when a connection or a request is given up, seconds", least=SOME
        ),
    },
    trial=trial,
    evaluate=evaluate,
    draw=draw,
    prepare=prepare,
    timed=Timed(
        ("arm", "host"),
        where=lambda s: s["server"].notna(),
        floor_us=1000.0,  # programs at both ends compute
    ),
)
