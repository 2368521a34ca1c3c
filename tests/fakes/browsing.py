"""The distribution's Chromium, and a page of it that is watched for what it should not do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from playwright.sync_api import Browser, Page, sync_playwright


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser while the block runs."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Heard:
    """What a page complained of, and what it asked for."""

    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


def hear(page: Page) -> Heard:
    """Listen to a page that goes nowhere yet."""
    heard = Heard()
    page.on(
        "console",
        lambda said: said.type in ("error", "warning") and heard.complaints.append(said.text),
    )
    page.on("pageerror", lambda error: heard.complaints.append(str(error)))
    page.on("request", lambda request: heard.requests.append(request.url))
    return heard
