"""Each study in either clock: its numbers against the model, its controls, its folder.

Virtual time makes the numbers exact; real time keeps it honest, but on a busy machine it may have
only that it was too noisy to say.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from experiments import RunData, load, run
from experiments.study import STUDIES, study
from experiments.verdict.oracle import Oracle
from experiments.verdict.result import Result
from tests.fakes.routed import four_networks
from tests.virtual.runs import Runs as FirstRuns
from tests.virtual.runs import network_of
from topologies import sources
from topologies.plan import HostRole, plan

PLAN = plan(sources.load("triangle"))
ORACLE = Oracle(PLAN)
Clock = Literal["real", "virtual"]

REAL = pytest.param("real", marks=[pytest.mark.net, pytest.mark.alone])

pytestmark = pytest.mark.timeout(400)  # a test may wait for a run of its study

BELOW_MS: dict[Clock, float] = {"real": 0.3, "virtual": 0.0}
ABOVE_MS: dict[Clock, float] = {"real": 2.0, "virtual": 0.005}
"""How far a median RTT may be below and above the model, in real time on a busy machine."""

FETCH_BELOW_MS: dict[Clock, float] = {"real": 1.0, "virtual": 0.0}
FETCH_ABOVE_MS: dict[Clock, float] = {"real": 5.0, "virtual": 0.02}
"""The same for a fetch: it holds the wake-ups of the programs at both ends, and of a proxy."""

NEAR_MS = 35.0
"""How far a tail may be from the closed form: what is left of a stall, to the next request."""


@pytest.fixture(
    scope="module",
    params=[
        REAL,
        pytest.param("virtual", marks=pytest.mark.virtual),
    ],
)
def clock(request: pytest.FixtureRequest) -> Clock:
    chosen: Clock = request.param
    return chosen


LONG = {
    "announcing": "a minute; test_urpf.py and the study crosspop do in real time what it does",
    "failover": "a minute; test_failover.py breaks the same in real time",
    "flood": "a minute and a half; test_live.py has a flood in real time",
    "churn": "two minutes and a half; test_second_chance.py changes what churn changes",
    "convergence": "a minute; test_bgp.py has a silent PoP in real time",
    "playbook": "it does what inflation does, more often",
    "shedding": "a minute and a half of waiting; what sheds has tests of its own",
}
"""Studies that are run in virtual time alone, and why."""


class Runs(dict[str, RunData]):
    """A quick run of every study on the triangle, read back from its folder when it is needed."""

    def __init__(self, made: Callable[[str], Result]) -> None:
        super().__init__()
        self._made = made

    def __missing__(self, name: str) -> RunData:
        self[name] = load(self._made(name).run)
        return self[name]


@pytest.fixture(scope="module")
def runs(clock: Clock, first: FirstRuns, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    if clock == "virtual":
        return Runs(first.__getitem__)
    results = tmp_path_factory.mktemp("results")

    def made(name: str) -> Result:
        if name in LONG:
            pytest.skip(LONG[name])
        return run(name, network_of(name), quick=True, clock="real", results=results)

    return Runs(made)


def in_time(data: RunData) -> RunData:
    """A run whose times can be judged; in real time it may say itself that they cannot."""
    if data.result.noisy:
        pytest.skip(f"{data.result.study}: by its own word this machine was too busy for its times")
    return data


@pytest.mark.parametrize(
    "name",
    [name for name in STUDIES if study(name).lab],
)
def test_run_is_valid_and_its_folder_whole(runs: Runs, clock: Clock, name: str) -> None:
    data = runs[name]
    failed = [check for check in data.result.checks if not check.passed]
    assert failed == [] or data.result.noisy, failed
    assert any(check.name.startswith("control: ") for check in data.result.checks)
    files = {path.name for path in data.path.iterdir()}
    whole = {"spec.json", "manifest.json", "samples.parquet", "summary.csv", "events.csv", "logs"}
    assert whole <= files
    assert {figure.name for figure in data.figures} <= files
    network = PLAN.network if data.spec.network.name == "triangle" else four_networks()
    assert data.spec.network == study(name).prepare(network, data.spec.params)
    assert data.result.clock == clock
    assert data.manifest["links"]["backend"] == data.result.fidelity.backend
    assert data.result.fidelity.links == data.manifest["links"]["emulated"]
    assert data.manifest["versions"]["ryu"] == "4.34"
    assert [p.name for p in data.path.parent.iterdir() if p.name.startswith(".")] == []


def test_everything_reaches(runs: Runs) -> None:
    metrics = runs["reachability"].result.metrics
    assert metrics["pairs_total"].value == 3 + 6
    assert metrics["pairs_ok"].value == 9
    pairs = runs["reachability"].tables["pairs"].set_index("source")
    for client in PLAN.hosts_of(HostRole.CLIENT):
        assert pairs.loc[client.name, "pop"] in ORACLE.nearest_pops(client.name)


def test_rtts_are_the_shortest_paths(runs: Runs, clock: Clock) -> None:
    clients = in_time(runs["latency"]).tables["clients"].set_index("client")
    site = PLAN.servers_of(ORACLE.one_site())[0].name
    for client in PLAN.hosts_of(HostRole.CLIENT):
        row = clients.loc[client.name]
        nearest = PLAN.servers_of(ORACLE.nearest_pops(client.name)[0])[0].name
        for arm, server in (("anycast", nearest), ("best", nearest), ("unicast", site)):
            model_ms = ORACLE.rtt_ms(client.name, server)
            error_ms = row[f"{arm}_rtt_ms"] - model_ms
            assert -BELOW_MS[clock] - 1e-9 <= error_ms <= ABOVE_MS[clock]


def test_anycast_beats_one_site(runs: Runs) -> None:
    metrics = runs["latency"].result.metrics
    anycast, unicast = metrics["anycast_rtt_p50"].value, metrics["unicast_rtt_p50"].value
    assert anycast is not None
    assert unicast is not None
    assert anycast < unicast / 4  # 2.2 ms against about 24 ms by the model


def test_servers_share_addresses(runs: Runs) -> None:
    metrics = {name: m.value for name, m in runs["borrowing"].result.metrics.items()}
    assert metrics["servers"] == 6
    assert metrics["addresses_used"] == 3
    assert metrics["addresses_per_pop_max"] == 1
    assert metrics["connections_ok"] == metrics["connections_total"] == 6 * (1 + 3)
    assert metrics["misdelivered"] == 0
    # The only origin is in ARN: replies to the servers of the two other PoPs land there.
    assert metrics["cross_pop_share"] == pytest.approx(2 / 3, abs=0.05)
    assert metrics["plain_anycast_lost_share"] >= 2 / 3


def test_borrowed_rtts_hold_the_way_home(runs: Runs, clock: Clock) -> None:
    samples = in_time(runs["borrowing"]).samples
    paced = samples[(samples["phase"] == "paced") & (samples["outcome"] == "ok")]
    error_ms = (paced["rtt_ms"] - paced["model_rtt_ms"]).groupby(paced["design"]).median()
    assert error_ms.between(-FETCH_BELOW_MS[clock], FETCH_ABOVE_MS[clock]).all(), error_ms


def test_ports_are_those_of_the_lease(runs: Runs) -> None:
    data = runs["borrowing"]
    leases = {lease["server"]: lease for lease in data.manifest["leases"]}
    borrowed = data.samples[data.samples["design"] == "port sets"]
    for row in borrowed.itertuples():
        lease = leases[row.server]
        assert row.seen_address == lease["address"]
        assert lease["first_port"] <= row.source_port <= lease["last_port"]


def test_users_leave_with_their_country_from_where_they_landed(runs: Runs) -> None:
    metrics = {name: m.value for name, m in runs["geo"].result.metrics.items()}
    assert metrics["borrowed_accuracy"] == metrics["borrowed_local_share"] == 1
    assert metrics["abroad_accuracy"] == metrics["one_owner_accuracy"] == 1
    # Three users, each at home; then one whose PoP is withdrawn.
    assert metrics["pop_country_accuracy"] == pytest.approx(5 / 6, abs=1e-5)
    assert metrics["one_owner_local_share"] == pytest.approx(5 / 6, abs=1e-5)
    assert metrics["sets_abroad"] == 3


def test_as_many_addresses_are_taken_as_the_closed_form_says(runs: Runs) -> None:
    points = runs["scarcity"].tables["points"]
    assert (points["taken"] == points["needed"]).all()
    of_article = (points["servers"] == 200) & (points["tags"] == 12) & (points["ports"] != 32768)
    taken = points[of_article].set_index("design")["taken"]
    assert dict(taken) == {"own": 2400, "owner": 12, "port sets": 120, "shared": 84}


def test_connections_break_where_their_slots_move_and_nowhere_with_a_second_chance(
    runs: Runs,
) -> None:
    metrics = {name: m.value for name, m in runs["churn"].result.metrics.items()}
    assert metrics["second_chance_broken"] == metrics["second_chance_lost_requests"] == 0
    changes = runs["churn"].tables["changes"].set_index(["arm", "change"])
    for scheme in ("maglev", "rendezvous", "modulo"):
        shares = changes.loc[scheme]
        assert (shares["broken_share"] == shares["expected_share"]).all()
        # Half of one PoP's connections of three, and that PoP's.
        assert shares.loc["server drained", "broken_share"] == pytest.approx(1 / 6, abs=0.1)
        assert shares.loc["PoP drained", "broken_share"] == pytest.approx(1 / 3)
    assert (metrics["extra_rtt_other_pop_p50"] or 0) > 10


def test_catchments_are_those_of_the_model(runs: Runs, clock: Clock) -> None:
    data = runs["catchment"]
    catchments = data.tables["catchments"].set_index(["arm", "client"])
    assert (catchments["pop"] == catchments["named"]).all()
    assert (catchments["probed"] == catchments["pop"]).all()
    for client in PLAN.hosts_of(HostRole.CLIENT):
        best = ORACLE.nearest_pops(client.name)
        assert catchments.loc[("nearest", client.name), "pop"] in best
    in_time(data)
    for client in PLAN.hosts_of(HostRole.CLIENT):
        best = ORACLE.nearest_pops(client.name)
        there, near = (
            ORACLE.rtt_ms(client.name, PLAN.servers_of(pop)[0].name)
            for pop in (catchments.loc[("weighted", client.name), "pop"], best[0])
        )
        inflation_ms = catchments.loc[("weighted", client.name), "latency_inflation_ms"]
        assert inflation_ms == pytest.approx(there - near, abs=ABOVE_MS[clock])


def test_a_pop_that_is_too_full_sheds_and_takes_back(
    runs: dict[str, RunData], clock: Clock
) -> None:
    metrics = {name: m.value for name, m in runs["shedding"].result.metrics.items()}
    assert (metrics["capacity_cities_moved"], metrics["capacity_moves"]) == (1, 2)
    assert metrics["nearest_moves"] == 0
    assert 0 < metrics["capacity_over"] <= 12 < metrics["nearest_over"]
    client = PLAN.hosts_of(HostRole.CLIENT)[0].name
    near, there = sorted(ORACLE.rtt_ms(client, PLAN.servers_of(p)[0].name) for p in ORACLE.pops)[:2]
    assert metrics["capacity_extra_rtt_p50"] == pytest.approx(there - near, abs=ABOVE_MS[clock])


def test_each_pop_brings_its_own_city_near(runs: Runs, clock: Clock) -> None:
    table = in_time(runs["sites"]).tables["sites"].set_index(["order", "pops"])
    metrics = {name: m.value for name, m in runs["sites"].result.metrics.items()}
    here_ms = 2.5  # 1 ms of access and 0.25 ms of uplink, there and back
    for order in ("greedy", "spread", "reverse", "random", "best"):
        medians = table.loc[order]["rtt_p50_ms"]
        assert medians[1] > here_ms + 20
        assert medians[2] == pytest.approx(here_ms, abs=ABOVE_MS[clock])  # two cities of three
        # Enough is within a tenth of 2.5 ms, and so much a machine may add in real time.
        assert metrics[f"{order}_enough"] in ((2,) if clock == "virtual" else (2, 3))
    one = table.loc[("greedy", 1), "announced"]
    assert one == ORACLE.one_site()
    gain_ms = metrics["greedy_last_gain_mean"] or 0
    far = {pop: ORACLE.rtt_ms(f"{pop}-c1", f"{one}-s1") for pop in ORACLE.pops if pop != one}
    assert gain_ms == pytest.approx((min(far.values()) - here_ms) / 3, abs=ABOVE_MS[clock])


def test_an_attack_spreads_by_anycast_and_follows_a_withdrawn_pop(runs: Runs) -> None:
    data = runs["flood"]
    metrics = {name: m.value or 0 for name, m in data.result.metrics.items()}
    assert metrics["attack_share"] == pytest.approx(1.5 + 2 * 1.5 / 4)
    assert metrics["quiet_answered_share"] == metrics["unlimited_answered_share"] == 1
    assert metrics["unicast_answered_share"] == pytest.approx(1 / 2.29, abs=0.1)
    # LHR's uplink is offered half as much again as it carries; the others have room.
    assert metrics["anycast_answered_share"] == pytest.approx((2 + 1 / 1.52) / 3, abs=0.07)
    assert metrics["withdrawn_answered_share"] < metrics["anycast_answered_share"]
    assert metrics["pushed_over"] == 1
    pops = data.tables["pops"].set_index(["arm", "pop"])
    # A borrowed address brings the attack home by that PoP's uplink, until it has moved to LHR.
    assert pops.loc[("lent", "ARN"), "load_share"] == pytest.approx(1.76, abs=0.1)
    assert pops.loc[("moved", "ARN"), "load_share"] == pytest.approx(0.39, abs=0.06)
    assert pops.loc[("withdrawn", "LHR"), "packets"] <= 20  # the switches' own, if any


def test_names_spread_by_chance_and_leave_an_address_in_time(runs: Runs) -> None:
    metrics = {name: m.value or 0 for name, m in runs["names"].result.metrics.items()}
    for count in (256, 4096):
        even, skewed = (metrics[f"{how}_{count}_max_over_mean"] for how in ("random", "static"))
        assert even < skewed / 3
        # The most popular of 200 names has 17 % of 150 visits.
        assert skewed == pytest.approx(count * 0.172, rel=0.4)
    assert metrics["one_4096_max_over_mean"] == 4096
    assert 0 < metrics["ttl_3_left"] <= 3.1
    assert 0 < metrics["ttl_3_hold_2_left"] <= 5.1
    assert (
        metrics["ttl_3_lost"] == metrics["ttl_3_hold_2_lost"] == 0 < metrics["ttl_3_withdrawn_lost"]
    )


def test_rules_are_four_a_lease_and_one_an_address_in_other_pops(runs: Runs) -> None:
    metrics = {name: m.value for name, m in runs["scale"].result.metrics.items()}
    assert metrics["leases"] == 6 * 3
    # Two servers of each PoP hold three sets each, and an address has three: two addresses.
    assert metrics["lease_rules"] == 18 * 4 + 3 * 2 * 2
    assert metrics["connect_packet_ins"] == metrics["fetch_packet_ins"] == 0
    assert (metrics["borrow_packet_ins"], metrics["return_packet_ins"]) == (2, 1)
    assert metrics["release_changes"] == 4


def test_strict_upstreams_refuse_what_a_pop_does_not_announce(runs: Runs) -> None:
    metrics = {name: m.value for name, m in runs["urpf"].result.metrics.items()}
    for check in ("none", "loose", "strict"):
        assert metrics[f"{check}_everywhere_lost_share"] == 0
        assert metrics[f"{check}_nowhere_lost_share"] == 1
    assert metrics["strict_one_pop_lost_share"] == pytest.approx(2 / 3, abs=1e-5)
    assert metrics["loose_one_pop_lost_share"] == metrics["none_one_pop_lost_share"] == 0


def test_replies_come_home_over_the_backbone_and_round_it(runs: Runs, clock: Clock) -> None:
    metrics = {name: m.value or 0 for name, m in in_time(runs["crosspop"]).result.metrics.items()}
    assert metrics["whole_elsewhere_share"] == pytest.approx(2 / 3, abs=1e-5)
    # The only origin is in ARN: what lands in LHR goes there and back before it is home.
    for state, uplinks_ms in (("whole", 0.0), ("cut", 0.5)):
        model_ms = 2 * ORACLE.delay_ns("tARN", "tLHR") / 1e6 + uplinks_ms
        error_ms = metrics[f"{state}_extra_max"] - model_ms
        assert -FETCH_BELOW_MS[clock] <= error_ms <= FETCH_ABOVE_MS[clock]
    assert metrics["whole_backbone_packets"] == metrics["whole_backbone_packets_least"] > 0
    assert metrics["cut_backbone_packets"] == 0
    assert metrics["limited_goodput_p50"] < 1 < metrics["free_goodput_p50"]


def test_who_waits_for_answers_sees_nothing_of_a_stall(runs: Runs, clock: Clock) -> None:
    data = in_time(runs["workloads"])
    metrics = {name: m.value or 0 for name, m in data.result.metrics.items()}
    stall_ms, rtt_ms = data.spec.number("stall_ms"), 2.5
    # One request in a hundred of those of 5 s comes in the first 50 ms of the stall.
    tail_ms = stall_ms - 10 * data.spec.number("seconds")
    for arm, trips in (("even", 2), ("udp", 1)):
        usual = ABOVE_MS[clock] if arm == "udp" else FETCH_ABOVE_MS[clock] + 0.1
        assert metrics[f"{arm}_p50"] == pytest.approx(trips * rtt_ms, abs=usual)
        assert metrics[f"{arm}_p99"] == pytest.approx(tail_ms, abs=NEAR_MS)
    assert metrics["closed_corrected_p99"] == pytest.approx(tail_ms, abs=NEAR_MS + 20 + rtt_ms)
    for arm in ("closed", "connect"):
        assert metrics[f"{arm}_p99"] < stall_ms / 5
    assert metrics["bulk_rated_goodput"] == pytest.approx(10 * 1448 / 1514, rel=0.02)
    assert metrics["bulk_unrated_goodput"] > 20


@pytest.mark.parametrize("clock", [REAL], indirect=True)
def test_equal_seeds_give_equal_schedules(runs: Runs, clock: Clock, tmp_path: Path) -> None:
    again = load(run("borrowing", "triangle", quick=True, clock=clock, results=tmp_path).run)
    order = ["phase", "design", "server", "origin"]
    assert again.samples[order].equals(runs["borrowing"].samples[order])
