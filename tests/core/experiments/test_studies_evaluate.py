"""Each study believes a run in which all went well, and disbelieves every kind of bad one."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from experiments import pools, study
from experiments.studies import isolation, scarcity, slices
from experiments.study import STUDIES, Evidence
from experiments.verdict import truth
from tests.fakes.evidence import EMULATOR_ERROR_MS, failed, perfect, spoil
from topologies.plan import HostRole


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("network", ["triangle", "europe"])
def test_perfect_evidence_is_believed(name: str, network: str) -> None:
    assert failed(perfect(name, network)) == []


@pytest.mark.parametrize("name", STUDIES)
def test_every_metric_has_a_unit(name: str) -> None:
    findings = study.study(name).evaluate(perfect(name))
    assert findings.metrics
    assert all(metric.unit for metric in findings.metrics.values())


PROMISED = {
    "workloads": {
        *(
            f"{arm}_{metric}"
            for arm in ("even", "poisson", "trace", "udp", "closed", "closed_corrected", "connect")
            for metric in ("requests", "p50", "p99", "p99_model")
        ),
        *(f"{arm}_dispersion" for arm in ("even", "poisson", "trace")),
        "late_max",
        "bulk_rated_goodput",
        "bulk_rated_goodput_model",
        "bulk_unrated_goodput",
    },
    "internet": {
        "ases",
        "relations",
        "random_30_rtt_p50",
        "random_30_inflation_p50",
        "greedy_10_rtt_p50",
        "given_3_far_share",
        "loss_moved_share",
        "plain_off_share",
        "best_off_share",
        "port_sets_addresses",
        "given_flood_2_absorbed_share",
    },
    "crosspop": {
        "free_goodput_p50",
        "limited_goodput_p50",
        *(
            f"{state}_{metric}"
            for state in ("whole", "cut")
            for metric in (
                "extra_p50",
                "model_extra_p50",
                "extra_max",
                "everywhere_extra_p50",
                "elsewhere_share",
                "backbone_packets",
            )
        ),
        "whole_backbone_packets_least",
        "whole_backbone_packets_most",
    },
    "urpf": {
        f"{check}_{where}_{metric}_share"
        for check in ("none", "loose", "strict")
        for where in ("everywhere", "one_pop", "nowhere")
        for metric in ("refused", "lost", "model_refused")
    },
    "scale": {
        "leases",
        "rules",
        "lease_rules",
        "lease_rules_model",
        "switch_rules_max",
        "core_rules_max",
        "core_switch_rules_max",
        "acquire_changes",
        "release_changes",
        "connect_packet_ins",
        "fetch_packet_ins",
        "borrow_packet_ins",
        "return_packet_ins",
    },
    "names": {
        *(
            f"{binding}_{metric}"
            for binding in ("random_256", "random_4096", "static_256", "static_4096", "one_4096")
            for metric in ("max_over_mean", "max_over_mean_model", "gini")
        ),
        *(
            f"{arm}_{metric}"
            for arm in ("ttl_1", "ttl_3", "ttl_3_hold_2", "ttl_3_withdrawn")
            for metric in ("left", "bound", "late", "late_model", "lost")
        ),
    },
    "flood": {
        "attack_share",
        "pushed_over",
        "quiet_answered_share",
        "unlimited_answered_share",
        "unicast_carried_share",
        *(
            f"{arm}_{metric}"
            for arm in ("unicast", "anycast", "withdrawn", "lent", "moved")
            for metric in ("answered_share", "answered_model", "rtt_p50", "load_max")
        ),
    },
    "sites": {
        "greedy_enough",
        "reverse_enough",
        "random_enough",
        "best_enough",
        "greedy_last_gain_p50",
        "greedy_rtt_p50_1",
        "greedy_rtt_p90_3",
    },
    "shedding": {
        f"{policy}_{metric}"
        for policy in ("capacity", "nearest")
        for metric in ("over", "relief", "moves", "flaps", "extra_rtt_p50", "lost")
    },
    "catchment": {
        f"{policy}_{metric}"
        for policy in ("nearest", "bgp", "regional", "weighted")
        for metric in ("rtt_p50", "li_p50", "li_p95", "li_over_25_share", "gi_p50", "load_gini")
    },
    "churn": {
        "second_chance_broken_share",
        "maglev_broken_share",
        "rendezvous_broken_share",
        "modulo_broken_share",
        "group_broken_share",
        "second_chance_lost_requests",
        "handed_back",
        "extra_rtt_same_pop_p50",
        "extra_rtt_other_pop_p50",
    },
    "scarcity": {
        "book_own_addresses",
        "book_owner_addresses",
        "book_port_sets_addresses",
        "book_shared_addresses",
        "lab_port_sets_addresses",
        "error_max",
    },
    "geo": {
        "borrowed_accuracy",
        "borrowed_local_share",
        "borrowed_rtt_p50",
        "pop_country_accuracy",
        "pop_country_accuracy_model",
        "one_owner_accuracy",
        "one_owner_local_share",
        "abroad_accuracy",
        "detour_p50",
    },
    "announcing": {
        "everywhere_elsewhere_share",
        "everywhere_extra_p50",
        "at_home_elsewhere_share",
        "at_home_prefixes",
        "one_pop_strict_refused_share",
        "plain_anycast_lost_share",
    },
    "playbook": {"ways", "plain_off_share", "best_off_share", "moved_share"},
    "inflation": {
        "usual_inflation_p50",
        "withdrawn_victim_share",
        "one_more_peer_gain",
        "one_more_customer_gain",
    },
    "convergence": {"sdn_withdrawn_last", "sdn_uplink_pulled_away_max"},
    "slices": {"connections", "erlang_error_max", "model_error_max", "lost_16_ports_load_0.9"},
    "isolation": {"forged", "kinds", "got_through", "lawful", "lawful_arrived", "thefts"},
    "failover": {
        "switches_pulled_link_p50",
        "switches_silent_link_p50",
        "switches_dead_pop_p50",
        "controller_pulled_link_p50",
        "controller_detect_p50",
        "bgp_dead_pop_p50",
    },
    "agility": {
        "borrow_p50",
        "return_p50",
        "blackout_same_pop_p50",
        "blackout_other_pop_p50",
        "broken_at_once_share",
        "broken_drained_share",
    },
    "reachability": {"pairs_ok", "pairs_total"},
    "latency": {"anycast_rtt_p50", "unicast_rtt_p50", "best_rtt_p50", "rtt_error_p50"},
    "borrowing": {
        "addresses_used",
        "servers",
        "connections_ok",
        "connections_total",
        "misdelivered",
        "cross_pop_share",
        "plain_anycast_lost_share",
    },
}


@pytest.mark.parametrize("name", STUDIES)
def test_metrics_that_scripts_rely_on_are_there(name: str) -> None:
    assert set(study.study(name).evaluate(perfect(name)).metrics) >= PROMISED[name]


@pytest.mark.parametrize("name", STUDIES)
def test_figures_are_drawn(name: str, tmp_path: Path) -> None:
    asked, evidence = study.study(name), perfect(name)
    figures = asked.draw(evidence, asked.evaluate(evidence), tmp_path)
    assert figures
    assert all(figure.read_bytes().startswith(b"\x89PNG") for figure in figures)


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("network", ["triangle", "europe"])
def test_a_run_in_which_nothing_came_back_is_invalid_and_whole(
    name: str, network: str, tmp_path: Path
) -> None:
    lost = {"outcome": "timeout", "rtt_ms": None, "seen_address": None, "pop": None}
    evidence = perfect(name, network)
    kept = {column: value for column, value in lost.items() if column in evidence.samples}
    if name == "isolation":
        kept = {"outcome": "dropped", "seen_by": ""}
    if name in ("announcing", "borrowing", "geo", "urpf", "crosspop"):
        del kept["pop"]  # there it is the server's own
    if name == "internet":
        kept = {"reached_share": 0.0}
    if name == "inflation":
        del kept["pop"]  # there it is that of the model
    spoilt = spoil(evidence, lambda s: s.index >= 0, **kept)
    for facts in ("lies", "knocks"):
        for one in spoilt.observed.get(facts, {}).get("tries", ()):
            one["outcome"] = "timeout"
    nothing = {"delivered": 0, "misdelivered": 0, "counters": {}, "dropped": {}}
    if name == "inflation":
        for one in spoilt.observed["landed"]:
            one |= {"pop": "", "spoken": "", "probed": []}
    else:
        nothing |= {"landed": {}}
    spoilt.observed.update({k: v for k, v in nothing.items() if k in spoilt.observed})
    asked = study.study(name)
    findings = asked.evaluate(spoilt)
    assert any(not check.passed for check in findings.checks)
    assert findings.answer
    assert all(figure.exists() for figure in asked.draw(spoilt, findings, tmp_path))
    json.dumps({name: metric.value for name, metric in findings.metrics.items()})


def test_latency_numbers_follow_the_model() -> None:
    metrics = study.study("latency").evaluate(perfect("latency")).metrics
    # Each city of the triangle has a PoP: 1 ms of access and 0.25 ms of uplink, there and back.
    assert metrics["anycast_rtt_p50"].value == pytest.approx(2.5 + EMULATOR_ERROR_MS)
    assert metrics["best_rtt_p50"].value == pytest.approx(2.5 + EMULATOR_ERROR_MS)
    # One site serves its own city like that and the two others over about 11 ms one way.
    assert metrics["unicast_rtt_p50"].value == pytest.approx(2.5 + 2 * 10.9, abs=0.5)
    assert metrics["rtt_error_p50"].value == pytest.approx(EMULATOR_ERROR_MS)


def test_latency_does_not_count_the_first_packet() -> None:
    slow = spoil(perfect("latency"), lambda s: s["sequence"] == 0, rtt_ms=500.0)
    metrics = study.study("latency").evaluate(slow).metrics
    assert metrics["rtt_error_p99"].value == pytest.approx(EMULATOR_ERROR_MS)


def test_latency_says_when_a_client_lands_elsewhere_or_is_not_answered() -> None:
    evidence = perfect("latency")
    evidence.observed["landed"]["LHR-c1"] = {"pop": "FCO", "server": "FCO-s1"}
    silent = spoil(
        evidence, lambda s: (s["client"] == "ARN-c1") & (s["arm"] == "anycast"), rtt_ms=None
    )
    assert failed(silent) == ["every client is answered", "every client lands in its best PoP"]


def test_reachability_counts_pairs() -> None:
    metrics = study.study("reachability").evaluate(perfect("reachability")).metrics
    assert metrics["pairs_total"].value == 3 + 6  # 3 clients to the service, 6 servers to 1 origin
    assert metrics["pairs_ok"].value == 9


def test_reachability_pair_needs_every_method() -> None:
    bad = spoil(
        perfect("reachability"),
        lambda s: (s["source"] == "LHR-c1") & (s["method"] == "tcp"),
        outcome="timeout",
    )
    findings = study.study("reachability").evaluate(bad)
    assert findings.metrics["pairs_ok"].value == 8
    assert [c.name for c in findings.checks if not c.passed] == ["every pair reaches"]


@pytest.mark.parametrize(("lost", "ok"), [(1, True), (2, False), (4, False)])
def test_reachability_pair_is_ok_at_a_share_of_its_tries(lost: int, ok: bool) -> None:
    evidence = perfect("reachability")
    samples = pd.concat([evidence.samples] * 5, ignore_index=True)
    mine = samples[(samples["source"] == "LHR-c1") & (samples["method"] == "tcp")].index
    samples.loc[mine[:lost], "outcome"] = "timeout"
    spoiled = replace(evidence, samples=samples)
    assert failed(spoiled) == ([] if ok else ["every pair reaches"])


VAIN = ["foreign port", "foreign address", "unlent set"]
LAWFUL = ["own set", "held set"]


def spoil_tries(evidence: Evidence, control: str, outcome: str) -> None:
    """Let the first try of a control end like this."""
    tries = [*evidence.observed["lies"]["tries"], *evidence.observed["knocks"]["tries"]]
    next(one for one in tries if one["control"] == control)["outcome"] = outcome


@pytest.mark.parametrize("control", VAIN)
@pytest.mark.parametrize("outcome", ["ok", "refused", "no address"])
def test_reachability_control_must_meet_silence(control: str, outcome: str) -> None:
    evidence = perfect("reachability")
    spoil_tries(evidence, control, outcome)
    (name,) = failed(evidence)
    assert name.startswith("control: ")


@pytest.mark.parametrize("control", LAWFUL)
@pytest.mark.parametrize("outcome", ["timeout", "no port"])
def test_reachability_twin_must_be_answered(control: str, outcome: str) -> None:
    evidence = perfect("reachability")
    spoil_tries(evidence, control, outcome)
    (name,) = failed(evidence)
    assert name.startswith("twin: ")


@pytest.mark.parametrize("control", [*VAIN, *LAWFUL])
def test_what_was_never_tried_proves_nothing(control: str) -> None:
    evidence = perfect("reachability")
    for facts in (evidence.observed["lies"], evidence.observed["knocks"]):
        facts["tries"] = [one for one in facts["tries"] if one["control"] != control]
    assert any(name.startswith(("control: ", "twin: ")) for name in failed(evidence))


@pytest.mark.parametrize(
    ("facts", "change", "check"),
    [
        ("lies", {"arrived": 1}, "control: no lie reaches an origin"),
        ("lies", {"lawful_arrived": 5}, "twin: a server that uses its own port set is answered"),
        ("knocks", {"misdelivered": 1}, "control: no knock at an unlent set reaches a server"),
        ("knocks", {"delivered": 8}, "twin: a port set that somebody holds answers"),
    ],
)
def test_packets_at_the_far_end_count(facts: str, change: dict[str, int], check: str) -> None:
    evidence = perfect("reachability")
    evidence.observed[facts].update(change)
    assert failed(evidence) == [check]


@pytest.mark.parametrize("duty", ["spoof", "unlent"])
def test_reachability_wants_drops_counted_at_every_pop(duty: str) -> None:
    evidence = perfect("reachability")
    evidence.observed["dropped"]["eARN"][duty] = 1  # the others counted more than enough
    word = {"spoof": "spoofed", "unlent": "unlent"}[duty]
    assert failed(evidence) == [f"{word} packets are counted at every PoP"]


@pytest.mark.parametrize("change", [{"misdelivered": 2}, {"delivered": 0}])
def test_latency_watches_its_knocks(change: dict[str, int]) -> None:
    evidence = perfect("latency")
    evidence.observed["knocks"].update(change)
    assert len(failed(evidence)) == 1


def test_borrowing_counts_addresses_by_design() -> None:
    findings = study.study("borrowing").evaluate(perfect("borrowing", "europe"))
    used = findings.tables["designs"].set_index("design")["addresses"]
    assert dict(used) == {
        "own": 15,
        "owner": 1,
        "pop owner": 5,
        "port sets": 5,
        "plain anycast": 1,
    }
    assert findings.metrics["addresses_used"].value == 5
    assert findings.metrics["servers"].value == 15


def test_borrowing_control_must_lose_every_reply_that_lands_elsewhere() -> None:
    lucky = spoil(
        perfect("borrowing"),
        lambda s: (s["design"] == "plain anycast") & (s["server"] == "LHR-s1"),
        outcome="ok",
    )
    (name,) = failed(lucky)
    assert name.startswith("control: plain anycast")


@pytest.mark.parametrize(
    ("study", "column", "network"),
    [("borrowing", "design", "europe"), ("announcing", "way", "triangle")],
)
def test_an_anycast_that_is_dead_altogether_is_no_control(
    study: str, column: str, network: str
) -> None:
    dead = spoil(
        perfect(study, network),
        lambda s: s[column] == "plain anycast",
        outcome="timeout",
    )
    assert failed(dead) == ["twin: some that land at home find their server"]


@pytest.mark.parametrize("name", ["latency", "sites", "catchment", "inflation"])
@pytest.mark.parametrize("part", [2, 3])
def test_where_everybody_should_be_answered_no_arm_may_lose_packets(name: str, part: int) -> None:
    evidence = perfect(name)
    timed = study.study(name).timed
    assert timed is not None
    for arm in evidence.samples[timed.arm].unique():
        lost = spoil(
            evidence,
            lambda s, arm=arm: (s[timed.arm] == arm) & (s["sequence"] % part == 1),
            outcome="timeout",
            rtt_ms=None,
        )
        checks = truth.checks(timed, lost.samples, lost.plan)
        assert [check.name for check in checks if check.passed is False] == [
            "nothing is lost but what links lose by themselves"
        ]


def test_borrowing_does_not_know_where_nothing_lands_elsewhere() -> None:
    evidence = perfect("borrowing")
    everywhere = evidence.samples.assign(landing_pop=evidence.samples["pop"])
    findings = study.study("borrowing").evaluate(replace(evidence, samples=everywhere))
    control = next(c for c in findings.checks if c.name.startswith("control: plain anycast"))
    assert control.passed is None


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"misdelivered": 1}, "no reply is misdelivered"),
        ({"delivered": 0}, "no reply is misdelivered"),
        ({"counters": {"home": 0, "return": 60}}, "replies that land elsewhere come home"),
        ({"counters": {}}, "replies that land elsewhere come home"),
    ],
)
def test_borrowing_disbelieves_bad_counts(changes: dict[str, object], check: str) -> None:
    evidence = perfect("borrowing")
    evidence.observed.update(changes)
    assert failed(evidence) == [check]


def test_borrowing_says_when_connections_fail() -> None:
    bad = spoil(perfect("borrowing"), lambda s: s["server"] == "ARN-s2", outcome="reset")
    assert failed(bad) == ["every borrowed connection works", "the baselines work"]


def test_agility_tells_blackouts_by_the_packet() -> None:
    metrics = study.study("agility").evaluate(perfect("agility")).metrics
    assert metrics["blackout_same_pop_p50"].value == 4.0
    assert metrics["blackout_other_pop_max"].value == 4.0
    assert metrics["broken_at_once_share"].value == 1.0
    assert metrics["move_p50"].value == 10.0


@pytest.mark.parametrize(
    ("role", "at_ms", "check", "noise"),
    [
        ("heir", 50, "control: nothing of the heir's gets through before the move", False),
        ("holder", 150, "control: nothing of the holder's gets through after it", False),
        ("holder", 112, "control: nothing of the holder's gets through after it", True),
    ],
)
def test_agility_notices_what_gets_through_at_the_wrong_time(
    role: str, at_ms: int, check: str, noise: bool
) -> None:
    moment = at_ms * 1_000_000
    spoilt = spoil(
        perfect("agility"),
        lambda s: (s["role"] == role) & (s["sent_ns"] == moment) & (s["kind"] == "other PoP"),
        arrived=True,
    )
    assert failed(spoilt) == [check]
    found = study.study("agility").evaluate(spoilt).checks
    assert [one.noise for one in found if one.name == check] == [noise]


def test_agility_notices_who_is_not_answered() -> None:
    deaf = spoil(
        perfect("agility"),
        lambda s: (s["role"] == "heir") & (s["kind"] == "same PoP"),
        outcome="lost",
    )
    assert failed(deaf) == ["twin: the holder is answered before, the heir after"]


@pytest.mark.parametrize(
    ("how", "fact", "value", "check"),
    [
        ("at once", "broken", 19, "control: a set that moves at once breaks what is open"),
        ("at once", "heir_connects", 0, "control: a set that moves at once breaks what is open"),
        ("drained", "broken", 1, "a drained set breaks nothing"),
        ("drained", "opened", 0, "a drained set breaks nothing"),
    ],
)
def test_agility_counts_connections(how: str, fact: str, value: int, check: str) -> None:
    evidence = perfect("agility")
    evidence.observed["connections"][how] = evidence.observed["connections"][how] | {fact: value}
    assert failed(evidence) == [check]


def test_geo_tells_designs_apart() -> None:
    metrics = study.study("geo").evaluate(perfect("geo", "europe")).metrics
    assert metrics["borrowed_accuracy"].value == metrics["one_owner_accuracy"].value == 1
    assert metrics["borrowed_local_share"].value == 1
    # Five PoPs in five countries: most clients land abroad.
    assert metrics["pop_country_accuracy"].value == metrics["pop_country_accuracy_model"].value
    assert 0.2 < (metrics["pop_country_accuracy"].value or 0) < 0.5
    assert 0.5 < (metrics["one_owner_local_share"].value or 0) < 1
    assert (metrics["detour_p50"].value or 0) > 1


NOTICES: Mapping[str, str] = {
    "borrowed": "who borrows has the right country",
    "one owner": "one owner gives the right country, from its own PoP",
    "pop country": "without tags an address is of its PoP's country",
    "abroad": "a pool that is dry here lends abroad, and the country is still right",
}
"""By design: the check that must notice a wrong address."""


@pytest.mark.parametrize("design", NOTICES)
def test_geo_notices_one_address_of_another_country(design: str) -> None:
    evidence = perfect("geo")
    mine = evidence.samples[evidence.samples["client"] == "ARN-c1"]
    other = mine[mine["design"] == "another country"].iloc[0]
    seen = {name: other[name] for name in ("seen_address", "seen_port")}
    spoilt = spoil(
        evidence,
        lambda s: (s["design"] == design) & (s["client"] == "ARN-c1") & (s["without"] == ""),
        **seen,
    )
    assert failed(spoilt) == [NOTICES[design]]


def test_geo_notices_an_address_of_nobody_and_one_of_another_pop() -> None:
    def of_arn(s: pd.DataFrame) -> pd.Series[bool]:
        return (s["design"] == "borrowed") & (s["client"] == "ARN-c1")

    unlent = spoil(perfect("geo"), of_arn, seen_port=60_000)
    assert failed(unlent) == ["and leaves where its client landed"]
    evidence = perfect("geo")
    elsewhere = [x for x in evidence.observed["leases"] if (x["tag"], x["pop"]) == ("se", "FCO")]
    seen = {"seen_address": elsewhere[0]["address"], "seen_port": elsewhere[0]["first_port"]}
    assert failed(spoil(evidence, of_arn, **seen)) == ["and leaves where its client landed"]


def test_geo_controls_must_fail() -> None:
    right = spoil(perfect("geo"), lambda s: s["design"] == "another country", country="")
    right.samples.loc[right.samples["design"] == "another country", "country"] = "GB"
    assert failed(right) == ["control: an address of another country is found out"]
    lent = spoil(perfect("geo"), lambda s: s["design"] == "no such tag", outcome="ok")
    assert failed(lent) == ["control: a tag that no pool has gives no connection"]
    evidence = perfect("geo")
    evidence.observed["refusal"] = ""
    assert failed(evidence) == ["control: a tag that no pool has gives no connection"]


def test_geo_notices_a_wrong_landing_a_wrong_feed_and_nobody_abroad() -> None:
    evidence = perfect("geo")
    evidence.observed["landed"][0]["pop"] = "FCO"
    assert failed(evidence) == ["every client lands in the nearest PoP that is announced"]
    evidence = perfect("geo")
    evidence.observed["geofeed"] = evidence.observed["geofeed"].replace(",SE,", ",IT,")
    assert "who borrows has the right country" in failed(evidence)
    evidence = perfect("geo")
    for lease in evidence.observed["leases"]:
        lease["home"] = lease["pop"]
    assert failed(evidence) == [NOTICES["abroad"]]


def test_scarcity_knows_the_closed_forms() -> None:
    ten = (20,) * 10
    found = {x: scarcity.needed(x, ten, 12, 2048) for x in scarcity.DESIGNS}
    assert found == {"own": 2400, "owner": 12, "port sets": 120, "shared": 12 * 7}
    assert scarcity.needed("port sets", (31, 32), 1, 2048) == 3


@pytest.mark.parametrize("ports", [1 << bits for bits in range(4, 17)])
def test_scarcity_counts_sets_as_the_book_lends_them(ports: int) -> None:
    each = pools.sets_per_address(ports)
    point = scarcity.Point("p", "shared", ports, (each + 1,), 1, 2)
    lender = scarcity.BookLender(point)
    told = [lender.borrow(*who, point.tag(0), ports).address for who in lender.servers(point)]
    assert len(set(told[:-1])) == 1
    assert told[-1] not in told[:-1]


@pytest.mark.parametrize(
    ("where", "change", "check"),
    [
        ({"place": "lab", "design": "own"}, {"taken": 4, "told": 4}, "lab: as many"),
        ({"place": "book", "design": "port sets"}, {"taken": 4, "told": 4}, "book alone: as many"),
        ({"place": "lab", "design": "own"}, {"told": 1}, "the borrowers are told"),
        ({"place": "book", "design": "port sets"}, {"abroad": 1}, "from an ample pool"),
        ({"design": "shared", "ports": 2048}, {"abroad": 0}, "where PoPs must share"),
        ({"design": "owner"}, {"outcome": "refused"}, "every borrower is lent"),
    ],
)
def test_scarcity_notices_a_wrong_count(
    where: Mapping[str, object], change: Mapping[str, object], check: str
) -> None:
    def mine(s: pd.DataFrame) -> pd.Series[bool]:
        chosen = s["servers"] > 0
        for column, value in where.items():
            chosen &= s[column] == value
        return chosen

    (name,) = failed(spoil(perfect("scarcity"), mine, **change))
    assert name.startswith(check)


LEND = {"pop": "LHR", "earliest_ns": 6}


@pytest.mark.parametrize("place", ["lab", "book"])
@pytest.mark.parametrize(
    ("which", "refused"),
    [
        ("short", []),
        ("short", [LEND]),
        ("short", [LEND | {"earliest_ns": None}]),
        ("enough", [LEND]),
    ],
)
def test_scarcity_control_must_refuse_one_with_the_right_time(
    place: str, which: str, refused: list[dict[str, object]]
) -> None:
    evidence = perfect("scarcity")
    controls = evidence.observed["controls"][place]
    controls[which] = controls[which] | {"refused": refused}
    (name,) = failed(evidence)
    assert name.startswith("control: ")


@pytest.mark.parametrize("again", [[True, True], [False, False]])
def test_scarcity_tries_again_at_the_time_that_was_told(again: list[bool]) -> None:
    evidence = perfect("scarcity")
    evidence.observed["controls"]["book"]["short"]["again"] = again
    assert failed(evidence) == ["twin: at the time that was told a set can be had, and not before"]


@pytest.mark.parametrize("attack", [*isolation.FORGERIES, *isolation.LAWFUL])
def test_isolation_notices_one_frame_of_any_kind(attack: str) -> None:
    evidence = perfect("isolation")
    first = evidence.plan.hosts_of(HostRole.SERVER)[0].name
    lawful = attack in isolation.LAWFUL
    spoilt = spoil(
        evidence,
        lambda s: (s["attack"] == attack) & (s["server"] == first),
        outcome="dropped" if lawful else "arrived",
        seen_by="" if lawful else "LHR-s2",
    )
    expected = (
        f"twin: its {attack} arrives" if lawful else "control: no forged frame reaches anybody"
    )
    assert failed(spoilt) == [expected]


def test_isolation_notices_a_switch_that_does_not_count_and_a_stolen_lease() -> None:
    evidence = perfect("isolation")
    evidence.observed["dropped"][evidence.plan.edges[0].name]["spoof"] = 1
    assert failed(evidence) == ["spoofed frames are counted at every PoP"]
    evidence = perfect("isolation")
    evidence.observed["leases"]["after"].pop()
    assert failed(evidence) == ["control: nobody ends a lease in another's name"]
    evidence = perfect("isolation")
    evidence.observed["own_release"] = False
    assert failed(evidence) == ["twin: its holder ends a lease by the same message"]


def test_slices_notices_what_is_lost_too_often_or_fails_otherwise() -> None:
    every_tenth = spoil(perfect("slices"), lambda s: s.index % 10 == 0, outcome="no port")
    assert "a model that is fed the same connections loses as many" in failed(every_tenth)
    every_third = spoil(perfect("slices"), lambda s: s.index % 3 == 0, outcome="no port")
    assert "what is lost is Erlang's share" in failed(every_third)
    one = spoil(perfect("slices"), lambda s: s.index == 7, outcome="timeout")
    assert "every connection is made or finds no port" in failed(one)


FULL = "twin: every port of the set is of use, and again to another destination"


@pytest.mark.parametrize(
    ("fact", "value", "check"),
    [
        ("one_more", "ok", "control: a full set refuses one more to the same destination"),
        ("elsewhere", "no port", FULL),
        ("used", 15, FULL),
    ],
)
def test_slices_wants_a_set_filled_to_the_last_port(fact: str, value: object, check: str) -> None:
    evidence = perfect("slices")
    evidence.observed["filled"] = evidence.observed["filled"] | {fact: value}
    assert failed(evidence) == [check]


@pytest.mark.parametrize(
    ("lines", "load", "lost"),
    [(1, 1.0, 1 / 2), (2, 1.0, 1 / 5), (5, 3.0, 0.11005), (10, 5.0, 0.01838), (100, 84.06, 0.01)],
)
def test_erlang_b_is_that_of_the_tables(lines: int, load: float, lost: float) -> None:
    assert slices.erlang_b(lines, load) == pytest.approx(lost, rel=2e-3)


def test_the_model_of_lost_calls_approaches_erlangs() -> None:
    chance, now, calls = random.Random(5), 0.0, []
    for _ in range(60_000):
        now += chance.expovariate(9.0)
        calls.append((now, chance.expovariate(1.0)))
    assert slices.lost_calls(10, calls) / len(calls) == pytest.approx(
        slices.erlang_b(10, 9.0), abs=0.01
    )


def test_failover_tells_how_long_a_failure_was_felt() -> None:
    """To the packet, at the place of the failure: 4 ms lie between two packets."""
    metrics = study.study("failover").evaluate(perfect("failover", "europe")).metrics
    for name, away in (("pulled_link", 8), ("silent_link", 258), ("dead_pop", 8), ("backbone", 8)):
        assert away - 4 <= metrics[f"switches_{name}_p50"].value < away
    assert 36 <= metrics["controller_pulled_link_p50"].value < 40
    assert metrics["controller_detect_p50"].value == 10
    assert 26 <= metrics["controller_install_p50"].value < 30
    assert metrics["bgp_dead_pop_p50"].value > 200


@pytest.mark.parametrize(
    ("recovery", "sent_ms", "outcome", "check"),
    [
        ("switches", (1_000, 1_100), "lost", "switches repair at once what they see"),
        ("switches", (1_400, 1_500), "lost", "switches notice a silent loss within four BFD"),
        ("switches", (1_000, 2_000), "lost", "everything comes back"),
        ("controller", (1_000, 2_000), "lost", "everything comes back"),
        ("bgp", (1_000, 60_000), "lost", "everything comes back"),
        ("bgp", (1_000, 60_000), "ok", "by BGP each city is away until it hears"),
        ("nobody", (1_900, 2_000), "ok", "control: nothing comes back by itself"),
        ("nobody", (100, 700), "lost", "twin: before the failure"),
    ],
)
def test_failover_notices_what_is_late_and_what_should_not_be(
    recovery: str, sent_ms: tuple[int, int], outcome: str, check: str
) -> None:
    spoilt = spoil(
        perfect("failover"),
        lambda s: (s["recovery"] == recovery) & (s["sent_ns"] / 1e6).between(*sent_ms),
        outcome=outcome,
    )
    assert any(name.startswith(check) for name in failed(spoilt))
