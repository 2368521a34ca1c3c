"""``poplab doctor``: what this host can do, what it lacks, and the command that mends it.

Kernel and Open vSwitch are not asked but tried, in a sandbox that vanishes afterwards
(``experiments.host.capabilities``). Only what a lab cannot do without is required.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from experiments.errors import UsageError
from experiments.host.capabilities import Finding
from topologies.emulation import speakers
from topologies.emulation.sandbox import (
    NoSandboxError,
    SandboxError,
    guest,
    kernel,
    namespaces,
    root,
)

__all__ = ["Diagnosis", "diagnose", "exit_code", "mend", "render"]

PYTHONS = ((3, 11), (3, 13))
ENOUGH_MEMORY_BYTES = 1 << 30
VIRTUAL_TIME = "virtual time"
_SETUP = "make setup"
_VIRTUAL = "make virtual"
_TIMEOUT_S = 60

# Import in a process of its own: the shims patch the standard library.
_IMPORT_RYU = """
from controller.ryu_compat import prepare
prepare()
import ryu.base.app_manager, ryu.app.wsgi
"""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One thing a host should have. ``mend`` is the command, or the advice, that brings it.

    ``detail`` is a short fact, or the cause why it is missing.
    """

    name: str
    ok: bool
    required: bool
    detail: str
    mend: str = ""


_PRIVILEGED = "the machine itself, or a container that is --privileged"
_CAPABILITIES = {
    "veth": (True, "modprobe veth"),
    "tun": (True, "modprobe tun (in a container: --device /dev/net/tun)"),
    "userspace datapath": (True, _SETUP),
    "kernel datapath": (False, "modprobe openvswitch, if this kernel has it"),
    "link daemon": (True, _SETUP),
    "delay accuracy": (False, "a quieter machine (in VirtualBox: one vCPU)"),
    "netem": (False, "modprobe sch_netem (Ubuntu: linux-modules-extra-$(uname -r) has it)"),
    "htb": (False, "modprobe sch_htb, if this kernel has it"),
}
"""What is found out in the sandbox: whether a lab requires it, and what brings it."""


def diagnose() -> list[Diagnosis]:
    """Try everything; takes a few seconds and leaves nothing behind."""
    checks = [_machine(), _python(), _root(), _mnexec(), _open_vswitch(), _ryu(), *_sandboxed()]
    checks += [_virtual_time(), _bgp()]
    return [replace(check, mend="") if check.ok else check for check in checks]


def mend(what: str) -> None:
    """Bring what needs neither root nor a package manager: ``virtual``, ``hermetic``.

    Raises UsageError for anything else, SandboxError if that fails.
    """
    cures: dict[str, Callable[[], object]] = {
        "virtual": kernel.provide,
        "hermetic": root.provide,
    }
    if what not in cures:
        words = " or ".join(cures)
        raise UsageError(f"The doctor cannot fix {what!r}, only {words}: it names what does.")
    cures[what]()


def exit_code(checks: Iterable[Diagnosis]) -> int:
    """0 if labs in real time can run here, 1 if something that they require is missing."""
    return int(any(check.required and not check.ok for check in checks))


def render(checks: Sequence[Diagnosis], console: Console) -> None:
    """Print what each check found, whole, then what mends the rest."""
    lines = Table.grid()
    for check in checks:
        mark = Text.assemble("  ", _mark(check), " ")
        lines.add_row(mark, Text(f"{check.name}  "), Text(check.detail))
    console.print(lines)
    missing = [check for check in checks if not check.ok]
    required = [check for check in missing if check.required]
    if required and any(check.ok for check in checks if check.name == VIRTUAL_TIME):
        words = "This host can run labs in virtual time. In real time they would need:"
        console.print(Text(words, "bold yellow"))
    elif required:
        console.print(Text("This host cannot run labs yet. It lacks:", "bold red"))
    elif missing:
        console.print(Text("This host can run labs. It could do more with:", "bold green"))
    else:
        console.print(Text("This host can run labs.", "bold green"))
    for mend, names in _mends(required or missing).items():
        console.print(Text(f"  {', '.join(names)}: {mend}"), soft_wrap=True)


def _mark(check: Diagnosis) -> Text:
    if check.ok:
        return Text("✓", "green")
    return Text("✗", "red") if check.required else Text("–", "yellow")


def _bgp() -> Diagnosis:
    cause = speakers.problem()
    version = _output([str(speakers.DAEMONS / "bgpd"), "--version"]).partition("\n")[0]
    return Diagnosis("bgp", cause is None, False, cause or version, "make bgp")


def _mends(missing: Iterable[Diagnosis]) -> dict[str, list[str]]:
    """Each mend once, with the names of what it brings."""
    mends: dict[str, list[str]] = {}
    for check in missing:
        if check.mend:
            mends.setdefault(check.mend, []).append(check.name)
    return mends


def _machine() -> Diagnosis:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    free = _available_bytes(Path("/proc/meminfo").read_text()) or memory
    cores = len(os.sched_getaffinity(0))
    system = f"{_distribution()}, Linux {platform.release().partition('-')[0]}"
    detail = f"{system}, {cores} cores, {free / (1 << 30):.1f} GiB free"
    return Diagnosis("machine", free >= ENOUGH_MEMORY_BYTES, False, detail, "free 1 GiB of memory")


def _distribution() -> str:
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return "Linux"
    return f"{release['NAME'].removesuffix(' GNU/Linux')} {release.get('VERSION_ID', '')}".strip()


def _available_bytes(meminfo: str) -> int:
    """MemAvailable of /proc/meminfo; 0 if it has none."""
    for line in meminfo.splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    return 0


def _python() -> Diagnosis:
    first, last = PYTHONS
    wanted = f"{first[0]}.{first[1]} to {last[0]}.{last[1]}"
    ok = first <= sys.version_info[:2] <= last
    detail = platform.python_version() if ok else f"{platform.python_version()}, not {wanted}"
    return Diagnosis("python", ok, True, detail, f"{_SETUP} PYTHON=/path/to/a/python/{wanted}")


def _root() -> Diagnosis:
    ok = os.geteuid() == 0
    detail = "yes" if ok else "no, and a lab needs it for its namespaces"
    return Diagnosis("root", ok, True, detail, "run poplab with sudo")


def _mnexec() -> Diagnosis:
    path = shutil.which("mnexec")
    return Diagnosis("mnexec", path is not None, True, path or "not installed", _SETUP)


def _open_vswitch() -> Diagnosis:
    version = _output(["ovs-vswitchd", "--version"]).partition("\n")[0].rpartition(" ")[2]
    return Diagnosis("Open vSwitch", bool(version), True, version or "not installed", _SETUP)


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


def _ryu() -> Diagnosis:
    command = [sys.executable, "-W", "ignore", "-c", _IMPORT_RYU]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    if done.returncode == 0:
        return Diagnosis("ryu", True, True, f"{metadata.version('ryu')}, imports", _SETUP)
    return Diagnosis("ryu", False, True, _last_line(done.stderr), _SETUP)


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]


def _sandboxed() -> list[Diagnosis]:
    """What only root can try, in a sandbox; nothing was tried if there can be none."""
    if os.geteuid() != 0:
        return _from_sandbox([], "not tried", "")
    try:
        namespaces.Namespaces().check()
    except NoSandboxError as error:
        return _from_sandbox([], str(error), _SETUP)
    command = namespaces.command([sys.executable, "-m", "experiments.host.capabilities"])
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return _from_sandbox([], f"a sandbox did not end within {_TIMEOUT_S} s", _PRIVILEGED)
    return _from_sandbox(_parse(done.stdout), _last_line(done.stderr), _PRIVILEGED)


def _virtual_time() -> Diagnosis:
    """Whether a guest comes up, and this project's Python in it."""
    mend = f"{_VIRTUAL}, or `poplab doctor --fix virtual`"
    if platform.machine() != guest.MACHINE:
        mend = f"an {guest.MACHINE} host"
    release = "import os; print(os.uname().release)"
    lines: list[str] = []
    box = guest.Guest()
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="poplab-") as made:
            command = [box.python, "-c", release]
            code = box.run(command, Path(made), told=lines.append, limit_s=_TIMEOUT_S)
            said = (Path(made) / "sandbox.log").read_text(errors="replace")
    except SandboxError as error:
        return Diagnosis(VIRTUAL_TIME, False, False, str(error), mend)
    if code != 0 or not lines:
        return Diagnosis(VIRTUAL_TIME, False, False, _last_line(said) or f"code {code}", mend)
    detail = f"a guest with Linux {lines[0]} is up in {time.monotonic() - began:.1f} s"
    return Diagnosis(VIRTUAL_TIME, True, False, detail, mend)


def _parse(output: str) -> list[Finding]:
    return [Finding(**json.loads(line)) for line in output.splitlines()]


def _from_sandbox(findings: Sequence[Finding], error: str, mend: str) -> list[Diagnosis]:
    """The checks for what was found; ``error`` and ``mend`` tell why there is no more."""
    found = {finding.name: finding for finding in findings}
    detail = "a lab is alone with its network, processes and files" if found else error
    checks = [Diagnosis("namespaces", bool(found), True, detail, mend)]
    for name, (required, remedy) in _CAPABILITIES.items():
        if name in found:
            finding = found[name]
            checks.append(Diagnosis(name, finding.works, required, finding.detail, remedy))
        else:
            checks.append(Diagnosis(name, False, required, "not tried"))
    return checks
