"""The hermetic root: what is unpacked, what is refused, and what its hash tells apart."""

from __future__ import annotations

import hashlib
import io
import lzma
import os
import re
import tarfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from topologies.emulation.sandbox import NoSandboxError, SandboxError, root
from topologies.emulation.sandbox.cache import caches
from topologies.emulation.sandbox.files import HermeticFiles, HostFiles, files
from topologies.emulation.sandbox.guest import Guest


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("SUDO_UID", raising=False)
    folder = tmp_path / "poplab"
    folder.mkdir()
    return folder


def test_a_user_whom_the_machine_does_not_know_has_no_cache(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for caller, more in (("0", 1), (str(2**32 - 2), 0), (str(10**30), 0), ("root", 0)):
        monkeypatch.setenv("SUDO_UID", caller)
        assert len(list(caches())) == 1 + more
    assert next(caches()) == cache


def member(name: str, **what: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for field, value in what.items():
        setattr(info, field, value)
    return info


def package() -> bytes:
    """A .deb as Debian builds them, of odd and even lengths."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        archive.addfile(member("./lib", type=tarfile.DIRTYPE, mode=0o755))
        archive.addfile(
            member("./lib/tool", mode=0o4755, size=3, uid=7, gname="staff"), io.BytesIO(b"run")
        )
        archive.addfile(member("./lib/alias", type=tarfile.SYMTYPE, linkname="tool"))
        archive.addfile(member("./dev/null", type=tarfile.CHRTYPE))
    members = {
        "debian-binary": b"2.0\n",
        "control.tar.xz": b"odd",
        "data.tar.xz": lzma.compress(data.getvalue()),
    }
    parts = [b"!<arch>\n"]
    for name, content in members.items():
        parts.append(
            f"{name + '/':<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
        )
        parts.append(content + b"\n" * (len(content) % 2))
    return b"".join(parts)


def test_a_package_is_unpacked_through_the_links_of_merged_usr(tmp_path: Path) -> None:
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "lib").symlink_to("usr/lib")
    root._unpack(package(), tmp_path)
    tool = tmp_path / "usr/lib/tool"
    assert (tmp_path / "lib").is_symlink()
    assert tool.read_bytes() == b"run"
    assert tool.stat().st_mode & 0o7777 == 0o755
    assert tool.stat().st_uid == os.getuid()
    assert (tmp_path / "lib/alias").readlink() == Path("tool")
    assert not (tmp_path / "dev/null").exists()


def test_what_is_fetched_must_be_what_is_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def urlopen(address: str, timeout: float) -> io.BytesIO:
        asked.append(address)
        if "first" in address:
            raise OSError("404")
        return io.BytesIO(b"a package")

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    right = hashlib.sha256(b"a package").hexdigest()
    mirrors = ["http://first", "http://second"]
    assert root._fetch(mirrors, "pool/x.deb", right) == b"a package"
    assert asked == ["http://first/pool/x.deb", "http://second/pool/x.deb"]
    with pytest.raises(SandboxError, match=r"first says 404; .*not what uml/root.lock pins"):
        root._fetch(mirrors, "pool/x.deb", "0" * 64)


def test_a_mirror_that_fails_for_a_moment_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([OSError("502"), TimeoutError(), io.BytesIO(b"a package")])

    def urlopen(address: str, timeout: float) -> io.BytesIO:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    right = hashlib.sha256(b"a package").hexdigest()
    assert root._fetch(["http://first", "http://second"], "pool/x.deb", right) == b"a package"


def test_every_locked_package_has_a_hash() -> None:
    lines = root._LOCK.read_text().splitlines()
    packages = [line for line in lines if not line.startswith(("#", "snapshot="))]
    assert len(packages) > 100
    assert all(re.fullmatch(r"[0-9a-f]{64}  pool/main/\S+\.deb", line) for line in packages)
    assert any("/openvswitch-switch_" in line for line in packages)


def test_the_hash_tells_apart_whatever_a_program_could_see(tmp_path: Path) -> None:
    def build(name: str, change: Callable[[Path], object] = lambda _folder: None) -> str:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "tool").write_text("x")
        (folder / "link").symlink_to("tool")
        (folder / "empty").mkdir()
        change(folder)
        return root.content_sha256(folder)

    first = build("first")
    assert build("again") == first
    assert build("later", lambda folder: os.utime(folder / "tool", (1, 1))) == first
    others = [
        build("bytes", lambda folder: (folder / "tool").write_text("y")),
        build("mode", lambda folder: (folder / "tool").chmod(0o755)),
        build("name", lambda folder: (folder / "tool").rename(folder / "tools")),
        build("folder", lambda folder: (folder / "empty").rmdir()),
        build(
            "target",
            lambda folder: ((folder / "link").unlink(), (folder / "link").symlink_to("empty")),
        ),
    ]
    assert len({first, *others}) == 6


def test_none_is_told_with_its_mend(cache: Path) -> None:
    assert root.find() is None
    with pytest.raises(NoSandboxError, match="run `make hermetic`"):
        HermeticFiles().check()
    HostFiles().check()


def test_half_a_root_is_none_and_a_whole_one_is_found(cache: Path) -> None:
    half = cache / f"root-{root._mark()}"
    half.mkdir()
    assert root.find() is None
    root._facts(half).write_text("sha256=ab\n")
    assert root.find() == root.Root(half, "ab")
    assert HermeticFiles().facts() == {"root": "ab"}


def test_what_has_not_run_for_a_week_is_forgotten(cache: Path) -> None:
    for name, days in (("code-old", 8), ("code-new", 1), ("root-old", 8)):
        (cache / name).mkdir()
        os.utime(cache / name, (time.time() - days * 86_400,) * 2)
    root._forget_old("code-*")
    assert {path.name for path in cache.iterdir()} == {"code-new", "root-old"}


def test_a_guest_calls_the_python_of_its_root() -> None:
    assert Guest(root="host").python == "/run/poplab/python/bin/python"
    assert Guest(root="hermetic").python == "/usr/bin/python3.11"
    assert files("host").words == ()
    assert files("hermetic").words == ("rootflags=/proc/self/cwd/.guest/root/.",)
