"""What is rare and lawful: parameters at their ends, arms that nobody answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiments.errors import UsageError
from experiments.runs import runner
from experiments.show.figures import slices as figure
from experiments.studies import internet, playbook, scarcity, slices
from experiments.study import Evidence
from experiments.verdict import names
from tests.fakes import evidence as made_up
from tests.fakes.evidence import failed, judged, network_for, of, perfect, spoil
from topologies import sources
from topologies.plan import plan


def values(e: Evidence) -> dict[str, Any]:
    return {name: metric.value for name, metric in judged(e).metrics.items()}


@pytest.mark.parametrize(
    ("name", "params", "cause"),
    [
        ("names", {"hold_s": 0}, "hold_s is a number from 0.0001 up"),
        ("names", {"zipf": 200}, "zipf is 10 at most, not 200"),
        ("convergence", {"packets": 1}, "packets is a whole number from 2 up"),
        ("convergence", {"bfd_ms": 0.4}, "bfd_ms without a fraction"),
        ("slices", {"loads": (0.0,)}, "loads is a number from 0.0001 up"),
        ("slices", {"ports": (16.0, 16.0)}, "ports has a value twice"),
        ("internet", {"volumes": (0.0,)}, "volumes is a number from 0.0001 up"),
        ("internet", {"prepends": 0.5}, "prepends is a whole number from 1 up"),
    ],
)
def test_what_would_only_be_noticed_after_the_trial_is_refused_before(
    name: str, params: dict[str, Any], cause: str
) -> None:
    network = sources.load("tiers", upstream="bgp") if "bfd_ms" in params else "triangle"
    source = network_for(name, network) if isinstance(network, str) else network
    with pytest.raises(UsageError, match=cause):
        runner.make_spec(name, source, quick=True, params=params)


@pytest.mark.parametrize(("visits", "cells"), [(200, 2), (2000, 2), (2000, 256), (5000, 3)])
def test_the_busiest_address_is_as_busy_as_by_chance(visits: int, cells: int) -> None:
    chance = np.random.default_rng(1)
    loads = chance.multinomial(visits, [1 / cells] * cells, size=2000).max(axis=1)
    assert names.busiest_of_random(visits, cells) == pytest.approx(
        loads.mean() * cells / visits, rel=0.02
    )


def test_where_the_plain_way_is_the_best_the_answer_says_so() -> None:
    network = sources.load("tiers")
    made = plan(network)
    landed = playbook._of_clients(made, playbook.catchments(made, playbook.plain(made)))
    pops = tuple(replace(pop, weight=max(1, landed.count(pop.city))) for pop in network.pops)
    e = perfect("playbook", replace(network, pops=pops))
    found = values(e)
    least = found["model_best_off_share"]
    assert found["best_off_share"] == found["plain_off_share"] == least
    assert "ways is better" in judged(e).answer


def test_an_answer_about_replies_that_land_elsewhere_is_about_them_alone() -> None:
    e = perfect("announcing")
    home = e.samples["pop"] == e.samples["landing_pop"]
    borrowed = e.samples["way"] == "everywhere"
    slower = e.samples.assign(rtt_ms=e.samples["rtt_ms"] + 7.0 * (borrowed & home))
    before, after = values(e), values(replace(e, samples=slower))
    assert before["everywhere_extra_p50"] != after["everywhere_extra_p50"]
    assert before["everywhere_away_extra_p50"] == after["everywhere_away_extra_p50"]
    assert after["at_home_away_extra_p50"] is None
    faster = e.samples.assign(rtt_ms=e.samples["rtt_ms"] - 90.0 * (borrowed & ~home))
    assert " ms less for them, median)" in judged(replace(e, samples=faster)).answer


def test_an_heir_that_is_never_answered_is_no_heir() -> None:
    e = perfect("agility")
    heirs = spoil(e, of(act="move", role="heir"), outcome="lost", arrived=False)
    late = max(e.samples["sent_ns"]) + 1
    moves = [move | {"ended_ns": late} for move in e.observed["moves"]]
    slow = replace(heirs, observed=e.observed | {"moves": moves})
    assert "twin: the holder is answered before, the heir after" in failed(slow)


def test_who_never_comes_back_is_in_no_longest_time() -> None:
    e = perfect("convergence")
    arm = e.samples["arm"].iloc[0]
    mine = (e.samples["change"] == "uplink pulled") & (e.samples["arm"] == arm)
    hit = e.samples[mine & (e.samples["outcome"] != "ok")]["client"].iloc[0]
    gone = mine & (e.samples["client"] == hit) & (e.samples["after_ms"] > 0)
    lost = e.samples.assign(
        outcome=e.samples["outcome"].mask(gone, "lost"), pop=e.samples["pop"].mask(gone, None)
    )
    found = judged(replace(e, samples=lost))
    assert found.answer == "Not everybody came back while clients were watched."
    key = f"{arm}_uplink_pulled".lower().replace(" ", "_")
    assert found.metrics[f"{key}_away_max"].value is None


def test_the_smallest_sets_are_told_whatever_order_sizes_have() -> None:
    spec = runner.make_spec("scarcity", "triangle", quick=True, params={"ports": (65536.0, 2048.0)})
    base = perfect("scarcity")
    points = {
        scarcity.LAB: scarcity.lab_points(spec.network, spec.params),
        scarcity.BOOK: scarcity.book_points(spec.params),
    }
    rows = [
        made_up._counted(place, point)
        for place, some in points.items()
        for point in some
        if not point.name.endswith((scarcity.SHORT, scarcity.ENOUGH))
    ]
    e = replace(base, spec=spec, samples=pd.DataFrame(rows))
    table = judged(e).tables["points"]
    book = table[(table["place"] == "book") & (table["ports"] == 2048)]
    for design in (scarcity.PORT_SETS, scarcity.SHARED):
        most = book[book["design"] == design]["taken"].max()
        assert values(e)[f"book_{design.replace(' ', '_')}_addresses"] == most
    assert values(e)["book_own_addresses"] > values(e)["book_port_sets_addresses"]


def test_where_nothing_was_offered_nothing_is_said() -> None:
    e = perfect("slices")
    empty = replace(e, samples=e.samples.iloc[:0])
    assert judged(empty).answer == "Nothing was offered, so nothing can be said."
    assert "what is lost is Erlang's share" in failed(empty)


def test_every_size_and_load_is_drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(figure, "saved", lambda sheet, path, _alt: (drawn.append(sheet), path)[1])
    sizes, loads = (16, 32, 64, 128, 256, 512), (0.1, 0.9, 2.0)
    rows = [{"ports": n, "load": x, "lost_share": 0.1} for n in sizes for x in loads]
    figure.draw(pd.DataFrame(rows), slices.erlang_b, tmp_path / "x.png")
    (axes,) = drawn[0].axes
    assert len(axes.get_legend().get_texts()) == len(sizes)
    left, right = axes.get_xlim()
    assert left <= 0.1
    assert right >= 2.0


def test_an_arm_that_asks_nothing_has_no_times() -> None:
    assert values(perfect("workloads", rate_per_s=0.01))["late_max"] is None


def test_where_no_link_can_be_spared_nothing_is_said_of_silence() -> None:
    e = perfect("failover")
    links = ("silent link", "pulled link")
    breaks = [x for x in e.observed["breaks"] if x["failure"] not in links]
    kept = e.samples[~e.samples["failure"].isin(links)]
    (check,) = (
        x
        for x in judged(replace(e, samples=kept, observed=e.observed | {"breaks": breaks})).checks
        if "silent loss" in x.name
    )
    assert check.passed is None


def test_kinds_are_counted_not_frames() -> None:
    e = spoil(perfect("isolation"), of(attack="label"), outcome="arrived", seen_by="X")
    (check,) = (x for x in judged(e).checks if x.name.startswith("control: no forged"))
    assert check.detail.startswith("1 of ")


def test_only_a_check_says_that_a_closed_form_holds() -> None:
    assert "closed form" not in judged(perfect("scale")).answer


def test_one_number_of_sites_is_not_compared_with_itself() -> None:
    rows = [
        {"arm": arm, "sites": sites, "rtt_p50_ms": 21.3, "rtt_mean_ms": 21.3}
        for arm, sites in ((internet.RANDOM, 10), (internet.GREEDY, 1))
    ]
    assert internet._nearer(pd.DataFrame(rows)).passed is None
    assert internet._greedy_pays(pd.DataFrame(rows)).passed is None
