"""A sandbox in the host's own kernel: private network, mounts, processes and IPC.

Two labs with equal names run side by side, and nothing outlives the command that started them:
the first process of the sandbox is killed by the kernel when the launcher dies, and with it every
process, namespace, interface and temporary file inside. The host's network, Open vSwitch and
files are never touched.
"""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any

from topologies.emulation.options import Clock
from topologies.emulation.sandbox import LIMIT_S, NoSandboxError, Told
from topologies.emulation.sandbox.processes import DIES_WITH_US, attend, end

PRIVATE_FOLDERS = ("/run", "/etc/openvswitch", "/var/log/openvswitch")
"""Where the programs of a lab write: an empty tmpfs each, seen by nobody else."""

TUN = Path("/dev/net/tun")

_TOOLS = ("setpriv", "unshare", "mount", "mnexec", "ovs-vswitchd", "ovsdb-server")

# The first argument lists the folders to hide; a folder that the host lacks needs no hiding.
# /sys is mounted afresh because it shows the network of the namespace that mounted it.
_PREPARE = """
set -e
for folder in $1; do
  if [ -d "$folder" ]; then mount -t tmpfs tmpfs "$folder"; fi
done
mkdir -p /run/netns /run/openvswitch /run/tmp
echo "127.0.0.1 localhost" >/run/hosts
if [ -e /etc/hosts ]; then mount --bind /run/hosts /etc/hosts; fi
at=$(readlink -m /etc/resolv.conf)
case $at in /run/*) mkdir -p "${at%/*}" && : >"$at" ;; esac
: >/run/resolver
if [ -e "$at" ]; then mount --bind /run/resolver "$at"; fi
export TMPDIR=/run/tmp
mount -t sysfs sysfs /sys
shift
exec "$@"
"""


def command(argv: Sequence[str]) -> list[str]:
    """The command line that runs ``argv`` as the first process of a fresh sandbox.

    ``setpriv`` ties the launcher to its parent, ``--kill-child`` the sandbox to the launcher, so
    that SIGKILL anywhere above clears everything below.
    """
    launcher = [*DIES_WITH_US, "unshare", "--net", "--mount", "--ipc", "--uts", "--pid", "--fork"]
    launcher += ["--mount-proc", "--kill-child=KILL"]
    return [*launcher, "sh", "-c", _PREPARE, "sandbox", " ".join(PRIVATE_FOLDERS), *argv]


def _check_visible(path: Path) -> None:
    for folder in PRIVATE_FOLDERS:
        if path.resolve().is_relative_to(folder):
            raise NoSandboxError(f"{path} lies below {folder}, which a lab hides: choose another.")


class Namespaces:
    """Namespaces of the host, in real time; see ``sandbox.Sandbox`` for the methods."""

    clock: Clock = "real"
    python = sys.executable

    def check(self, folder: Path | None = None) -> None:
        """Raise NoSandboxError if this process cannot start a sandbox, or not in this folder."""
        if folder is not None:
            _check_visible(folder)
        if os.geteuid() != 0:
            raise NoSandboxError("A lab needs root for its namespaces: run the command with sudo.")
        missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
        if missing:
            raise NoSandboxError(f"Missing on this host: {', '.join(missing)}: run `make setup`.")
        if not TUN.exists():
            raise NoSandboxError(
                f"Open vSwitch needs {TUN}: run `modprobe tun` (in a container: --device {TUN})."
            )

    def facts(self) -> Mapping[str, Any]:
        """The clock and the host's kernel."""
        return {"clock": self.clock, "kernel": platform.release()}

    def run(
        self,
        argv: Sequence[str],
        folder: Path,
        *,
        told: Told,
        log: str = "sandbox.log",
        env: Mapping[str, str] | None = None,
        files: Sequence[int] = (),
        limit_s: float = LIMIT_S,
        silence_s: float = inf,
        ticked: Callable[[float], None] = lambda _seconds: None,
    ) -> int:
        """As ``sandbox.Sandbox.run``; the program sees ``folder`` under its own path."""
        del ticked  # the wall's time is the sandbox's
        self.check(folder)
        return attend(
            command(argv),
            folder,
            told=told,
            log=log,
            env=env,
            files=files,
            limit_s=limit_s,
            silence_s=silence_s,
        )

    def interact(
        self,
        argv: Sequence[str],
        folder: Path,
        *,
        env: Mapping[str, str] | None = None,
        files: Sequence[int] = (),
    ) -> int:
        """Run ``argv`` in a fresh sandbox on this terminal, in ``folder``; its exit code.

        ``env`` and ``files`` as for ``run``. Ctrl-C goes to the programs inside, as in a shell.
        Raises NoSandboxError as ``check``.
        """
        self.check(folder)
        process = subprocess.Popen(
            command(argv), cwd=folder, env={**os.environ, **(env or {})}, pass_fds=files
        )
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            return process.wait()
        finally:
            signal.signal(signal.SIGINT, before)
            end(process)
