"""Real labs under test: a test marked ``sandboxed`` runs in a sandbox of its own.

The test function is run by a second pytest inside the sandbox, so that it can build a lab
directly, and a failure shows there where it happened.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.asking import POPLAB, served, until
from topologies.emulation.sandbox.namespaces import Namespaces

INSIDE = "POPLAB_TEST_INSIDE"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "sandboxed: runs inside a sandbox of its own")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if pyfuncitem.get_closest_marker("sandboxed") is None or INSIDE in os.environ:
        return None
    lines: list[str] = []
    folder = pyfuncitem.config.rootpath / ".pytest_cache"
    folder.mkdir(exist_ok=True)
    log = folder / f"sandbox-{os.getpid()}.log"
    log.write_text("")
    arguments = ["-q", "--no-header", "--tb=short", "-rs", "-p", "no:cacheprovider"]
    root = pyfuncitem.config.rootpath
    arguments += ["-c", str(root / "pyproject.toml"), "--rootdir", str(root)]
    command = [sys.executable, "-m", "pytest", *arguments, str(root / pyfuncitem.nodeid)]
    code = Namespaces().run(command, folder, told=lines.append, log=log.name, env={INSIDE: "1"})
    errors = log.read_text(errors="replace")
    log.unlink()
    if code != 0:
        report = [f"inside the sandbox pytest ended with {code}:", *lines[-80:], errors[-4000:]]
        pytest.fail("\n".join(report), pytrace=False)
    if not any(" passed" in line for line in lines):
        pytest.skip(next((line for line in lines if "SKIPPED" in line), "skipped inside"))
    return True


@pytest.fixture
def lab_folder(tmp_path: Path) -> Path:
    """A folder for a lab's files and logs."""
    return tmp_path / "lab"


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """``triangle``, up, with a client that asks for the service all the time."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    asks = "while sleep 0.2; do curl -s -m 1 http://198.51.100.1/trace | grep ^pop; done"
    command = [POPLAB, "up", "triangle", "--", "LHR-c1", "sh", "-c", asks]
    with (tmp_path / "said").open("wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT)
    try:
        until(lambda: "pop=LHR" in served(tmp_path))
        yield process
    finally:
        process.kill()
        process.wait()
