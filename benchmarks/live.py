"""The live view in Chromium: how soon it shows what happens, what it costs, how smooth it is."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from benchmarks.row import Row, at_least, at_most
from experiments.control import places
from experiments.control.client import Remote
from experiments.errors import UsageError
from tests.fakes.browsing import chromium
from tests.fakes.lab import running
from tests.fakes.live import serving_live
from topologies.emulation.processes import until
from topologies.plan import plan
from topologies.sources import load

NETWORK, MANY = "europe", "backbone/europe"
CHANGES = 40
PER_S, FOR_S = 10, 10.0
POPLAB = str(Path(sys.executable).with_name("poplab"))

WATCH = """(city) => {
  window.seen = [];
  const spot = document.querySelector(`.spot[data-city="${city}"]`);
  let last = spot.dataset.served;
  const note = () => {
    if (spot.dataset.served === last) return;
    last = spot.dataset.served;
    window.seen.push(performance.timeOrigin + performance.now());
  };
  new MutationObserver(note).observe(spot, { attributeFilter: ["data-served"] });
}"""

FRAMES = """() => {
  window.frames_at = [];
  const note = (at) => { window.frames_at.push(at); requestAnimationFrame(note); };
  requestAnimationFrame(note);
}"""

PER_SECOND = "() => 1000 * (frames_at.length - 1) / (frames_at.at(-1) - frames_at[0])"

FIRST_PAINT = "() => performance.getEntriesByName('first-contentful-paint')[0].startTime / 1000"

SENT = """() => [...performance.getEntriesByType('navigation'),
  ...performance.getEntriesByType('resource')].reduce((sum, one) => sum + one.encodedBodySize, 0)"""


def rows(_folder: Path) -> Iterator[Row]:
    """A real lab with its page and the page's server; then a page of many nodes."""
    with chromium() as browser:
        with tempfile.TemporaryDirectory() as own, _lab(Path(own)) as (lab, server, link):
            yield from _real(browser, lab, server, link)
        yield from _many(browser)


@contextmanager
def _lab(own: Path) -> Iterator[tuple[Remote, int, str]]:
    """A lab, the pid of its live view's server, and the link to the page."""
    os.environ["XDG_RUNTIME_DIR"] = str(own)
    up = [POPLAB, "up", NETWORK, "--", "LHR-c1", "sleep", "1000"]
    with subprocess.Popen(up, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as lab:
        try:
            until(_is_up, "the lab to be up", timeout_s=60)
            view = subprocess.Popen([POPLAB, "live"], stdout=subprocess.PIPE, text=True)
            with view:
                assert view.stdout is not None
                try:
                    link = next(line for line in view.stdout if "http://" in line).split()[-1]
                    yield Remote(places.find(None)), view.pid, link
                finally:
                    view.terminate()
        finally:
            lab.terminate()


def _is_up() -> bool:
    try:
        return bool(Remote(places.find(None)).call("status")["ready"])
    except (UsageError, OSError):
        return False


def _real(browser: Browser, lab: Remote, server: int, link: str) -> Iterator[Row]:
    page = browser.new_page()
    page.goto(link)
    expect(page.locator("#headline")).to_contain_text("ready")
    paint_s = page.evaluate(FIRST_PAINT)
    sent_kb = page.evaluate(SENT) / 1000
    late_s = _lateness(page, lab)
    yield at_most("live: from an event to the page", statistics.median(late_s), "s", 0.1)
    page.evaluate(FRAMES)
    began, used = time.monotonic(), _cpu_s(server)
    for number in range(int(PER_S * FOR_S)):
        lab.call("city.steer", city="HAM", pop=("FRA", "LHR")[number % 2])
        time.sleep(max(0.0, began + (number + 1) / PER_S - time.monotonic()))
    share = (_cpu_s(server) - used) / (time.monotonic() - began)
    what = f"live: {NETWORK}, {PER_S} changes a second"
    yield at_most(f"{what}: the server", share, "cores", 0.05)
    yield at_least(f"{what}: the page", page.evaluate(PER_SECOND), "frames/s", 55)
    yield at_most("live: first paint", paint_s, "s", 1.0)
    yield at_most("live: the page, as sent", sent_kb, "kB", 500)
    page.close()


def _lateness(page: Page, lab: Remote) -> list[float]:
    """From the moment that the log has of a change to that at which the page shows it, seconds."""
    lab.call("city.steer", city="HAM", pop="FRA")
    expect(page.locator('.spot[data-city="HAM"]')).to_have_attribute("data-served", "FRA")
    page.evaluate(WATCH, "HAM")
    found = []
    for number in range(CHANGES):
        before = lab.call("events")[-1]["number"]
        lab.call("city.steer", city="HAM", pop=("LHR", "FRA")[number % 2])
        count = number + 1
        page.wait_for_function(f"() => seen.length === {count}")
        log = lab.call("events", after=before)
        happened_ns = next(x["at_ns"] for x in log if x["event"] == "OverrideSet")
        found.append(page.evaluate("() => seen.at(-1)") / 1e3 - happened_ns / 1e9)
    return found


def _cpu_s(pid: int) -> float:
    """What a process has used of processors until now, seconds (proc_pid_stat(5))."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _many(browser: Browser) -> Iterator[Row]:
    """A map of a thousand nodes is enlarged, and dragged about."""
    made = plan(load(MANY))
    nodes = len(made.hosts) + len(made.switches)
    with tempfile.TemporaryDirectory() as own:
        os.environ["XDG_RUNTIME_DIR"] = own
        with running(made), serving_live(places.find(None)) as link:
            page = browser.new_page()
            page.goto(link.url)
            expect(page.locator("#headline")).to_contain_text("ready", timeout=30_000)
            page.get_by_role("button", name="Zoom in").click()
            area = page.locator("svg.map").bounding_box()
            assert area is not None
            x, y = area["x"] + area["width"] / 2, area["y"] + area["height"] / 2
            page.mouse.move(x, y)
            page.evaluate(FRAMES)
            began = time.monotonic()
            while time.monotonic() < began + 3:
                page.mouse.down()
                page.mouse.move(x + 150, y + 60, steps=20)
                page.mouse.move(x, y, steps=20)
                page.mouse.up()
            dragged = page.evaluate(PER_SECOND)
            page.evaluate(FRAMES.replace("window.frames_at = [];", "frames_at.length = 0;"))
            page.keyboard.down("Control")
            began = time.monotonic()
            while time.monotonic() < began + 3:
                for way in (-20,) * 10 + (20,) * 10:
                    page.mouse.wheel(0, way)
            page.keyboard.up("Control")
            zoomed = page.evaluate(PER_SECOND)
            page.close()
    yield at_least(f"live: {nodes} nodes, dragged", dragged, "frames/s", 30)
    yield at_least(f"live: {nodes} nodes, enlarged", zoomed, "frames/s", 30)
