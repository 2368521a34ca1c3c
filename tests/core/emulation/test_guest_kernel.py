"""Where the guest's kernel is looked for, and what is said when it is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from topologies.emulation.sandbox import SandboxError, kernel


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("POPLAB_KERNEL", raising=False)
    monkeypatch.delenv("SUDO_UID", raising=False)
    return tmp_path / "poplab"


def put(folder: Path, version: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "facts").write_text(f"version={version}\nrelease=7.9.1\n")
    (folder / "linux").write_text("#!/bin/sh\n")
    (folder / "linux").chmod(0o755)
    return folder


def test_none_is_told_with_its_mend(cache: Path) -> None:
    assert kernel.find() is None
    with pytest.raises(SandboxError, match="not built: run `make virtual`"):
        kernel.need()


def test_a_kernel_of_other_words_is_not_taken(cache: Path) -> None:
    put(cache / "kernel-7.9.1-0123456789ab", "7.9.1")
    assert kernel.find() is None


def test_the_pinned_source_comes_before_what_stands_in_for_it(cache: Path) -> None:
    mark, pinned = kernel.configuration()[:12], kernel._pinned()["version"]
    put(cache / f"kernel-0.1-{mark}", "0.1")
    found = kernel.find()
    assert found is not None
    assert found.told["version"] == "0.1"
    put(cache / f"kernel-{pinned}-{mark}", pinned)
    found = kernel.need()
    assert found.told["version"] == pinned
    facts = found.facts()
    assert (facts["kernel"], facts["kernel_source"]) == ("7.9.1", pinned)
    assert len(facts["kernel_sha256"]) == 64


def test_half_a_kernel_is_none(cache: Path) -> None:
    half = put(cache / f"kernel-1-{kernel.configuration()[:12]}", "1")
    (half / "linux").chmod(0o644)
    assert kernel.find() is None


def test_a_folder_can_be_named(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POPLAB_KERNEL", str(put(tmp_path / "mine", "1")))
    assert kernel.need().folder == tmp_path / "mine"
