"""What a run ran on: enough to explain a number, or to doubt it, a year later."""

from __future__ import annotations

import functools
import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

_LIBRARIES = ("poplab", "mininet", "ryu", "eventlet", "pyroute2", "networkx", "numpy", "pandas",
              "pyarrow", "matplotlib", "pydantic", "topohub")  # fmt: skip


@functools.cache
def versions() -> dict[str, str]:
    """Versions of the libraries, of Python, the kernel and Open vSwitch."""
    found = {"python": platform.python_version(), "kernel": platform.release()}
    for library in _LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            found[library] = "missing"
    found["openvswitch"] = _first_line(["ovs-vswitchd", "--version"]).rpartition(" ")[2]
    return found


def cpu() -> dict[str, Any]:
    """The processor's model and how many of its cores this process may use."""
    model = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "Model", "Hardware")):
            model = line.partition(":")[2].strip()
            break
    return {"model": model or platform.machine(), "cores": len(os.sched_getaffinity(0))}


def revision() -> dict[str, Any]:
    """The project's git revision and whether the tree differs from it; empty without git."""
    project = Path(__file__).resolve().parents[2]
    if shutil.which("git") is None or not (project / ".git").exists():
        return {"revision": "", "dirty": None}
    git = ["git", "-c", f"safe.directory={project}", "-C", str(project)]
    changed = _output([*git, "status", "--porcelain", "--untracked-files=no"])
    return {"revision": _first_line([*git, "rev-parse", "HEAD"]), "dirty": bool(changed.strip())}


def _output(argv: list[str]) -> str:
    try:
        return subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _first_line(argv: list[str]) -> str:
    return _output(argv).partition("\n")[0].strip()
