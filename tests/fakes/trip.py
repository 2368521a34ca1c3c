"""What a newcomer does on the page of ``europe``: cut a link, follow a reply home, save it all."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.fakes.asking import POPLAB
from tests.fakes.browsing import chromium

CUT, MOVED = "FCO-ZAG", {"ZAG": "FRA", "BEG": "FRA", "BUD": "ARN"}
"""The link that is cut, and where the cities that went that way are served then."""

SERVER, ORIGIN = "LHR-s1", "WAW-o1"
"""Who asks whom, from a borrowed address."""


@contextmanager
def opened(width: int = 1280, height: int = 800) -> Iterator[Page]:
    """``poplab up europe --live``, and its page in Chromium. Raises TimeoutError."""
    command = [POPLAB, "up", "europe", "--live"]
    pipe = subprocess.PIPE
    with (
        subprocess.Popen(command, stdin=pipe, stderr=pipe, stdout=pipe, text=True) as lab,
        chromium() as browser,
    ):
        assert lab.stderr is not None
        link = lab.stderr.readline().strip().removeprefix("In a browser: ")
        try:
            page = browser.new_page(viewport={"width": width, "height": height})
            page.set_default_timeout(60_000)  # whoever comes too early waits
            page.goto(link)
            expect(page.locator("#headline")).to_contain_text(", ready", timeout=60_000)
            yield page
        finally:
            lab.terminate()


def newcomer(page: Page, folder: Path, seen: Callable[[str], None]) -> Path:
    """The whole trip; ``seen`` hears what is on the page. The scenario file that was saved."""
    expect(page.locator("#round-trips tbody tr")).to_have_count(28)
    seen("europe, live: five PoPs, and every city has the mark of the one that serves it")
    page.locator("#links").get_by_role("button", name=CUT).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("one way")
    seen(f"Click a link: {CUT}")
    dialog.get_by_role("button", name="Cut").click()
    for city, pop in MOVED.items():
        expect(page.locator(f'.spot[data-city="{city}"]')).to_have_attribute("data-served", pop)
    seen("Cut: three cities go to other PoPs")
    strip = page.locator("#strips").get_by_role("button", name=re.compile(f"lent to {SERVER}"))
    expect(strip).to_have_count(1)
    page.get_by_label("from", exact=True).fill(SERVER)
    page.get_by_label("to", exact=True).fill(ORIGIN)
    page.get_by_role("button", name="Show the way").click()
    expect(page.locator(".line.back").first).to_be_attached()
    seen(f"{SERVER} asks {ORIGIN} from a borrowed address; the broken line is the reply's way home")
    page.get_by_role("button", name="Clear").click()
    page.get_by_role("button", name=f"Undo: link cut {CUT}").click()
    for city in MOVED:
        expect(page.locator(f'.spot[data-city="{city}"]')).to_have_attribute("data-served", "FCO")
    seen("Undo, and save it all as a scenario that any study runs again")
    with page.expect_download() as saved:
        page.get_by_role("link", name="Save as scenario").click()
    file = folder / "scenario.yaml"
    saved.value.save_as(file)
    return file
