"""``mn --custom topologies/mn.py``: plain Mininet, with plain bridges and with our controller."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from topologies import sources
from topologies.emulation.vswitch import VSwitch

pytestmark = [pytest.mark.net, pytest.mark.sandboxed]

ROOT = Path(__file__).parents[2]
MN = Path(sys.executable).with_name("mn")


# After an error mn removes /tmp/*.log and /tmp/*.out: let it have a /tmp of its own, in which the
# project is to be seen even if it lies in /tmp.
OWN_TMP = """
exec 9<"$1"
mount -t tmpfs tmpfs /tmp
mkdir -p "$1"
mount --no-canonicalize --bind /proc/self/fd/9 "$1"
shift
exec "$@"
"""


@contextmanager
def switches(folder: Path) -> Iterator[None]:
    """The sandbox's Open vSwitch. No fixture: those are set up outside of the sandbox too."""
    assert "POPLAB_TEST_INSIDE" in os.environ
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    daemon = VSwitch(folder)
    daemon.start_database()
    daemon.start()
    try:
        yield
    finally:
        daemon.stop()


def mn(network: str, *arguments: str, typed: str = "") -> str:
    """What mn prints, and what it is told at its prompt."""
    command = ["unshare", "--mount", "sh", "-ec", OWN_TMP, "sh", str(ROOT)]
    command += [sys.executable, str(MN), "--custom", str(ROOT / "topologies" / "mn.py")]
    command += ["--topo", f"pops,{network}", *arguments]
    done = subprocess.run(
        command, input=typed, capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


TWO = """
name: two
cities: [LHR, CDG]
links: [[LHR, CDG]]
pops: [LHR]
clients: every city
"""


def test_plain_bridges_reach_everyone(tmp_path: Path) -> None:
    path = Path("/run/two.yaml")
    path.write_text(TWO)
    with switches(tmp_path):
        bridges = ("--switch", "ovsbr,datapath=user", "--controller", "none")
        said = mn(f"{path},bridged=1", *bridges, "--test", "pingall")
    assert "0% dropped (12/12 received)" in said, said


TYPED = """py net.waitConnected(30)
ARN-c1 ping -c 3 -W 2 172.17.0.1
ARN-c1 ping -c 3 -W 2 198.51.100.1
exit
"""


def test_our_controller_programs_them(tmp_path: Path) -> None:
    network = Path("/run/triangle.json")
    network.write_text(sources.dump_json(sources.load("triangle")))
    command = [sys.executable, "-m", "controller", network, "--db", tmp_path / "leases.sqlite"]
    with switches(tmp_path), (tmp_path / "controller.log").open("w") as log:
        controller = subprocess.Popen(command, cwd=ROOT, stderr=log)
        try:
            remote = ("--switch", "ovs,datapath=user,protocols=OpenFlow13")
            said = mn(str(network), *remote, "--controller", "remote", typed=TYPED)
        finally:
            controller.terminate()
            controller.wait(10)
    received = re.findall(r"(\d) received", said)
    assert len(received) == 2, said
    assert all(int(count) >= 2 for count in received), said
