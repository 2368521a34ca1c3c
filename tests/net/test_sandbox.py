"""The sandbox: what happens inside stays inside, and dies with the command."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from topologies.emulation.processes import until
from topologies.emulation.sandbox import SandboxError
from topologies.emulation.sandbox.namespaces import Namespaces

pytestmark = pytest.mark.net

Holder = tuple[subprocess.Popen[str], str]
"""A command that holds a sandbox, and the sandbox's network namespace."""

# A command that starts a sandbox with a switch daemon, a namespace and a file in it, then hangs.
HOLDER = """
import sys
from pathlib import Path
from topologies.emulation.sandbox.namespaces import Namespaces
inside = '''
import os, time
from pathlib import Path
from topologies.emulation import netns
from topologies.emulation.vswitch import VSwitch
netns.create("orphan")
Path("/run/orphan").write_text("")
vswitch = VSwitch(Path("/run"))
vswitch.start_database()
vswitch.start()
print("up", os.readlink("/proc/self/ns/net"), flush=True)
time.sleep(600)
'''
say = lambda line: print(line, flush=True)
Namespaces().run([sys.executable, "-c", inside], Path(sys.argv[1]), told=say)
"""


def processes_in(namespace: str) -> list[int]:
    """The processes, seen from the host, whose network namespace is this one."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str((entry / "ns/net").readlink()) == namespace:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def host_interfaces() -> set[str]:
    return {path.name for path in Path("/sys/class/net").iterdir()}


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[Holder]:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    word, namespace = process.stdout.readline().split()
    assert word == "up"
    yield process, namespace
    process.kill()
    process.wait()


@pytest.fixture
def marker() -> Iterator[Path]:
    """A file in the host's /run, which a sandbox must not see."""
    with tempfile.NamedTemporaryFile(dir="/run", prefix="poplab-marker-") as file:
        yield Path(file.name)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_the_command(holder: Holder, how: signal.Signals) -> None:
    process, namespace = holder
    before = host_interfaces()
    # the trial, ovsdb-server and ovs-vswitchd
    assert len(processes_in(namespace)) >= 3
    assert namespace != str(Path("/proc/self/ns/net").readlink())
    process.send_signal(how)
    process.wait()
    until(lambda: not processes_in(namespace), "the sandbox's processes to die", timeout_s=5)
    assert host_interfaces() == before
    assert not Path("/run/orphan").exists()
    assert not Path("/run/netns/orphan").exists()


def test_exit_code_and_output_come_back(tmp_path: Path) -> None:
    lines: list[str] = []
    program = "import sys; print('one'); print('two'); print('why', file=sys.stderr); sys.exit(7)"
    code = Namespaces().run([sys.executable, "-c", program], tmp_path, told=lines.append)
    log = (tmp_path / "sandbox.log").read_text()
    assert (code, lines, log) == (7, ["one", "two"], "why\n")


def test_host_is_out_of_sight(tmp_path: Path, marker: Path) -> None:
    program = """
import os
print(*os.listdir('/sys/class/net'))
print(*sorted(os.listdir('/run')))
print(os.getpid())
"""
    lines: list[str] = []
    Namespaces().run([sys.executable, "-c", program], tmp_path, told=lines.append)
    interfaces, run, pid = lines
    assert interfaces == "lo"
    assert {"netns", "openvswitch", "tmp"} <= set(run.split())
    assert marker.name not in run.split()
    assert pid == "1"


def test_exception_while_watching_ends_the_sandbox(tmp_path: Path) -> None:
    seen: list[str] = []

    def explode(line: str) -> None:
        seen.append(line)
        raise RuntimeError("stop watching")

    program = (
        "import os, time; print(os.readlink('/proc/self/ns/net'), flush=True); time.sleep(600)"
    )
    with pytest.raises(RuntimeError, match="stop watching"):
        Namespaces().run([sys.executable, "-c", program], tmp_path, told=explode)
    until(lambda: not processes_in(seen[0]), "the sandbox's processes to die", timeout_s=5)


def test_a_hidden_folder_is_refused() -> None:
    with pytest.raises(SandboxError, match="choose another"):
        Namespaces().run(["true"], Path("/run"), told=print)
