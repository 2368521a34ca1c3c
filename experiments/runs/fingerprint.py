"""What a run in virtual time depends on, so that a run that differs can be explained.

The guest shuts out load, processor, paths, users, time zone and locale. What is left is the spec,
the kernel, this project's code, the Python environment and the programs of the host: all named
here by version or by the hash of their bytes.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import sqlite3
import ssl
import struct
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from importlib import metadata
from importlib.util import MAGIC_NUMBER, cache_from_source
from pathlib import Path
from typing import Any

from topologies.emulation.sandbox.files import PACKAGES, PROJECT

PROGRAMS = (
    *("sh", "mount", "mkdir", "ip", "chrt", "pgrep"),
    *("ovsdb-tool", "ovsdb-server", "ovs-vswitchd"),
)
"""What a guest runs besides Python."""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def environment() -> dict[str, str]:
    """The host's part: Python, its packages, and the programs with their libraries."""
    paths = (shutil.which(name, path=_PATH) for name in PROGRAMS)
    programs = [os.path.realpath(path) for path in paths if path is not None]
    python = os.path.realpath(sys.executable)
    return {
        "python": f"{platform.python_version()} {_files([python, *_libraries([python])])}",
        "python_libraries": f"{ssl.OPENSSL_VERSION}, SQLite {sqlite3.sqlite_version}",
        "python_packages": _packages(),
        "python_bytecode": _bytecode(Path(sysconfig.get_path("purelib"))),
        "programs": _files([*programs, *_libraries(programs)]),
    }


def code() -> str:
    """The code of this project, as the guest sees it."""
    found = (path for name in PACKAGES for path in (PROJECT / name).rglob("*"))
    sources = [path for path in found if path.suffix in (".py", ".c", ".h") or path.name == "init"]
    files = {path.relative_to(PROJECT).as_posix(): path for path in sources}
    total = hashlib.sha256()
    for name, path in sorted(files.items()):
        total.update(f"{name} {_files([path])}\n".encode())
    return total.hexdigest()[:16]


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The names of what is not the same in two fingerprints."""
    return [name for name in dict.fromkeys((*one, *other)) if one.get(name) != other.get(name)]


def _files(paths: Iterable[Path | str]) -> str:
    total = hashlib.sha256()
    for path in paths:
        total.update(hashlib.sha256(Path(path).read_bytes()).digest())
    return total.hexdigest()[:16]


def _packages() -> str:
    # Our own version stands for nothing: the code has a hash of its own.
    found = {(d.metadata["Name"].lower(), d.version) for d in metadata.distributions()}
    names = sorted(f"{name} {version}" for name, version in found if name != "poplab")
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]


def _bytecode(folder: Path) -> str:
    """How many modules have bytecode that Python takes: the others a guest compiles, and differs.

    The format is that of PEP 552: a magic number, flags, the source's date and size.
    """
    modules = [Path(top) / name for top, _, names in os.walk(folder) for name in names]
    modules = [path for path in modules if path.suffix == ".py"]
    return f"{sum(map(_is_compiled, modules))} of {len(modules)}"


def _is_compiled(module: Path) -> bool:
    try:
        with open(cache_from_source(str(module)), "rb") as file:
            magic, flags, date, size = struct.unpack("<4sIII", file.read(16))
        source = module.stat()
    except (OSError, struct.error):
        return False
    current = (int(source.st_mtime) & 0xFFFF_FFFF, source.st_size & 0xFFFF_FFFF)
    return bool(magic == MAGIC_NUMBER and (flags or (date, size) == current))


def _libraries(programs: list[str]) -> list[str]:
    """The shared libraries that the loader takes for these programs."""
    listed = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=False)
    return sorted(set(re.findall(r"(/\S+) \(0x", listed.stdout)))
