"""``poplab`` as people and scripts use it: one object, clean ends, nothing left behind."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.net

POPLAB = str(Path(sys.executable).parent / "poplab")
MARK = "POPLAB_TEST_MARK"


def _marked(mark: str) -> list[int]:
    """Every process that inherited ``mark`` in its environment, in whatever namespace."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                environment = (folder / "environ").read_bytes()
            except OSError:
                continue
            if f"{MARK}={mark}".encode() in environment:
                found.append(int(folder.name))
    return found


def _until(condition: Callable[[], bool], awaited: str, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {awaited}"
        time.sleep(0.02)


def _interfaces() -> set[str]:
    return {path.name for path in Path("/sys/class/net").iterdir()}


def test_json_is_exactly_one_object(tmp_path: Path) -> None:
    command = [POPLAB, "run", "reachability", "--quick", "--clock", "real", "--json"]
    done = subprocess.run(
        [*command, "--results", str(tmp_path), "--seed", "5"],
        capture_output=True, text=True, timeout=90, cwd="/", check=False,
    )  # fmt: skip
    result = json.loads(done.stdout)
    assert result["valid"] is not result["noisy"], done.stderr  # this machine may be too busy
    assert done.returncode == (3 if result["noisy"] else 0)
    assert (result["study"], result["network"], result["seed"]) == ("reachability", "triangle", 5)
    assert Path(result["run"]).parent == tmp_path / "reachability"
    assert Path(result["run"], "manifest.json").exists()
    again = subprocess.run(
        [POPLAB, "report", result["run"], "--json"], capture_output=True, text=True, check=True
    )
    assert json.loads(again.stdout) == result


def test_up_runs_a_command_in_a_host() -> None:
    command = [POPLAB, "up", "triangle", "--", "FCO-c1", "curl", "-s", "http://198.51.100.1/trace"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "pop=FCO" in done.stdout.splitlines()
    assert re.search(r"^RTTs were -?\d+ us too long \(median of \d+ pings\)", done.stderr, re.M)


def test_names_resolve_in_every_host() -> None:
    command = [POPLAB, "up", "triangle", "--", "FCO-c1", "ping", "-c1", "LHR-s1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "1 received" in done.stdout
    assert "LHR-s1" not in Path("/etc/hosts").read_text()


@pytest.mark.parametrize("node", ["FCO-c1", "tFCO"])
def test_up_returns_the_commands_exit_code(node: str) -> None:
    command = [POPLAB, "up", "triangle", "--", node, "sh", "-c", "exit 7"]
    assert subprocess.run(command, timeout=60, check=False).returncode == 7


def test_ctrl_c_at_the_prompt_ends_a_command_and_not_the_lab() -> None:
    child, terminal = pty.fork()
    if child == 0:
        os.execv(POPLAB, [POPLAB, "up", "triangle"])
    said = bytearray()

    def hears(words: bytes) -> bool:
        while select.select([terminal], [], [], 0)[0]:
            said.extend(os.read(terminal, 4096))
        return words in said

    try:
        _until(lambda: hears(b"mininet> "), "the prompt", 60)
        os.write(terminal, b"LHR-c1 ping 10.1.0.2\n")
        _until(lambda: hears(b"bytes of data"), "the ping", 10)
        said.clear()
        os.write(terminal, b"\x03")
        _until(lambda: hears(b"mininet> "), "the prompt again", 10)
        os.write(terminal, b"FCO-c1 curl -s http://198.51.100.1/trace\n")
        _until(lambda: hears(b"pop=FCO"), "an answer", 10)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(terminal)


def test_up_speaks_mininet() -> None:
    ask_switch = "tLHR ovs-ofctl -O OpenFlow13 dump-aggregate tLHR"
    script = f"LHR-c1 ping -c1 LHR-s1\n{ask_switch}\nlink tLHR tFCO down\nexit\n"
    done = subprocess.run(
        [POPLAB, "up", "triangle"],
        input=script, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert "1 received" in said
    assert "flow_count=" in said
    assert "rror" not in said


@pytest.mark.parametrize(("number", "within_s"), [(signal.SIGINT, 3.0), (signal.SIGKILL, 3.0)])
def test_interruption_leaves_nothing(
    number: signal.Signals, within_s: float, tmp_path: Path
) -> None:
    before, mark = _interfaces(), f"{os.getpid()}-{number.name}"
    command = [POPLAB, "run", "latency", "--clock", "real", "--results", str(tmp_path)]
    process = subprocess.Popen(
        command, env=os.environ | {MARK: mark}, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "lab up" in line:
            break
    else:
        pytest.fail("the lab did not come up")
    start = time.monotonic()
    os.kill(process.pid, number)
    rest = process.stderr.read()
    assert process.wait(within_s) != 0
    _until(lambda: not _marked(mark), "every process to be gone", within_s)
    assert time.monotonic() - start < within_s
    if number is signal.SIGINT:
        assert process.returncode == 130
        assert "stopped" in rest
    _until(lambda: not any((tmp_path / "latency").iterdir()), "the folder to be gone", within_s)
    assert _interfaces() == before
