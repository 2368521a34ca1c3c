"""Finished runs played back in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from experiments.control.words import Control
from experiments.live.playback import Playback, read
from experiments.live.trips import Trip, Trips
from tests.fakes.axe import barriers
from tests.fakes.began import began
from tests.fakes.browsing import hear
from tests.fakes.lab import FakeLab
from tests.fakes.live import Link, viewing
from topologies.plan import plan
from topologies.sources import load

pytestmark = pytest.mark.browser

PLAN = plan(load("triangle"))
MS = 1_000_000


def withdrawn_at(ms: int) -> Playback:
    """A run of six seconds in which PoP LHR is withdrawn, and some clients ask meanwhile."""
    lab = FakeLab(PLAN)
    first = len(lab.records)
    control = Control(lab, "up")  # type: ignore[arg-type]
    control.pop_withdraw("LHR")
    control.link_cut("LHR-FCO")
    start = 1_767_225_600_000 * MS
    records = began(PLAN, start)
    for number, record in enumerate(lab.records):
        after = 0 if number < first else ms * MS
        records.append(record | {"at_ns": start + after, "monotonic_ns": after})
    trips = Trips(PLAN)
    for number in range(60):
        at = number * 100
        away = at >= ms
        rtt = None if ms <= at < ms + 500 else 24.0 if away else 2.1
        pop = "FCO" if away else "LHR"
        trips.add("LHR-c1", Trip(start + at * MS, rtt, pop, 24.0 if away else 2.0))
    return Playback(PLAN, "latency", records, trips)


@pytest.fixture(scope="module")
def link() -> Iterator[Link]:
    with viewing([withdrawn_at(2000)]) as made:
        yield made


@pytest.fixture
def page(browser: Browser, link: Link) -> Iterator[Page]:
    """The page of a run; it complains of nothing, and asks nobody else."""
    made = browser.new_page(viewport={"width": 1280, "height": 800})
    made.set_default_timeout(10_000)
    heard = hear(made)
    made.goto(link.url)
    expect(made.locator("#headline")).to_contain_text("ready")
    yield made
    assert heard.complaints == []
    assert [url for url in heard.requests if not url.startswith(link.url)] == []
    made.close()


def slide(page: Page, ms: int) -> None:
    page.get_by_label("time").evaluate(
        "(one, ms) => { one.value = ms; one.dispatchEvent(new Event('input')); }", ms
    )


def test_the_slider_shows_every_moment_and_goes_back(page: Page) -> None:
    city = page.locator('.spot[data-city="LHR"]')
    line = page.locator('.line[data-link="FCO-LHR"]')
    for ms, pop, state in [(1900, "LHR", "up"), (2100, "ARN", "cut"), (500, "LHR", "up")]:
        slide(page, ms)
        expect(city).to_have_attribute("data-served", pop)
        expect(line).to_have_attribute("data-state", state)
        expect(page.locator("#time-said")).to_have_text(f"{ms / 1000:.3f} s of 5.900 s")


def test_events_are_stepped_to_and_the_log_grows_with_them(page: Page) -> None:
    lines = page.locator("#log li")
    expect(lines.first).not_to_contain_text("withdraw")
    page.get_by_role("button", name="Next event").click()
    expect(page.locator("#time-said")).to_contain_text("2.000 s")
    expect(lines.first).to_contain_text("LHR")
    expect(page.locator('.spot[data-city="LHR"]')).to_have_attribute("data-state", "withdrawn")
    page.get_by_role("button", name="Event before").click()
    expect(page.locator("#time-said")).to_contain_text("0.000 s")


def test_it_plays_by_itself_to_the_end(page: Page) -> None:
    page.get_by_label("speed").select_option("100")
    page.get_by_role("button", name="Play").click()
    expect(page.locator("#time-said")).to_have_text("5.900 s of 5.900 s")
    expect(page.get_by_role("button", name="Play")).to_be_visible()


def test_round_trips_are_shown_with_losses(page: Page) -> None:
    row = page.locator("#round-trips tr", has=page.get_by_role("rowheader", name="LHR-c1"))
    slide(page, 1500)
    expect(row).to_contain_text("2.10 ms")
    expect(page.locator("#trips-said")).to_contain_text("error is 100 us now")
    slide(page, 2200)
    expect(row).to_contain_text("lost")
    slide(page, 5000)
    expect(row).to_contain_text("24.00 ms")
    spark = row.locator("svg")
    expect(spark).to_have_accessible_name(re.compile("last 40: 5 lost, the longest 24.00 ms"))
    assert (spark.locator(".losses").get_attribute("d") or "").count("M") == 5


def test_what_is_past_cannot_be_changed(page: Page) -> None:
    for name in ("Set policy", "Save as scenario", "Show the way"):
        expect(page.get_by_text(name)).to_be_hidden()
    page.locator("#pops").get_by_role("button", name="LHR").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("servers serve")
    expect(dialog.get_by_role("button")).to_have_text(["Close"])


def test_two_runs_go_by_one_slider(browser: Browser) -> None:
    with viewing([withdrawn_at(1000), withdrawn_at(3000)]) as link:
        page = browser.new_page(viewport={"width": 1600, "height": 900})
        page.set_default_timeout(10_000)
        heard = hear(page)
        page.goto(link.url)
        cities = [
            page.frame_locator("iframe").nth(n).locator('.spot[data-city="LHR"]') for n in (0, 1)
        ]
        for ms, pops in [(500, "LHR LHR"), (2000, "ARN LHR"), (3500, "ARN ARN")]:
            slide(page, ms)
            for city, pop in zip(cities, pops.split(), strict=True):
                expect(city).to_have_attribute("data-served", pop)
        expect(page.frame_locator("iframe").first.locator("#transport")).to_be_hidden()
        assert barriers(page) == []
        assert heard.complaints == []
        page.close()


def test_nothing_keeps_people_from_using_it(page: Page) -> None:
    assert barriers(page) == []


def test_a_reference_run_is_shown(browser: Browser, tmp_path: Path) -> None:
    with viewing([read(Path("results/reference/latency-europe"))]) as link:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(link.url)
        page.set_default_timeout(10_000)
        slide(page, 3000)
        expect(page.locator("#headline")).to_have_text(
            re.compile("latency, .*policy nearest, ready")
        )
        expect(page.locator("#round-trips tbody tr").first).to_be_visible()
        assert page.locator('.spot[data-served=""]').count() == 0
        page.close()
