"""Two runs side by side: what counts as a difference, and how one is explained."""

from __future__ import annotations

import compileall
import os
import py_compile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from experiments.errors import UsageError
from experiments.runs import fingerprint, repeat, rundata, runfolder, runner
from experiments.runs.repeat import Comparison
from experiments.runs.runner import Watch
from experiments.runs.spec import Spec

MANIFEST = {
    "start": "2026-01-01T00:00:00Z",
    "capture": {"frames": 9, "sha256": "ab"},
    "leases": [{"server": "LHR-s1"}],
    "sandbox": {"clock": "virtual", "seed": 1, "kernel_sha256": "cd"},
    "fingerprint": {"code": "1", "programs": "2"},
}


RESULT = {"run": "somewhere", "metrics": {"lost": 0}, "checks": [], "answer": "None was lost."}


def put(folder: Path, **manifest: Any) -> Path:
    """A run folder with this in its manifest."""
    folder.mkdir()
    (folder / "samples.parquet").write_bytes(b"samples")
    (folder / "events.csv").write_text("events")
    runfolder.write_json(folder / "manifest.json", MANIFEST | manifest)
    runfolder.write_json(folder / "result.json", RESULT)
    return folder


def test_when_and_where_a_run_was_made_does_not_matter(tmp_path: Path) -> None:
    one = put(tmp_path / "one")
    other = put(tmp_path / "other", start="2026-02-02T00:00:00Z")
    comparison = repeat.compare(one, other)
    assert comparison.equal
    said = "equal: every frame, sample, event, lease, metric, check and figure"
    assert comparison.sentence() == said


def test_a_page_does_not_matter_because_it_tells_the_time(tmp_path: Path) -> None:
    one, other = put(tmp_path / "one"), put(tmp_path / "other")
    (one / runfolder.PAGE).write_text("began 10:00")
    (other / "cdf.svg").write_text("a drawing of cdf.png")
    assert repeat.compare(one, other).equal


def test_what_was_measured_does(tmp_path: Path) -> None:
    one = put(tmp_path / "one")
    other = put(tmp_path / "other", capture={"frames": 9, "sha256": "ef"}, leases=[])
    (other / "samples.parquet").write_bytes(b"other")
    (other / "events.csv").write_text("other")
    (other / "clients.csv").write_text("one table more")
    (other / "cdf.png").write_bytes(b"one figure more")
    runfolder.write_json(other / "result.json", RESULT | {"metrics": {"lost": 1}})
    measured = ("frames", "samples.parquet", "leases", "result.json")
    tables = ("events.csv", "clients.csv", "cdf.png")
    assert repeat.compare(one, other) == Comparison((*measured, *tables), ())


def test_a_difference_is_explained_by_what_it_depends_on(tmp_path: Path) -> None:
    one = put(tmp_path / "one")
    newer = {"code": "1", "programs": "3"}
    other_seed = {"clock": "virtual", "seed": 2, "kernel_sha256": "cd"}
    other = put(tmp_path / "other", leases=[], fingerprint=newer, sandbox=other_seed)
    comparison = repeat.compare(one, other)
    assert comparison.causes == ("seed", "programs")
    assert comparison.sentence() == "different in leases; not the same either: seed, programs"


def test_what_changes_nothing_needs_no_explanation(tmp_path: Path) -> None:
    one = put(tmp_path / "one")
    assert repeat.compare(one, put(tmp_path / "other", fingerprint={"code": "0"})).causes == ()


@pytest.mark.parametrize(("frames", "kept"), [(9, 1), (8, 2)])
def test_a_repeat_check_keeps_the_first_run_and_what_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frames: int, kept: int
) -> None:
    numbers = iter([9, frames])

    def run_spec(_spec: Spec, results: Path | None, _watch: Watch) -> Any:
        assert results is not None
        count = next(numbers)
        folder = put(results / f"run{len(list(results.iterdir()))}", capture={"frames": count})
        return SimpleNamespace(run=folder)

    monkeypatch.setattr(runner, "run_spec", run_spec)
    spec = runner.make_spec("latency", clock="virtual")
    _, (comparison,) = repeat.check(spec, 2, tmp_path, lambda _number: lambda _message: None)
    assert comparison.equal is (kept == 1)
    assert len(list(tmp_path.iterdir())) == kept


def test_a_run_in_real_time_is_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner.make_spec("latency", clock="real").write(tmp_path / "spec.json")
    monkeypatch.setattr(rundata, "load", lambda *_, **__: None)
    with pytest.raises(UsageError, match="use --clock virtual"):
        repeat.reproduce(tmp_path, None, lambda _: None)


def test_a_fingerprint_holds_still_and_names_every_part() -> None:
    one, again = fingerprint.environment(), fingerprint.environment()
    assert fingerprint.differences(one, again) == []
    parts = {"python", "python_libraries", "python_packages", "python_bytecode", "programs"}
    assert set(one) == parts
    assert all(one.values())


def test_stale_bytecode_changes_the_fingerprint(tmp_path: Path) -> None:
    module = tmp_path / "deep" / "module.py"
    module.parent.mkdir()
    module.write_text("x = 1\n")
    assert fingerprint._bytecode(tmp_path) == "0 of 1"
    compileall.compile_dir(tmp_path, quiet=2)
    assert fingerprint._bytecode(tmp_path) == "1 of 1"
    os.utime(module, (1, 1))
    assert fingerprint._bytecode(tmp_path) == "0 of 1"
    hashed = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(tmp_path, quiet=2, force=True, invalidation_mode=hashed)
    assert fingerprint._bytecode(tmp_path) == "1 of 1"


def test_a_changed_line_of_code_changes_the_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprint, "PROJECT", tmp_path)
    file = tmp_path / "topologies" / "model.py"
    file.parent.mkdir()
    file.write_text("x = 1\n")
    before = fingerprint.code()
    (tmp_path / "notes.py").write_text("not ours\n")
    assert fingerprint.code() == before
    file.write_text("x = 2\n")
    edited = fingerprint.code()
    file.rename(file.with_name("plan.py"))
    assert len({before, edited, fingerprint.code()}) == 3


def test_differences_name_what_is_missing_too() -> None:
    assert fingerprint.differences({"a": 1, "b": 2}, {"b": 2, "c": 3}) == ["a", "c"]
