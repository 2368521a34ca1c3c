"""What axe-core finds on a page that keeps people from using it."""

from __future__ import annotations

from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
"""WCAG 2.2 at level AA, and what axe-core's authors hold to be good besides."""


def barriers(page: Page, small: str | None = None) -> list[str]:
    """A line for each violation: the rule, what it asks, and the first elements that break it.

    What is in an element of the selector ``small`` may be small to hit, since other controls that
    are not do the same (WCAG 2.5.8, Equivalent).
    """
    found = Axe().run(page, options=RULES).response["violations"]
    return [line for one in found if (line := _line(page, one, small))]


def _line(page: Page, violation: dict[str, Any], small: str | None) -> str:
    nodes = violation["nodes"]
    if violation["id"] == "target-size" and small is not None:
        inside = "(one, small) => one.closest(small) !== null"
        nodes = [x for x in nodes if not page.locator(x["target"][0]).evaluate(inside, small)]
    shown = "; ".join(node["html"] for node in nodes[:3])
    return f"{violation['id']}: {violation['help']}: {shown}" if nodes else ""
