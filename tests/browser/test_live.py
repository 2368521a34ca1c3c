"""The live view in a real browser, on a lab without a network.

What is done on the page is looked at in the lab, and what happens in the lab on the page.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from experiments.control import places, trace
from experiments.control.words import link_name
from experiments.live import follower
from tests.fakes.axe import barriers
from tests.fakes.browsing import hear
from tests.fakes.lab import FakeLab, running
from tests.fakes.live import Link, serving_live
from tests.fakes.way import BACK, THERE, WAY
from topologies.plan import plan
from topologies.sources import load

pytestmark = pytest.mark.browser

LOST = "The connection to poplab live is lost"


@dataclass
class Seen:
    """A page that is open, its lab, and what it complained of."""

    page: Page
    lab: FakeLab
    link: Link
    complaints: list[str]

    def row(self, table: str, name: str) -> Locator:
        """The row of a table that begins with a name."""
        head = self.page.get_by_role("rowheader", name=name, exact=True)
        return self.page.locator(f"#{table} tr", has=head)

    def open(self, table: str, name: str) -> Locator:
        """The dialog of what a table's row has a button for."""
        self.row(table, name).get_by_role("button").click()
        return self.page.get_by_role("dialog")


@contextmanager
def opened(
    browser: Browser, lab: FakeLab, link: Link, width: int = 1280, scheme: Any = "light"
) -> Iterator[Seen]:
    """A page in a window of its own; what it asked for came from its own server alone."""
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.set_default_timeout(10_000)
    heard = hear(page)
    seen = Seen(page, lab, link, heard.complaints)
    page.goto(link.url)
    expect(page.locator("#headline")).to_contain_text("ready")
    yield seen
    assert [url for url in heard.requests if not url.startswith(link.url)] == []
    page.close()


@contextmanager
def at(folder: Path, network: str = "triangle") -> Iterator[tuple[FakeLab, Link]]:
    """A lab, and its live view."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(folder))
        with running(plan(load(network))) as lab, serving_live(places.find(None)) as link:
            yield lab, link


@pytest.fixture
def seen(browser: Browser, tmp_path: Path) -> Iterator[Seen]:
    """The page of ``triangle``; nothing wrong has happened by the end."""
    with at(tmp_path) as (lab, link), opened(browser, lab, link) as found:
        yield found
        assert found.complaints == []


def until(holds: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def spot(seen: Seen, city: str) -> Locator:
    return seen.page.locator(f'.spot[data-city="{city}"]')


def line(seen: Seen, name: str) -> Locator:
    return seen.page.locator(f'.line[data-link="{name}"]')


# -- what happens in the lab is seen


def test_a_city_has_the_mark_of_the_pop_that_serves_it_now(seen: Seen) -> None:
    expect(spot(seen, "LHR")).to_have_attribute("data-served", "LHR")
    shape = spot(seen, "LHR").locator(".mark")
    before = shape.get_attribute("d")
    seen.lab.happen({"event": "PopSet", "pop": "LHR", "state": "withdrawn"})
    expect(spot(seen, "LHR")).to_have_attribute("data-served", "FCO")
    expect(spot(seen, "LHR")).to_have_attribute("data-state", "withdrawn")
    expect(spot(seen, "LHR").locator(".crossed")).to_be_visible()
    assert shape.get_attribute("d") != before
    expect(seen.row("cities", "LHR")).to_contain_text("FCO")
    expect(seen.row("pops", "LHR")).to_contain_text("withdrawn")
    expect(spot(seen, "LHR").locator("title")).to_have_text("LHR, PoP, withdrawn, served by FCO")
    for pop in ("ARN", "FCO"):
        seen.lab.happen({"event": "PopSet", "pop": pop, "state": "withdrawn"})
    expect(spot(seen, "LHR")).to_have_attribute("data-served", "")
    expect(seen.row("cities", "LHR")).to_contain_text("nobody")


def test_addresses_are_strips_of_their_port_sets(
    seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "PROBE_EVERY_S", 0.2)  # the server is never without news
    strips = seen.page.locator("#strips li")
    expect(strips).to_have_count(3)
    first = strips.first.get_by_role("button")
    expect(first).to_have_count(2)
    expect(first.first).to_have_accessible_name("203.0.113.0 ports 2048-4095: lent to LHR-s1")
    seen.lab.change_lease("revoke", "203.0.113.0", 2048)
    expect(first.first).to_have_accessible_name(
        "203.0.113.0 ports 2048-4095: quarantined after LHR-s1"
    )
    expect(first.first).to_have_class("set quarantined")
    ends = seen.row("port-sets", "203.0.113.0:2048").locator("td").last
    expect(ends).to_have_text(re.compile(r"^[1-6]?\d s$"))
    was = ends.inner_text()
    expect(ends).not_to_have_text(was)  # the seconds run
    lent = seen.lab.lend("LHR-s1", "LHR")
    expect(first).to_have_count(3)
    expect(seen.row("port-sets", f"203.0.113.0:{lent.first_port}")).to_contain_text("LHR-s1")
    box = strips.first.locator(".strip").bounding_box()
    part = first.first.bounding_box()
    assert box is not None
    assert part is not None
    assert part["width"] / box["width"] == pytest.approx(2048 / (65536 - 1024), rel=0.1)


def test_the_log_grows_and_renewals_are_no_news(seen: Seen) -> None:
    lines = seen.page.locator("#log li")
    expect(lines).to_have_count(6)  # what was lent at first
    seen.lab.renew(seen.lab.book.entries()[0])
    seen.lab.happen({"event": "Mark", "text": "<b>half time</b>"})
    expect(lines.first).to_contain_text("<b>half time</b>")
    expect(lines).to_have_count(7)


def test_an_event_is_on_the_page_at_once(seen: Seen) -> None:
    shown: list[float] = []
    for state in ("withdrawn", "announced") * 5:
        begin = time.monotonic()
        seen.lab.happen({"event": "PopSet", "pop": "LHR", "state": state})
        seen.page.wait_for_selector(f'.spot[data-city="LHR"][data-state="{state}"]')
        shown.append(time.monotonic() - begin)
    assert sorted(shown)[5] < 0.4  # less than the half second at which a silent lab is asked


# -- what is done on the page is done in the lab


ON_THE_LINE = """(path) => {
  const at = path.getPointAtLength(0.4 * path.getTotalLength());
  const { x, y } = at.matrixTransform(path.getScreenCTM());
  return [x, y];
}"""


def test_a_link_is_cut_by_a_click_on_the_map_and_restored_by_undo(seen: Seen) -> None:
    drawn = line(seen, "FCO-LHR")
    seen.page.mouse.click(*drawn.locator(".reach").evaluate(ON_THE_LINE))
    dialog = seen.page.get_by_role("dialog")
    expect(dialog).to_have_accessible_name("Link FCO-LHR")
    dialog.get_by_role("button", name="Cut").click()
    expect(drawn).to_have_attribute("data-state", "cut")
    assert len(seen.lab.cut_links) == 1
    expect(dialog).to_be_hidden()
    expect(drawn.locator(".cross")).to_be_visible()
    expect(seen.page.locator("#said")).to_have_text("Done: link cut FCO-LHR.")
    seen.page.get_by_role("button", name="Undo: link cut FCO-LHR").click()
    expect(drawn).to_have_attribute("data-state", "up")
    assert not seen.lab.cut_links
    expect(seen.page.get_by_role("button", name="Nothing to undo")).to_be_disabled()


def test_acts_are_done_and_undone_by_keyboard_alone(seen: Seen) -> None:
    keys = seen.page.keyboard
    seen.row("pops", "ARN").get_by_role("button").focus()
    keys.press("Enter")
    dialog = seen.page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    expect(dialog.get_by_role("button", name="Drain")).to_be_focused()
    keys.press("Tab")
    expect(dialog.get_by_role("button", name="Withdraw")).to_be_focused()
    keys.press("Space")
    expect(seen.row("pops", "ARN")).to_contain_text("withdrawn")
    assert seen.lab.now.pop_state("ARN") == "withdrawn"
    expect(seen.row("pops", "ARN").get_by_role("button")).to_be_focused()
    keys.press("Control+z")
    expect(seen.row("pops", "ARN")).to_contain_text("announced")
    assert seen.lab.now.pop_state("ARN") == "announced"
    keys.press("Enter")
    expect(dialog).to_be_visible()
    keys.press("Escape")
    expect(dialog).to_be_hidden()


def test_the_focus_stays_while_rows_come_and_go(seen: Seen) -> None:
    rows = seen.page.locator("#port-sets tbody tr")
    expect(rows).to_have_count(6)
    button = seen.row("port-sets", "203.0.113.1:2048").get_by_role("button")
    button.focus()
    lent = seen.lab.lend("LHR-s9", "LHR")
    expect(rows).to_have_count(7)
    expect(button).to_be_focused()
    seen.lab.free(lent)
    expect(rows).to_have_count(6)
    expect(button).to_be_focused()


def test_everything_is_reached_with_the_tabulator(seen: Seen) -> None:
    names = []
    for _ in range(80):
        seen.page.keyboard.press("Tab")
        names.append(
            seen.page.evaluate(
                "() => { const at = document.activeElement;"
                " return at.getAttribute('aria-label') || at.id || at.textContent; }"
            )
        )
    held = ("LHR", "FCO-LHR", "203.0.113.0:2048", "LHR-s1")
    for name in ("policy", "set-policy", *held, "log", "flood", "Zoom in", "Drawing of the map"):
        assert name in names, name


@pytest.mark.parametrize(
    ("button", "state", "undone"),
    [("Drain", "drained", "announced"), ("Withdraw", "withdrawn", "announced")],
)
def test_a_pop_is_drained_withdrawn_and_announced(
    seen: Seen, button: str, state: str, undone: str
) -> None:
    seen.open("pops", "FCO").get_by_role("button", name=button).click()
    expect(seen.row("pops", "FCO")).to_contain_text(state)
    dialog = seen.open("pops", "FCO")
    expect(dialog.get_by_role("button", name=button)).to_be_disabled()
    dialog.get_by_role("button", name="Announce").click()
    expect(seen.row("pops", "FCO")).to_contain_text("announced")
    seen.page.get_by_role("button", name="Undo: pop announce FCO").click()
    expect(seen.row("pops", "FCO")).to_contain_text(state)
    seen.page.get_by_role("button", name=re.compile(f"Undo: pop {button.lower()} FCO")).click()
    expect(seen.row("pops", "FCO")).to_contain_text(undone)


def test_a_link_is_silenced(seen: Seen) -> None:
    seen.open("links", "LHR-ARN").get_by_role("button", name="Silence").click()
    expect(seen.row("links", "LHR-ARN")).to_contain_text("silent")
    assert sum(shape.blackhole for shape in seen.lab.shape.values()) == 1
    dialog = seen.open("links", "LHR-ARN")
    dialog.get_by_role("button", name="Restore").click()
    expect(seen.row("links", "LHR-ARN")).to_contain_text("up")
    assert not any(shape.blackhole for shape in seen.lab.shape.values())


def test_a_link_is_slowed_and_made_lossy(seen: Seen) -> None:
    dialog = seen.open("links", "LHR-ARN")
    was = seen.row("links", "LHR-ARN").locator("td").nth(2).inner_text()
    dialog.get_by_label("delay").fill("77.5")
    dialog.get_by_label("loss").fill("2")
    dialog.get_by_role("button", name="Set").click()
    expect(seen.row("links", "LHR-ARN")).to_contain_text("77.5 ms")
    expect(seen.row("links", "LHR-ARN")).to_contain_text("2 %")
    assert {shape.delay_ns for shape in seen.lab.shape.values()} >= {77_500_000}
    seen.page.get_by_role("button", name=re.compile("Undo: link set LHR-ARN delay")).click()
    expect(seen.row("links", "LHR-ARN")).to_contain_text(was)
    dialog = seen.open("links", "LHR-ARN")
    expect(dialog.get_by_role("button", name="Restore")).to_be_disabled()
    dialog.get_by_label("delay").fill("-1")
    dialog.get_by_role("button", name="Set").click()
    expect(dialog.get_by_role("alert")).to_contain_text("delay")
    seen.complaints.clear()  # Chromium writes down that this was refused


def test_a_server_is_stopped_and_started(seen: Seen) -> None:
    row = seen.row("servers", "LHR-s1")
    expect(row).to_contain_text("203.0.113.0:2048")
    seen.open("servers", "LHR-s1").get_by_role("button", name="Stop").click()
    expect(row).to_contain_text("killed")
    assert seen.lab.killed == {"LHR-s1"}
    seen.open("servers", "LHR-s1").get_by_role("button", name="Start").click()
    expect(row).to_contain_text("serving")
    seen.open("servers", "LHR-s1").get_by_role("button", name="Send nothing new").click()
    expect(row).to_contain_text("sick")
    assert seen.lab.now.weight("LHR-s1") == 0
    seen.page.get_by_role("button", name="Undo: server sick LHR-s1").click()
    expect(row).to_contain_text("serving")
    seen.page.get_by_role("button", name="Undo: server restart LHR-s1").click()
    expect(row).to_contain_text("killed")


def test_a_server_and_the_service_are_flooded_and_spared(seen: Seen) -> None:
    form = seen.page.locator("#flood-form")
    form.get_by_label("at").fill("LHR-s1")
    form.get_by_label("by").fill("2.5")
    form.get_by_role("button", name="Flood").click()
    expect(seen.row("floods", "LHR-s1")).to_contain_text("2.5 Mbit/s")
    assert seen.lab.floods == {"LHR-s1": 2_500_000}
    form.get_by_label("at").fill("198.51.100.1")
    form.get_by_role("button", name="Flood").click()
    expect(seen.row("floods", "198.51.100.1")).to_contain_text("2.5 Mbit/s")
    seen.open("floods", "LHR-s1").get_by_role("button", name="Spare").click()
    expect(seen.page.locator("#floods tbody tr")).to_have_count(1)
    seen.page.get_by_role("button", name="Undo: target spare LHR-s1").click()
    expect(seen.row("floods", "LHR-s1")).to_contain_text("2.5 Mbit/s")
    form.get_by_label("at").fill("nobody")
    form.get_by_role("button", name="Flood").click()
    expect(seen.page.locator("#said")).to_contain_text("has no target 'nobody'")
    assert set(seen.lab.floods) == {"198.51.100.1", "LHR-s1"}
    seen.complaints.clear()  # Chromium writes down that this was refused


def test_an_uplink_is_limited_and_tells_what_it_carries(seen: Seen) -> None:
    row = seen.row("pops", "LHR")
    dialog = seen.open("pops", "LHR")
    expect(dialog.get_by_role("button", name="No limit")).to_be_disabled()
    dialog.get_by_label("uplink").fill("2")
    dialog.get_by_role("button", name="Limit", exact=True).click()
    expect(row).to_contain_text("nothing of 2 Mbit/s")
    number = next(x.number for x in seen.lab.emulated_links if link_name(x) == "eLHR-tLHR")
    assert seen.lab.shape[number].rate_bit_s == 2_000_000
    seen.lab.bytes[number] = 400_000
    expect(row).to_contain_text(re.compile("bit/s of 2 Mbit/s"))
    seen.open("pops", "LHR").get_by_role("button", name="No limit").click()
    expect(row).not_to_contain_text("of 2 Mbit/s")
    seen.page.get_by_role("button", name="Undo: link set eLHR-tLHR rate none").click()
    expect(row).to_contain_text("of 2 Mbit/s")


def test_round_trips_are_probed_until_somebody_says_no(seen: Seen) -> None:
    row = seen.page.locator("#round-trips tr", has_text="LHR-c1")
    expect(row).to_contain_text("5.00 ms")
    expect(row.locator("td").first).to_have_text("LHR")
    seen.lab.rtts["LHR-c1"] = None
    expect(row).to_contain_text("lost")
    expect(row.locator("svg")).to_have_accessible_name(re.compile("[1-9] lost"))
    seen.page.get_by_label("every client pings").uncheck()
    until(lambda: not seen.page.get_by_label("every client pings").is_checked())
    seen.page.wait_for_function("() => fetch('main.js').then(() => true)")
    probed = []
    seen.lab.probe = lambda: probed.append(1) or []  # type: ignore[method-assign]
    begin = len(probed)
    seen.page.wait_for_timeout(2500)
    assert len(probed) <= begin + 1  # one may have been on its way


def test_a_link_is_the_broader_the_more_it_carries(seen: Seen) -> None:
    number = next(x.number for x in seen.lab.emulated_links if link_name(x) == "LHR-ARN")
    drawn = line(seen, "LHR-ARN").locator(".drawn")
    width = "(one) => parseFloat(getComputedStyle(one).strokeWidth)"
    before = drawn.evaluate(width)
    for _ in range(4):
        seen.lab.bytes[number] = seen.lab.bytes.get(number, 0) + 400_000
        seen.page.wait_for_timeout(300)
    expect(seen.row("links", "LHR-ARN")).to_contain_text("Mbit/s")
    assert drawn.evaluate(width) > before + 3
    expect(seen.row("links", "FCO-LHR")).not_to_contain_text("bit/s")
    expect(seen.row("links", "LHR-ARN")).not_to_contain_text("bit/s")  # and that was all


def test_the_policy_is_set_and_undone(seen: Seen) -> None:
    seen.page.get_by_label("Policy").select_option("bgp")
    seen.page.get_by_role("button", name="Set policy").click()
    expect(seen.page.locator("#headline")).to_contain_text("policy bgp")
    assert seen.lab.now.policy == "bgp"
    seen.page.get_by_role("button", name="Undo: policy set bgp").click()
    expect(seen.page.locator("#headline")).to_contain_text("policy nearest")
    expect(seen.page.get_by_label("Policy")).to_have_value("nearest")


def test_a_port_set_is_moved_back_and_revoked(seen: Seen) -> None:
    name = "203.0.113.0:2048"
    seen.page.get_by_role("button", name="203.0.113.0 ports 2048-4095: lent to LHR-s1").click()
    dialog = seen.page.get_by_role("dialog")
    dialog.get_by_label("to").select_option("FCO-s2")
    dialog.get_by_role("button", name="Move").click()
    expect(seen.row("port-sets", name)).to_contain_text("FCO-s2")
    seen.page.get_by_role("button", name=f"Undo: lease move {name} to FCO-s2").click()
    expect(seen.row("port-sets", name)).to_contain_text("LHR-s1")
    seen.open("port-sets", name).get_by_role("button", name="Revoke").click()
    expect(seen.row("port-sets", name)).to_contain_text("quarantined")
    expect(seen.page.locator("#undo")).to_be_disabled()
    dialog = seen.open("port-sets", name)
    expect(dialog.get_by_role("button", name="Move")).to_be_disabled()
    expect(dialog.get_by_role("button", name="Revoke")).to_be_disabled()


def test_the_way_of_a_packet_is_drawn_and_cleared(
    seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    packets: list[Any] = []
    monkeypatch.setattr(trace, "explain", lambda _lab, *packet: packets.append(packet) or WAY)
    page = seen.page
    page.get_by_label("from", exact=True).fill("FCO-c1")
    page.get_by_label("port", exact=True).fill("8080")
    page.get_by_label("port", exact=True).press("Enter")
    expect(page.locator("#way")).to_contain_text("delivered: FCO-c1")
    own_words = page.get_by_text("Datapath actions: balance")
    expect(own_words).to_be_hidden()
    page.get_by_text("In the switches' own words").first.click()
    expect(own_words).to_be_visible()
    assert packets == [("FCO-c1", "198.51.100.1", 8080, "tcp", None, 40000)]
    for name, kind in ((THERE[0], "there"), (BACK[0], "back"), (BACK[1], "back")):
        expect(line(seen, name)).to_have_class(f"line {kind}")
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#way")).to_be_hidden()
    expect(line(seen, THERE[0])).to_have_class("line")


def test_a_packet_that_cannot_be_is_refused_in_words(browser: Browser, tmp_path: Path) -> None:
    with at(tmp_path) as (lab, link), opened(browser, lab, link) as seen:
        seen.page.get_by_label("from", exact=True).fill("CDG-c1")
        seen.page.get_by_role("button", name="Show the way").click()
        expect(seen.page.locator("#way-error")).to_contain_text("no host 'CDG-c1'")
        expect(seen.page.locator("#way")).to_be_hidden()


def test_what_was_done_is_saved_as_a_scenario(seen: Seen) -> None:
    seen.open("links", "FCO-LHR").get_by_role("button", name="Cut").click()
    expect(seen.page.locator("#said")).to_contain_text("Done")
    with seen.page.expect_download() as download:
        seen.page.get_by_role("link", name="Save as scenario").click()
    assert download.value.suggested_filename == "scenario.yaml"
    assert "do: cut" in Path(download.value.path()).read_text()


def test_what_the_lab_refuses_is_told_where_it_was_asked(browser: Browser, tmp_path: Path) -> None:
    with at(tmp_path) as (lab, link), opened(browser, lab, link) as seen:
        dialog = seen.open("pops", "LHR")
        lab.alive = False
        expect(seen.page.locator("#headline")).to_contain_text("not ready")
        dialog.get_by_role("button", name="Drain").click()
        expect(dialog.get_by_role("alert")).to_contain_text("controller does not answer")
        lab.alive = True
        expect(seen.page.locator("#headline")).to_contain_text(", ready")
        dialog.get_by_role("button", name="Drain").click()
        expect(seen.row("pops", "LHR")).to_contain_text("drained")
        assert all("409" in complaint for complaint in seen.complaints)


# -- what ends, and comes back


def test_a_lab_that_ends_is_told_and_the_next_one_is_shown(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    made = plan(load("triangle"))
    with ExitStack() as first:
        lab = first.enter_context(running(made))
        with serving_live(places.find(None)) as link, opened(browser, lab, link) as seen:
            lab.happen({"event": "PopSet", "pop": "LHR", "state": "withdrawn"})
            expect(spot(seen, "LHR")).to_have_attribute("data-served", "FCO")
            first.close()
            banner = seen.page.locator("#banner")
            expect(banner).to_contain_text("The lab has ended")
            expect(seen.page.get_by_role("button", name="Set policy")).to_be_disabled()
            expect(spot(seen, "LHR")).to_have_attribute("data-served", "FCO")  # what was last seen
            with running(made):
                expect(banner).to_be_hidden()
                expect(spot(seen, "LHR")).to_have_attribute("data-served", "LHR")
                expect(seen.page.get_by_role("button", name="Set policy")).to_be_enabled()
            assert seen.complaints == []


def test_a_connection_that_is_lost_is_told_and_comes_back(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with running(plan(load("triangle"))) as lab, ExitStack() as first:
        path = places.find(None)
        link = first.enter_context(serving_live(path))
        with opened(browser, lab, link) as seen:
            first.close()
            banner = seen.page.locator("#banner")
            expect(banner).to_contain_text(LOST)
            expect(seen.page.locator("#undo")).to_be_disabled()
            lab.happen({"event": "PopSet", "pop": "LHR", "state": "withdrawn"})
            with serving_live(path, link):
                expect(banner).to_be_hidden(timeout=15_000)
                expect(spot(seen, "LHR")).to_have_attribute("data-served", "FCO")
                seen.open("pops", "LHR").get_by_role("button", name="Announce").click()
                expect(spot(seen, "LHR")).to_have_attribute("data-served", "LHR")
            assert all("ERR_" in complaint for complaint in seen.complaints)


def test_another_network_brings_another_map(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with ExitStack() as first:
        lab = first.enter_context(running(plan(load("triangle"))))
        path = places.find(None)
        with serving_live(path) as link, opened(browser, lab, link) as seen:
            first.close()
            expect(seen.page.locator("#banner")).to_contain_text("The lab has ended")
            with running(plan(load("europe"))):
                places.find(None).rename(path)
                expect(seen.page.locator("h1")).to_have_text("europe")
                expect(seen.page.locator(".spot")).to_have_count(28)


# -- for everybody


@pytest.fixture(scope="module")
def europe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FakeLab, Link]]:
    with at(tmp_path_factory.mktemp("europe"), "europe") as both:
        yield both


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (360, "dark"), (1280, "dark")])
def test_the_page_fits_its_window(
    browser: Browser, europe: tuple[FakeLab, Link], width: int, scheme: str
) -> None:
    with opened(browser, *europe, width, scheme) as seen:
        page = seen.page
        expect(page.locator("#links tbody tr").last).to_be_attached()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        back = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (back == "rgb(255, 255, 255)") is (scheme == "light")
        dialog = seen.open("links", "AMS-BRU")
        box = dialog.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert seen.complaints == []


NAMELESS = """() => [...document.querySelectorAll("button, select, table, svg[role], [tabindex]")]
  .filter((one) => one.checkVisibility() && !(one.textContent.trim() || one.ariaLabel
    || one.labels?.length || one.getAttribute("aria-labelledby")))
  .map((one) => one.outerHTML)"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_keeps_people_from_using_it(
    browser: Browser, europe: tuple[FakeLab, Link], width: int, scheme: str
) -> None:
    with opened(browser, *europe, width, scheme) as seen:
        expect(seen.page.locator("#round-trips tbody tr").first).to_be_attached()
        assert barriers(seen.page, small=".strip") == []  # the table has larger ones
        seen.open("pops", "FRA")
        assert barriers(seen.page, small=".strip") == []
        assert seen.complaints == []


def middle_of(found: Locator) -> tuple[float, float]:
    box = found.bounding_box()
    assert box is not None
    assert 14 < box["width"] < 19  # as large on an enlarged map; a pointer over it adds an edge
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def near(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return all(abs(x - y) < 6 for x, y in zip(a, b, strict=True))


def test_the_map_is_enlarged_about_the_pointer_and_dragged(
    browser: Browser, europe: tuple[FakeLab, Link]
) -> None:
    with opened(browser, *europe) as seen:
        page, area = seen.page, seen.page.locator("svg.map")
        square = spot(seen, "FRA").locator("rect")
        whole = area.get_attribute("viewBox")
        x, y = middle_of(square)
        page.mouse.move(x, y)
        page.keyboard.down("Control")
        page.mouse.wheel(0, -400)
        page.keyboard.up("Control")
        expect(area).to_have_class(re.compile("zoomed"))
        assert near(middle_of(square), (x, y))  # a pointer's place is whole pixels, here enlarged
        assert page.evaluate("scrollY") == 0

        page.mouse.down()
        page.mouse.move(x + 40, y + 30, steps=4)
        page.mouse.move(x + 60, y + 45)
        page.mouse.up()
        until(lambda: near(middle_of(square), (x + 60, y + 45)))
        expect(page.get_by_role("dialog")).to_be_hidden()  # it was no click
        page.mouse.click(x + 60, y + 45)
        expect(page.get_by_role("dialog")).to_have_accessible_name("PoP FRA")
        page.keyboard.press("Escape")

        page.get_by_role("button", name="Whole map").click()
        expect(area).to_have_attribute("viewBox", whole or "")
        expect(page.get_by_role("button", name="Zoom out")).to_be_disabled()
        assert seen.complaints == []


def test_the_map_is_enlarged_by_keys(browser: Browser, europe: tuple[FakeLab, Link]) -> None:
    with opened(browser, *europe) as seen:
        page, area = seen.page, seen.page.locator("svg.map")
        whole = area.get_attribute("viewBox")
        page.locator("#map-region").focus()
        page.keyboard.press("+")
        expect(area).to_have_attribute("data-zoom", "1.5")
        before = area.get_attribute("viewBox")
        page.keyboard.press("ArrowRight")
        expect(area).not_to_have_attribute("viewBox", before or "")
        for _ in range(9):
            page.keyboard.press("ArrowRight")
        left, _, width, _ = map(float, (area.get_attribute("viewBox") or "").split())
        assert left + width == pytest.approx(float((whole or "").split()[2]))  # not beyond its edge
        for _ in range(9):
            page.keyboard.press("+")
        expect(page.get_by_role("button", name="Zoom in")).to_be_disabled()
        page.keyboard.press("0")
        expect(area).to_have_attribute("viewBox", whole or "")
        assert seen.complaints == []


def test_a_crowd_of_cities_shows_more_names_when_it_is_enlarged(
    browser: Browser, tmp_path: Path
) -> None:
    with at(tmp_path, "backbone/europe") as (lab, link), opened(browser, lab, link) as seen:
        names = seen.page.locator(".map text:not([hidden])")
        few = names.count()
        seen.page.get_by_role("button", name="Zoom in").click()
        seen.page.get_by_role("button", name="Zoom in").click()
        until(lambda: names.count() > few)


def test_screen_readers_hear_names(browser: Browser, europe: tuple[FakeLab, Link]) -> None:
    with opened(browser, *europe) as seen:
        page = seen.page
        assert page.evaluate(NAMELESS) == []
        ids = page.evaluate("() => [...document.querySelectorAll('[id]')].map((one) => one.id)")
        assert len(ids) == len(set(ids))
        assert page.evaluate("document.documentElement.lang") == "en"
        expect(page.get_by_role("heading", level=1)).to_have_text("europe")
        for name in ("PoPs", "Port sets", "Links", "Cities"):
            expect(page.get_by_role("table", name=name)).to_be_visible()
        expect(page.get_by_role("img", name=re.compile("Map of europe"))).to_be_visible()
        assert seen.complaints == []


CONTRAST = """() => {
  const light = (rgb) => {
    const [r, g, b] = rgb.match(/[\\d.]+/g).slice(0, 3).map((x) => x / 255)
      .map((x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const back = (one) => {
    const colour = getComputedStyle(one).backgroundColor;
    return colour === "rgba(0, 0, 0, 0)" && one.parentElement ? back(one.parentElement) : colour;
  };
  return [...document.querySelectorAll("h1, h2, p, td, th, button, figcaption, #log li")]
    .filter((one) => one.checkVisibility() && one.textContent.trim() && !one.disabled)
    .map((one) => {
      const [a, b] = [light(getComputedStyle(one).color), light(back(one))].sort((x, y) => y - x);
      return [(a + 0.05) / (b + 0.05), one.outerHTML];
    })
    .filter(([ratio]) => ratio < 4.5);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_as_wcag_asks(
    browser: Browser, europe: tuple[FakeLab, Link], scheme: str
) -> None:
    """WCAG 2.2, 1.4.3: a contrast of 4.5 to 1 at least."""
    with opened(browser, *europe, 1280, scheme) as seen:
        expect(seen.page.locator("#links tbody tr").last).to_be_attached()
        assert seen.page.evaluate(CONTRAST) == []


BREACHES = """() => new Promise((tell) => {
  const found = [];
  document.addEventListener("securitypolicyviolation", (event) => {
    found.push(event.effectiveDirective);
    if (found.length === 4) tell(found.sort());
  });
  const make = (name) => document.createElement(name);
  const add = (name, given) => document.body.append(Object.assign(make(name), given));
  add("img", { src: "http://127.0.0.1:9/x.png" });
  fetch("http://127.0.0.1:9/").catch(() => {});
  add("style", { textContent: "body { display: none; }" });
  try { document.body.innerHTML += "<p>x</p>"; } catch { /* refused, as it must be */ }
})"""


def test_the_policy_refuses_what_the_page_must_not_do(
    browser: Browser, europe: tuple[FakeLab, Link]
) -> None:
    page = browser.new_page()
    page.goto(europe[1].url)
    assert page.evaluate(BREACHES) == [
        "connect-src",
        "img-src",
        "require-trusted-types-for",
        "style-src-elem",
    ]
    assert page.locator("h1").is_visible()
    page.close()


def test_the_page_is_small(browser: Browser, europe: tuple[FakeLab, Link]) -> None:
    with opened(browser, *europe) as seen:
        sizes = seen.page.evaluate(
            "() => performance.getEntries().filter((x) => x.decodedBodySize)"
            ".map((x) => x.decodedBodySize)"
        )
        assert 10_000 < sum(sizes) < 500_000
