"""Real labs under test: a test marked ``sandboxed`` runs in a sandbox of its own.

The test function is run by a second pytest inside the sandbox, so that it can build a lab
directly, and a failure shows there where it happened.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

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
