"""The hermetic root: all that a guest runs, pinned, so that the host's own files no longer matter.

Debian packages by hash (``uml/root.lock``) and the locked Python packages are unpacked, without
root, into the user's cache folder. Bytecode is compiled by the Python that is in it. The root is
named by what it is made of, and its content has a hash of its own, for the manifest.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from topologies.emulation.sandbox import NoSandboxError, SandboxError
from topologies.emulation.sandbox.cache import cache, caches, keep, pairs, unfinished
from topologies.emulation.sandbox.kernel import WORDS

MEND = "run `make hermetic` (about a minute, once)"

PYTHON = "usr/bin/python3.11"
LIBRARIES = "opt/poplab"
"""Where the root has the Python packages."""

CODE = "/run/poplab/code"
"""Where a guest sees this project's packages."""

PROJECT = Path(__file__).resolve().parents[3]

_LOCK = WORDS / "root.lock"
_REQUIREMENTS = PROJECT / "requirements.lock"
_NEEDED = (
    "dnspython",
    "eventlet",
    "immutables",
    "mininet",
    "prometheus_client",
    "ryu",
    "setuptools",
)
"""What runs in a guest needs these and what they depend on, in the locked versions."""

_MIRRORS = ("http://deb.debian.org/debian", "http://snapshot.debian.org/archive/debian/{snapshot}")
_TRIES = 3
_LOADER = "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
_UNNEEDED = tuple(f"usr/share/{name}" for name in ("doc", "man", "locale", "info", "lintian"))
_OUTWARD = "usr/lib/python3.11/sitecustomize.py"
"""An absolute link: the compiler would follow it into the host's own files."""

_OF_THE_INSTALLER = ("RECORD", "INSTALLER", "REQUESTED", "uv_cache.json", "direct_url.json")
_FOLDERS = ("bin", "sbin", "lib", "lib64")
_MOUNT_POINTS = ("proc", "sys", "dev", "run", "tmp", "mnt", "etc/openvswitch", "var/log", "var/tmp")
_LINKS = {
    "usr/sbin/ovs-vswitchd": "/usr/lib/openvswitch-switch/ovs-vswitchd",
}
_REPLACED = {"var/run": "/run", "var/lock": "/run/lock"}
"""Folders that installation would make links."""

_FILES = {
    "etc/hosts": "127.0.0.1 localhost\n",
    "etc/resolv.conf": "",
    "etc/nsswitch.conf": "hosts: files dns\n",
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/nonexistent:/bin/false\n"
    "frr:x:108:117::/nonexistent:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\nfrrvty:x:116:frr\nfrr:x:117:\n",
}
_EPOCH_S = 1_767_225_600
_CODE_SUFFIXES = (".py", ".yaml", ".json")
_KEPT_S = 7 * 86_400


@dataclass(frozen=True, slots=True)
class Root:
    """An unpacked root and the hash of its content."""

    folder: Path
    sha256: str

    def code(self, packages: Iterable[str]) -> Path:
        """A folder with this project's packages, compiled by this root's Python; made once.

        Raises SandboxError if it cannot be made.
        """
        files = {
            path.relative_to(PROJECT): path.read_bytes()
            for name in packages
            for path in sorted((PROJECT / name).rglob("*"))
            if path.suffix in _CODE_SUFFIXES
        }
        total = hashlib.sha256(self.sha256.encode())
        for name, content in files.items():
            total.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
        final = cache() / f"code-{total.hexdigest()[:12]}"
        if not final.exists():
            _forget_old("code-*")
            with unfinished(final.name) as made:
                for name, content in files.items():
                    (made / name).parent.mkdir(parents=True, exist_ok=True)
                    (made / name).write_bytes(content)
                _compile(self.folder, made, CODE)
                _settle(made)
                keep(made, final.name)
        for used in (final, self.folder, _facts(self.folder)):
            with suppress(OSError):  # made by another user, for all
                os.utime(used)
        return final


def _facts(folder: Path) -> Path:
    """The file beside a root that holds its hash; written last, so that it vouches for the root."""
    return folder.with_name(f"{folder.name}.facts")


def _mark() -> str:
    """What a root is made of: both locks, and this very module."""
    parts = (_LOCK.read_bytes(), _REQUIREMENTS.read_bytes(), Path(__file__).read_bytes())
    return hashlib.sha256(b"".join(parts)).hexdigest()[:12]


def find() -> Root | None:
    """The root in a cache folder; None if it has not been made."""
    if not _REQUIREMENTS.exists():
        return None
    for folder in caches():
        try:
            told = pairs(_facts(folder / f"root-{_mark()}").read_text())
        except OSError:
            continue
        return Root(folder / f"root-{_mark()}", told["sha256"])
    return None


def need() -> Root:
    """The root. Raises NoSandboxError saying what brings it if there is none."""
    found = find()
    if found is None:
        raise NoSandboxError(f"The hermetic root has not been made: {MEND}.")
    return found


def build() -> Root:
    """Fetch, unpack and compile, telling of the progress on standard error.

    Raises SandboxError if something cannot be fetched or is not what it should be.
    """
    if not _REQUIREMENTS.exists():
        raise SandboxError(f"{_REQUIREMENTS} is missing: a hermetic root is made from a checkout.")
    final = cache() / f"root-{_mark()}"
    if not final.exists():
        _forget_old("root-*")
        with unfinished(final.name) as made:
            _unpack_debian(made)
            _unpack_python(made)
            _say("compiling")
            _compile(made, made / "usr/lib/python3.11", "/usr/lib/python3.11")
            _compile(made, made / LIBRARIES, f"/{LIBRARIES}")
            _settle(made)
            keep(made, final.name)
    _say("taking its hash")
    sha256 = content_sha256(final)
    _facts(final).write_text(f"sha256={sha256}\n")
    return Root(final, sha256)


def provide() -> Root:
    """The root, made if it is not there. Raises as ``build``."""
    return find() or build()


def _say(what: str) -> None:
    sys.stderr.write(f"root: {what}\n")


def _forget_old(pattern: str) -> None:
    """What has not run for a week will hardly run again: each run dates the folders it uses."""
    for old in cache().glob(pattern):
        if time.time() - old.stat().st_mtime < _KEPT_S:
            continue
        if old.is_dir():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.unlink(missing_ok=True)


# -- Debian packages


def _unpack_debian(root: Path) -> None:
    for name in _FOLDERS:
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    text = _LOCK.read_text()
    locked = [line.split() for line in text.splitlines() if "  pool/" in line]
    mirrors = [mirror.format(snapshot=pairs(text)["snapshot"]) for mirror in _MIRRORS]
    _say(f"fetching {len(locked)} Debian packages")
    with ThreadPoolExecutor(8) as pool:
        fetched = pool.map(lambda line: _fetch(mirrors, line[1], line[0]), locked)
        for package in fetched:
            _unpack(package, root)
    for name in _UNNEEDED:
        shutil.rmtree(root / name, ignore_errors=True)
    (root / _OUTWARD).unlink()
    for name in _MOUNT_POINTS:
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in _REPLACED:
        (root / name).rmdir()
    for name, target in (_LINKS | _REPLACED).items():
        (root / name).symlink_to(target)
    for name, content in _FILES.items():
        (root / name).write_text(content)


def _fetch(mirrors: Iterable[str], path: str, sha256: str) -> bytes:
    """One package, asked for a few times: mirrors fail now and then. Raises SandboxError."""
    why = []
    for mirror in (*mirrors,) * _TRIES:
        try:
            with urllib.request.urlopen(f"{mirror}/{path}", timeout=60) as answer:
                content = bytes(answer.read())
        except (OSError, urllib.error.URLError) as error:
            why.append(f"{mirror} says {error}")
            continue
        if hashlib.sha256(content).hexdigest() == sha256:
            return content
        why.append(f"{mirror} has not what uml/root.lock pins")
    causes = "; ".join(dict.fromkeys(why))
    raise SandboxError(f"{path} could not be fetched from Debian: {causes}.")


def _unpack(package: bytes, root: Path) -> None:
    """Unpack the files of a .deb, whose format is that of ``ar`` (deb(5))."""
    data = next(content for name, content in _ar(package) if name == "data.tar.xz")
    with tarfile.open(fileobj=io.BytesIO(lzma.decompress(data))) as archive:
        for member in archive:
            if member.isdev():
                continue
            member.uid, member.gid, member.uname, member.gname = os.getuid(), os.getgid(), "", ""
            # Set-user-ID would take a guest's root its rights: here all files are this user's.
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            if not (member.isdir() and (root / member.name).is_dir()):
                archive.extract(member, root)


def _ar(package: bytes) -> Iterator[tuple[str, bytes]]:
    at = len(b"!<arch>\n")
    while at < len(package):
        header = package[at : at + 60]
        name, size = header[:16].decode().strip(" /"), int(header[48:58])
        yield name, package[at + 60 : at + 60 + size]
        at += 60 + size + size % 2


# -- Python


def _unpack_python(root: Path) -> None:
    _say("fetching the Python packages")
    uv = shutil.which("uv", path=f"{sys.prefix}/bin") or shutil.which("uv")
    if uv is None:
        raise SandboxError("uv is missing, which unpacks the Python packages: run `make setup`.")
    target = root / LIBRARIES
    # Copies: what is dated here must not be a link into uv's cache, nor into another environment.
    words = [uv, "pip", "install", "--quiet", "--link-mode", "copy", "--target", str(target)]
    words += ["--python", sys.executable, "--python-version", "3.11"]
    words += ["--python-platform", "x86_64-manylinux_2_28"]
    words += ["--constraints", str(_REQUIREMENTS), *_NEEDED]
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SandboxError(f"The Python packages were not unpacked:\n{done.stderr.strip()}")
    shutil.rmtree(target / "bin", ignore_errors=True)
    (target / ".lock").unlink(missing_ok=True)
    for info in target.glob("*.dist-info"):
        for name in _OF_THE_INSTALLER:
            (info / name).unlink(missing_ok=True)


def _compile(root: Path, folder: Path, seen_at: str) -> None:
    """Bytecode for all modules below ``folder``, by the root's own Python, valid for ever."""
    words = [str(root / _LOADER), "--library-path", str(root / "usr/lib/x86_64-linux-gnu")]
    words += [str(root / PYTHON), "-W", "ignore", "-m", "compileall", "-q", "-f"]
    words += ["--invalidation-mode", "unchecked-hash", "-s", str(folder), "-p", seen_at]
    words.append(str(folder))
    # What the compiler itself imports must not leave bytecode of another kind.
    env = {"PYTHONHOME": str(root / "usr"), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    if not any(folder.rglob("*.pyc")):
        raise SandboxError(f"The root's Python does not run here:\n{done.stderr[-2000:].strip()}")


# -- what it is


def _settle(folder: Path) -> None:
    """Give every file and folder the same date."""
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (_EPOCH_S, _EPOCH_S), follow_symlinks=False)


def content_sha256(folder: Path) -> str:
    """One hash over names, links, permission to execute, and the bytes of all files."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_symlink():
            kind = f"-> {path.readlink()}"
        elif path.is_dir():
            kind = "/"
        else:
            executable = path.stat().st_mode & 0o100
            kind = f"{executable:o} {hashlib.sha256(path.read_bytes()).hexdigest()}"
        total.update(f"{name} {kind}\n".encode())
    return total.hexdigest()


def main() -> int:
    """Make the root unless it is there; exit code 1 if that fails."""
    try:
        found = provide()
    except SandboxError as error:
        sys.stderr.write(f"poplab: {error}\n")
        return 1
    _say(f"{found.sha256[:12]} in {found.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
