"""The page of a run: all that a run says is in it, nothing is loaded, nothing breaks out."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from experiments import study
from experiments.show import words
from experiments.show.page import run
from experiments.study import STUDIES
from experiments.verdict.result import Check
from tests.fakes.markup import Page
from tests.fakes.pages import HOSTILE, hostile, run_data

SECTIONS = ["map", "times", "metrics", "checks", "fidelity", "figures", "samples", "again"]


@pytest.mark.parametrize("name", STUDIES)
def test_all_that_a_run_says_is_in_its_page(name: str, tmp_path: Path) -> None:
    data = run_data(name, tmp_path)
    asked = study.study(name)
    page = Page(run.render(data))
    said = [asked.question, data.answer, data.spec.network.description, "valid"]
    for metric, value in data.result.metrics.items():
        said += [" ".join([metric, *filter(None, words.metric(value))])]
    for check in data.result.checks:
        said += [f"{check.name} passed {check.detail}"]
    for what, value, bound in words.fidelity(data.result.fidelity):
        said += [what, f"{value} {bound}".strip()]
    said += [f"all {len(data.samples):,}", "python 3.11.2", "0123abc and changes"]
    for sentence in said:
        assert " ".join(sentence.split()) in page.text, sentence
    sections = [attributes["id"] for attributes in page.all("section")]
    assert sections == [x for x in SECTIONS if x != "times" or asked.timed]
    assert len(page.all("img")) == len(data.figures) > 0
    for image in page.all("img"):
        assert image["src"].startswith("data:image/svg+xml;base64,")
        assert len(image["alt"]) > 30
        assert image["alt"] in page.text


def test_an_older_run_has_its_figures_as_they_are(tmp_path: Path) -> None:
    data = run_data("latency", tmp_path)
    for path in tmp_path.glob("*.svg"):
        path.unlink()
    for image in Page(run.render(data)).all("img"):
        assert image["src"].startswith("data:image/png;base64,")
        assert "of the study latency" in image["alt"]


@pytest.mark.parametrize("name", ["latency", "failover"])
def test_nothing_is_loaded_from_anywhere(name: str, tmp_path: Path) -> None:
    text = run.render(run_data(name, tmp_path))
    page = Page(text)
    assert page.loads
    assert all(load.startswith("data:") for load in page.loads)
    assert not re.search(r"@import|url\(", "".join(re.findall(r"<style>.*?</style>", text, re.S)))
    policy = next(meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none';")
    allowed = [rule.split()[1:] for rule in policy.split(";")[1:]]
    assert allowed == [["data:"], ["'unsafe-inline'"], ["'unsafe-inline'"]]


def test_the_chart_is_there_for_studies_with_times_alone(tmp_path: Path) -> None:
    assert "Bokeh" in run.render(run_data("latency", tmp_path))
    without = run.render(run_data("failover", tmp_path))
    assert "Bokeh" not in without
    assert Page(without).all("script") == []


def test_names_from_elsewhere_stay_names(tmp_path: Path) -> None:
    data = run_data("latency", tmp_path)
    plain, page = Page(run.render(data)), Page(run.render(hostile(data)))
    assert len(page.all("script")) == len(plain.all("script"))
    assert len(page.all("img")) == len(plain.all("img"))
    assert page.text.count(HOSTILE) >= 10
    assert not any("onerror" in attributes for _, attributes in page.elements)


@pytest.mark.parametrize(
    ("checks", "clock", "kind", "said"),
    [
        ((Check("a", True, ""),), "real", "valid", "valid Every check passed"),
        ((Check("a", False, ""),), "real", "invalid", "INVALID: 1 of 1 checks failed Do not rely"),
        ((Check("a", None, ""),), "real", "unknown", "UNKNOWN: 1 of 1 checks could not be told"),
        ((Check("a", False, "", noise=True),), "real", "noisy", "NOISY (INVALID: 1 of 1 checks"),
        ((Check("a", False, "", noise=True),), "virtual", "invalid", "INVALID: 1 of 1 checks"),
        ((), "real", "invalid", "INVALID: 0 of 0 checks failed"),
    ],
)
def test_a_verdict_is_said_in_words_and_shown_in_colour(
    checks: tuple[Check, ...], clock: str, kind: str, said: str, tmp_path: Path
) -> None:
    data = run_data("latency", tmp_path)
    result = replace(data.result, checks=checks, sandbox={"clock": clock})
    page = Page(run.render(replace(data, result=result)))
    assert f"verdict {kind}" in [attributes.get("class") for attributes in page.all("p")]
    assert said in page.text


def test_a_run_without_answers_still_has_a_page(tmp_path: Path) -> None:
    data = run_data("latency", tmp_path)
    samples = data.samples.assign(outcome="lost", rtt_ms=None)
    tables = {"clients": data.tables["clients"].assign(pop=None)}
    page = Page(run.render(replace(data, samples=samples, tables=tables)))
    assert f"lost {len(samples)}" in page.text
    assert "times" not in [attributes["id"] for attributes in page.all("section")]
    assert "Clients that no PoP served: 3." in page.text
