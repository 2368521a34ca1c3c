"""The page of all runs in a folder of results: what was asked, the answer, and where it is."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from experiments.errors import UsageError
from experiments.runs import rundata, runfolder
from experiments.show import words
from experiments.show.page.markup import fill
from experiments.sweeps import rows
from experiments.sweeps.folder import PAGE, SweepFolder, is_sweep


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
        whole = is_sweep(path) or (path / "manifest.json").exists()
        if whole or (path.is_dir() and path.suffix == ".failed"):
            yield path


def _entry(run: Path, results: Path) -> Entry:
    name = str(run.relative_to(results))
    if is_sweep(run):
        return _sweep(run, name)
    page = run / runfolder.PAGE
    link = quote(str(page.relative_to(results))) if page.exists() else ""
    if run.suffix == ".failed":
        return Entry(name, run.parent.name, "", "invalid", "broke off", "See its logs.", "")
    try:
        manifest, result, answer = rundata.head(run)
        with rundata.whole(run):
            title = f"{result.study} on {result.network}"
            kind = "noisy" if result.noisy else result.verdict
            return Entry(name, title, manifest["start"], kind, words.verdict(result), answer, link)
    except UsageError as error:
        return Entry(name, run.parent.name, "", "unknown", "cannot be read", str(error), link)


def _sweep(path: Path, name: str) -> Entry:
    """A sweep among the runs."""
    link = quote(f"{name}/{PAGE}") if (path / PAGE).exists() else ""
    try:
        folder = SweepFolder(path)
        by_verdict = rows.turns_by_verdict(folder)
    except UsageError as error:
        return Entry(name, path.name, "", "unknown", "cannot be read", str(error), link)
    told = ", ".join(f"{len(turns)} {verdict}" for verdict, turns in by_verdict.items())
    axes = ", ".join(f"{axis.name} ({len(axis.values)})" for axis in folder.sweep.axes)
    kind = "valid" if set(by_verdict) == {"valid"} else "unknown"
    title = f"sweep of {folder.sweep.study}"
    return Entry(name, title, _began(path), kind, told, f"Over {axes or 'seeds alone'}.", link)


def _began(path: Path) -> str:
    """When a sweep began, by its folder's name; empty if that has been changed."""
    try:
        began = time.strptime(path.name.partition("-")[0], "%Y%m%dT%H%M%SZ")
    except ValueError:
        return ""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", began)
