"""Pages in a real browser: nothing goes wrong, nothing is fetched, everything fits and prints."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page

from experiments.compare import sides as compared
from experiments.runs import rundata
from experiments.show.page import comparison, index, run
from experiments.show.page.distributions import distribution
from experiments.sweeps import sweep as sweeps
from experiments.sweeps.folder import PAGE, packed
from tests.fakes.axe import barriers
from tests.fakes.pages import HOSTILE, hostile, run_data

pytestmark = pytest.mark.browser

REFERENCE = Path(__file__).parents[2] / "results" / "reference"
WIDTHS = (360, 1280)
Scheme = Literal["light", "dark"]
READY = "() => Bokeh.documents.length > 0 && Bokeh.documents[0].is_idle"


@dataclass
class Seen:
    """A page that is open, what it complained of, and what it asked for."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@contextmanager
def opened(
    browser: Browser, path: Path, width: int = 1280, scheme: str = "light"
) -> Iterator[Seen]:
    """A page in a window of its own; nothing wrong has happened by the end."""
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
    seen = Seen(page)
    page.on(
        "console",
        lambda said: said.type in ("error", "warning") and seen.complaints.append(said.text),
    )
    page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    page.on("dialog", lambda dialog: seen.complaints.append(f"dialog {dialog.message}"))
    page.on("request", lambda request: seen.requests.append(request.url))
    page.goto(path.as_uri())
    if page.locator("#times").count():
        page.wait_for_function(READY)
    yield seen
    assert seen.complaints == []
    assert [url for url in seen.requests if not url.startswith("data:")] == [path.as_uri()]
    page.close()


def _latency(folder: Path) -> str:
    return run.render(rundata.load(REFERENCE / "latency-europe"))


def _without_times(folder: Path) -> str:
    return run.render(run_data("failover", folder))


def _many_arms(folder: Path) -> str:
    return run.render(run_data("catchment", folder, "world"))


def _hostile(folder: Path) -> str:
    return run.render(hostile(run_data("latency", folder)))


def _index(folder: Path) -> str:
    return index.render(index.entries(REFERENCE.parent))


def _sweep(folder: Path) -> str:
    made = sweeps.prepare("latency", ["pops=1,2"], repeat=2, quick=True, results=folder / "results")
    first, second, *_ = made.sweep.turns
    made.keep(first, packed(REFERENCE / "latency-europe"))
    made.keep_failure(second, HOSTILE)
    sweeps.conclude(made)
    return (made.path / PAGE).read_text()


def _comparison(folder: Path) -> str:
    """Of a run and of one with another, hostile, name, which is not valid."""
    sides = compared.read([REFERENCE / "latency-europe", _copy(folder / HOSTILE.replace("/", ""))])
    found = [replace(sides[0], unbelieved=()), replace(sides[1], unbelieved=(HOSTILE,))]
    times = [distribution("anycast", [3.0, 4.0, 9.0]), distribution(HOSTILE, [2.0, 4.0])]
    by_label = {side.label: times for side in found}
    violated = {"anycast_rtt_p50 > 1.05x": [], "lost_share > 0": [found[1].label]}
    return comparison.render(found, compared.lines(found), violated, by_label)


def _copy(folder: Path) -> Path:
    shutil.copytree(REFERENCE / "latency-europe", folder)
    return folder


PAGES: dict[str, Callable[[Path], str]] = {
    "latency": _latency,
    "failover": _without_times,
    "catchment": _many_arms,
    "hostile": _hostile,
    "index": _index,
    "sweep": _sweep,
    "comparison": _comparison,
}


@pytest.fixture(scope="module", params=PAGES)
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of each kind."""
    folder = tmp_path_factory.mktemp(request.param)
    page = folder / "report.html"
    page.write_text(PAGES[request.param](folder), encoding="utf-8")
    return page


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1280, "dark")])
def test_a_page_fits_its_window(browser: Browser, path: Path, width: int, scheme: Scheme) -> None:
    with opened(browser, path, width, scheme) as seen:
        page = seen.page
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
        back = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (back == "rgb(255, 255, 255)") is (scheme == "light")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_keeps_people_from_using_a_page(
    browser: Browser, path: Path, scheme: Scheme
) -> None:
    with opened(browser, path, scheme=scheme) as seen:
        assert barriers(seen.page) == []


def test_a_page_prints(browser: Browser, path: Path) -> None:
    with opened(browser, path, scheme="dark") as seen:
        printed = seen.page.pdf(format="A4")
        assert printed.startswith(b"%PDF")
        assert len(re.findall(rb"/Type\s*/Page\b", printed)) >= 1
        seen.page.emulate_media(media="print")
        seen.page.set_viewport_size({"width": 680, "height": 900})  # A4 within its margins
        seen.page.wait_for_function("() => document.documentElement.scrollWidth <= 680")
        back = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert back == "rgb(255, 255, 255)"


@pytest.mark.parametrize("width", WIDTHS)
def test_a_chart_is_drawn_and_tells_its_values(
    browser: Browser, tmp_path: Path, width: int
) -> None:
    path = tmp_path / "report.html"
    path.write_text(_latency(tmp_path), encoding="utf-8")
    with opened(browser, path, width) as seen:
        canvas = seen.page.locator("#times canvas").first
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        assert box is not None
        assert box["width"] > 0.7 * (width - 60)
        assert box["height"] > 300
        frame = seen.page.evaluate(
            "() => { const view = Object.values(Bokeh.index.roots ?? Bokeh.index)[0];"
            " const at = view.frame.bbox, area = view.el.getBoundingClientRect();"
            " const x = view.frame.x_scale.compute(9.5), y = view.frame.y_scale.compute(0.5);"
            " return [area.x + x, area.y + y, at.height]; }"
        )
        assert frame[2] > 150
        seen.page.mouse.move(frame[0], frame[1])
        told = seen.page.get_by_text(re.compile(r"^\d+\.\d{3} ms$"))
        told.first.wait_for(timeout=10_000)


def test_markup_in_names_is_shown_as_it_is(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(_hostile(tmp_path), encoding="utf-8")
    with opened(browser, path) as seen:
        assert seen.page.title() != "had"
        assert HOSTILE in seen.page.locator(".answer").inner_text()
        assert HOSTILE in seen.page.locator("#times table").inner_text()


def test_the_list_leads_to_the_pages(browser: Browser, tmp_path: Path) -> None:
    made = tmp_path / "latency" / "a run, 100 % #1"
    shutil.copytree(REFERENCE / "latency-europe", made)
    (made / "report.html").write_text(_latency(tmp_path), encoding="utf-8")
    path = tmp_path / "index.html"
    path.write_text(index.render(index.entries(tmp_path)), encoding="utf-8")
    page = browser.new_page()
    page.goto(path.as_uri())
    page.get_by_role("link", name="latency on europe").click()
    assert (
        page.locator("h1").inner_text()
        == "How close does anycast bring the service to each client?"
    )
    page.close()
