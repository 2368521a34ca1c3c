"""A private world for one lab: its own network, mounts, processes and IPC.

Two labs with equal names run side by side, and nothing outlives the command that started them:
the first process of the sandbox is killed by the kernel when the launcher dies, and with it every
process, namespace, interface and temporary file inside. The host's network, Open vSwitch and
files are never touched.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

PRIVATE_FOLDERS = ("/run", "/etc/openvswitch", "/var/log/openvswitch")
"""Where the programs of a lab write: an empty tmpfs each, seen by nobody else."""

_TOOLS = ("setpriv", "unshare", "mount", "mnexec", "ovs-vswitchd", "ovsdb-server")

# The first argument lists the folders to hide; a folder that the host lacks needs no hiding.
# /sys is mounted afresh because it shows the network of the namespace that mounted it.
_PREPARE = """
set -e
for folder in $1; do
  if [ -d "$folder" ]; then mount -t tmpfs tmpfs "$folder"; fi
done
mkdir -p /run/netns /run/openvswitch /run/tmp
export TMPDIR=/run/tmp
mount -t sysfs sysfs /sys
shift
exec "$@"
"""


class SandboxError(Exception):
    """The sandbox cannot be made here; the message says why and what mends it."""


def check() -> None:
    """Raise SandboxError if this process cannot start a sandbox."""
    if os.geteuid() != 0:
        raise SandboxError("A lab needs root for its namespaces: run the command with sudo.")
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        raise SandboxError(f"Missing on this host: {', '.join(missing)}: run `make setup`.")


def command(argv: list[str]) -> list[str]:
    """The command line that runs ``argv`` as the first process of a fresh sandbox.

    ``setpriv`` ties the launcher to its parent, ``--kill-child`` the sandbox to the launcher, so
    that SIGKILL anywhere above clears everything below.
    """
    launcher = ["setpriv", "--pdeathsig", "KILL"]
    launcher += ["unshare", "--net", "--mount", "--ipc", "--uts", "--pid", "--fork"]
    launcher += ["--mount-proc", "--kill-child=KILL"]
    return [*launcher, "sh", "-c", _PREPARE, "sandbox", " ".join(PRIVATE_FOLDERS), *argv]


def _check_visible(path: Path) -> None:
    for folder in PRIVATE_FOLDERS:
        if path.resolve().is_relative_to(folder):
            raise SandboxError(f"{path} lies below {folder}, which a lab hides: choose another.")


def run(
    argv: list[str],
    *,
    stdout_line: Callable[[str], None],
    log: Path,
    env: Mapping[str, str] | None = None,
) -> int:
    """Run ``argv`` in a fresh sandbox and return its exit code.

    ``stdout_line`` gets each line that it prints; its standard error goes to ``log``.
    Whatever ends the call early (an exception, Ctrl-C) kills the sandbox first.

    Raises SandboxError if this host cannot make one or ``log`` would not be seen inside.
    """
    check()
    _check_visible(log)
    with log.open("ab") as errors:
        process = subprocess.Popen(
            command(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=None if env is None else {**os.environ, **env},
            text=True,
            start_new_session=True,  # Ctrl-C reaches us alone; we decide what dies, and when
        )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            stdout_line(line.rstrip("\n"))
        return process.wait()
    finally:
        kill(process)


def interact(argv: list[str]) -> int:
    """Run ``argv`` in a fresh sandbox on this terminal and return its exit code.

    Ctrl-C goes to the programs in the sandbox, as in a shell.
    Raises SandboxError if this host cannot make one.
    """
    check()
    process = subprocess.Popen(command(argv))
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return process.wait()
    finally:
        signal.signal(signal.SIGINT, before)
        kill(process)


def kill(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    """End a sandbox at once. ``unshare`` ignores SIGTERM, and nothing inside needs saving."""
    if process.poll() is None:
        process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
