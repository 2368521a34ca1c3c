"""The parts of a page: distributions, the map, who is served where, and the list of runs."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.runs import rundata, runfolder
from experiments.show.page import atlas, catchments, distributions, index
from experiments.show.page.distributions import MOST_POINTS, distribution
from experiments.study import STUDIES, study
from tests.core.topologies.network_strategies import networks
from tests.fakes.evidence import perfect
from tests.fakes.markup import Page
from tests.fakes.pages import HOSTILE, run_data
from topologies import sources
from topologies.model import Network, Policy
from topologies.plan import plan

REFERENCE = Path(__file__).parents[3] / "results" / "reference"

TIMES = st.lists(st.floats(0, 1e6), min_size=1, max_size=50)


@given(TIMES)
def test_a_small_distribution_has_every_time(times: list[float]) -> None:
    made = distribution("x", times)
    assert made.values == sorted(times)
    assert made.shares[-1] == 1
    assert (made.least, made.most, made.counted) == (min(times), max(times), len(times))
    assert not made.thinned


@pytest.mark.parametrize("count", [MOST_POINTS, MOST_POINTS + 1, 100_000])
def test_a_large_one_is_thinned_to_points_that_lie_on_it(count: int) -> None:
    times = np.random.default_rng(1).exponential(10, count)
    made = distribution("x", times)
    assert made.thinned is (count > MOST_POINTS)
    assert len(made.values) <= MOST_POINTS
    assert (made.least, made.most, made.counted) == (times.min(), times.max(), count)
    below = np.searchsorted(np.sort(times), made.values, side="right") / count
    assert below == pytest.approx(made.shares)
    assert max(np.diff([0, *made.shares])) < 2 / MOST_POINTS + 2 / count
    assert made.quantiles == pytest.approx(np.quantile(times, (0.05, 0.5, 0.95, 0.99)))


@pytest.mark.parametrize("name", [name for name in STUDIES if study(name).timed])
def test_times_are_told_apart_by_what_a_study_compares(name: str) -> None:
    samples, timed = perfect(name).samples, study(name).timed
    assert timed is not None
    found = distributions.by_arm(timed, samples)
    assert 2 <= len(found) <= 10
    assert {one.arm for one in found} <= set(samples[timed.arm])
    assert sum(one.counted for one in found) == int(timed.counting(samples).sum())


def _apart(made: atlas.Atlas) -> None:
    """No label lies on another, however the map is enlarged."""
    for zoom in atlas.ZOOMS:
        boxes = [
            (
                zoom * label.city[0] + label.away[0],
                zoom * label.city[1] + label.away[1],
                atlas.LETTER * label.size * len(label.text),
                label.size,
            )
            for label in made.labels
            if label.zoom <= zoom
        ]
        for n, (x, y, width, height) in enumerate(boxes):
            for x2, y2, width2, height2 in boxes[:n]:
                apart = abs(x - x2) + 0.2 >= (width + width2) / 2
                assert apart or abs(y - y2) + 0.2 >= (height + height2) / 2


@settings(max_examples=12)
@given(networks())
def test_a_map_has_every_city_in_it_and_no_label_on_another(network: Network) -> None:
    made = atlas.atlas(network, {})
    assert len(made.places) == len(network.cities)
    for place in made.places:
        assert 0 <= place.x <= made.width
        assert 0 <= place.y <= made.height
    numbers = [float(x) for outline in made.land for x in re.findall(r"-?[\d.]+", outline)]
    assert all(-0.1 <= number <= max(made.width, made.height) + 0.1 for number in numbers)
    _apart(made)
    texts = [label.text for label in made.labels]
    assert len(texts) == len(set(texts))


def test_a_crowd_of_cities_has_more_labels_on_a_larger_map() -> None:
    network = sources.load("backbone/europe")
    made = atlas.atlas(network, {})
    shown = [sum(label.zoom <= zoom for label in made.labels) for zoom in atlas.ZOOMS]
    assert shown[0] == len(made.first_labels) < len(network.cities)
    assert shown == sorted(shown)
    assert shown[-1] > 1.5 * shown[0]
    _apart(made)


def test_a_map_says_who_serves_whom() -> None:
    network = sources.load("europe")
    made = atlas.atlas(network, {"ATH": "FCO", "FCO": "FCO"})
    titles = {place.title.split()[0]: place for place in made.places}
    assert titles["ATH"].title == "ATH Athens, served by FCO"
    assert titles["ATH"].served == atlas.looks(network)["FCO"]
    assert titles["FCO"].pop == titles["FCO"].served
    assert titles["OSL"].served is None
    assert len(made.first_labels) == len(made.labels) == len(network.cities)
    assert len(made.lines) == len(network.links) + len(network.backbone)


def test_who_serves_whom_is_as_the_study_found() -> None:
    made = plan(sources.load("triangle"))
    table = pd.DataFrame(
        [("LHR-c1", "LHR", "FCO"), ("ARN-c1", "ARN", "ARN"), ("FCO-c1", "FCO", None)],
        columns=["client", "city", "pop"],
    )
    found = catchments.catchments(made, {"clients": table})
    assert found.source == catchments.MEASURED
    assert found.by_city == {"LHR": "FCO", "ARN": "ARN"}
    assert {pop.pop: pop.clients for pop in found.pops} == {"LHR": 0, "ARN": 1, "FCO": 1}
    assert found.unserved == 1


def test_of_several_arms_the_networks_own_policy_tells() -> None:
    evidence = perfect("catchment")
    tables = study("catchment").evaluate(evidence).tables
    for policy in (Policy.NEAREST, Policy.WEIGHTED):
        network = replace(evidence.plan.network, steering=policy)
        found = catchments.catchments(plan(network), tables)
        mine = tables["catchments"][tables["catchments"]["arm"] == policy.value]
        assert found.by_city == dict(zip(mine["city"], mine["pop"], strict=True))


def test_of_a_policy_that_was_not_tried_the_model_tells() -> None:
    evidence = perfect("catchment")
    tables = study("catchment").evaluate(evidence).tables
    network = replace(evidence.plan.network, steering=Policy.CAPACITY)
    assert catchments.catchments(plan(network), tables).source == catchments.BY_MODEL


def test_where_no_study_tells_the_model_does() -> None:
    found = catchments.catchments(plan(sources.load("triangle")), {})
    assert found.source == catchments.BY_MODEL
    assert found.by_city == {"LHR": "LHR", "ARN": "ARN", "FCO": "FCO"}
    assert found.unserved == 0


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder of results: two runs, one damaged, one that broke off, one not finished yet."""
    for name in ("latency", "borrowing"):
        shutil.copytree(REFERENCE / f"{name}-europe", tmp_path / name / "one run #1")
    (tmp_path / "latency" / "one run #1" / runfolder.PAGE).write_text("")
    shutil.copytree(tmp_path / "latency" / "one run #1", tmp_path / "latency" / "damaged")
    (tmp_path / "latency" / "damaged" / "result.json").write_text("[]")
    (tmp_path / "geo" / "two.failed").mkdir(parents=True)
    unfinished = tmp_path / "geo" / ".three.unfinished"
    shutil.copytree(tmp_path / "latency" / "one run #1", unfinished)
    return tmp_path


def test_the_list_has_every_run(results: Path) -> None:
    found = {entry.name: entry for entry in index.entries(results)}
    assert set(found) == {
        "latency/one run #1", "borrowing/one run #1", "latency/damaged", "geo/two.failed",
    }  # fmt: skip
    good = found["latency/one run #1"]
    assert good.link == "latency/one%20run%20%231/report.html"
    assert (good.title, good.kind, good.verdict) == ("latency on europe", "valid", "valid")
    assert found["borrowing/one run #1"].link == ""
    assert found["latency/damaged"].verdict == "cannot be read"
    assert found["geo/two.failed"].verdict == "broke off"
    order = [entry.began for entry in index.entries(results)]
    assert order == sorted(order, reverse=True)


def test_the_list_is_a_page_like_the_others(results: Path) -> None:
    found = index.entries(results)
    page = Page(index.render([*found, replace(found[0], title=HOSTILE, answer=HOSTILE)]))
    links = [attributes["href"] for attributes in page.all("a")]
    assert all((results / link.replace("%20", " ").replace("%23", "#")).exists() for link in links)
    assert page.text.count(HOSTILE) == 2
    assert page.all("script") == []
    assert page.loads == []
    answer = json.loads((REFERENCE / "latency-europe" / "result.json").read_text())["answer"]
    assert answer in page.text


def test_figures_come_out_the_same_each_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        run_data("latency", tmp_path / name)
    drawn = sorted(path.name for path in (tmp_path / "one").glob("*.svg"))
    assert drawn == ["catchment-map.svg", "latency-cdf.svg"]
    for name in drawn:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_page_of_a_reference_run_can_be_made() -> None:
    from experiments.show.page.run import render

    page = Page(render(rundata.load(REFERENCE / "latency-europe")))
    assert "poplab reproduce" in page.text
