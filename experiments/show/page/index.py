"""The page of all runs in a folder of results: what was asked, the answer, and where it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from experiments.errors import UsageError
from experiments.runs import rundata, runfolder
from experiments.show import words
from experiments.show.page.markup import fill


@dataclass(frozen=True, slots=True)
class Entry:
    """A run in the list. ``kind`` is its verdict in a word; ``link`` is empty without a page."""

    name: str
    title: str
    began: str
    kind: str
    verdict: str
    answer: str
    link: str


def entries(results: Path) -> list[Entry]:
    """Every run below a folder of results, what broke off too; the latest first."""
    found = [_entry(run, results) for run in _runs(results)]
    return sorted(found, key=lambda entry: (entry.began, entry.name), reverse=True)


def render(found: Iterable[Entry]) -> str:
    """The page: pure, from entries to HTML."""
    return fill("index.html", entries=list(found))


def _runs(results: Path) -> Iterator[Path]:
    """What is a run folder, or was to be one: not what is still being made."""
    for path in results.glob("[!.]*/[!.]*"):
        if (path / "manifest.json").exists() or (path.is_dir() and path.suffix == ".failed"):
            yield path


def _entry(run: Path, results: Path) -> Entry:
    name = str(run.relative_to(results))
    page = run / runfolder.PAGE
    link = quote(str(page.relative_to(results))) if page.exists() else ""
    if run.suffix == ".failed":
        return Entry(name, run.parent.name, "", "invalid", "broke off", "See its logs.", "")
    try:
        manifest, result, answer = rundata.head(run)
    except UsageError as error:
        return Entry(name, run.parent.name, "", "unknown", "cannot be read", str(error), link)
    title = f"{result.study} on {result.network}"
    kind = "noisy" if result.noisy else result.verdict
    return Entry(name, title, manifest["start"], kind, words.verdict(result), answer, link)
