"""The guest: a clock and randomness of its own, the host's files read-only, and a clean end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from topologies.emulation.processes import until
from topologies.emulation.sandbox import NoSandboxError, SandboxError, guest
from topologies.emulation.sandbox.guest import START_NS, Guest

pytestmark = pytest.mark.virtual


def python(program: str) -> list[str]:
    return [Guest().python, "-c", program]


def processes_in(folder: Path) -> list[int]:
    """The processes that work in this folder, as every part of a guest's kernel does."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cwd").readlink() == folder:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def wait_until_gone(folder: Path) -> None:
    """The kernel's helpers die with it: by a signal of their parent's death, a moment later."""
    until(lambda: not processes_in(folder), "the guest's processes to die", timeout_s=5)


def test_exit_code_output_and_log_come_back(tmp_path: Path) -> None:
    lines: list[str] = []
    program = "import sys; print('one'); print('two'); print('why', file=sys.stderr); sys.exit(7)"
    code = Guest().run(python(program), tmp_path, told=lines.append)
    log = (tmp_path / "sandbox.log").read_text()
    assert (code, lines, log) == (7, ["one", "two"], "why\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["guest.log", "sandbox.log"]


def test_a_line_can_be_the_last(tmp_path: Path) -> None:
    program = "import time\nprint('done', flush=True)\nwhile True: time.sleep(1)"
    assert Guest().run(python(program), tmp_path, told=lambda line: line == "done") == 0
    wait_until_gone(tmp_path)


def test_the_host_is_out_of_sight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POPLAB_TEST_SECRET", "1")
    program = """
import os
print(len(open('/proc/net/route').readlines()))
print('POPLAB_TEST_SECRET' in os.environ, os.environ['ADDED'])
print(os.getcwd(), os.uname().nodename, os.sched_getaffinity(0))
for path in ('/poplab-test', '/etc/poplab-test', os.environ['PYTHONPATH'] + '/topologies/x'):
    try:
        open(path, 'w')
    except OSError as error:
        print(error.strerror)
"""
    lines: list[str] = []
    Guest().run(python(program), tmp_path, told=lines.append, env={"ADDED": "a b"})
    assert lines[0] == "1"  # the heading: no way leads out
    assert lines[1] == "False a b"
    assert lines[2] == "/mnt (none) {0}"
    assert lines[3:] == ["Read-only file system"] * 3


def test_time_passes_only_while_nobody_works(tmp_path: Path) -> None:
    program = """
import time
start = time.time_ns()
sum(range(3_000_000))
worked = time.time_ns()
time.sleep(86_400)
print(start, worked - start, time.time_ns() - worked)
"""
    lines: list[str] = []
    ticks: list[float] = []
    began = time.monotonic()
    Guest().run(python(program), tmp_path, told=lines.append, ticked=ticks.append)
    start, worked, slept = map(int, lines[0].split())
    assert 0 <= start - START_NS < 60e9
    assert worked < 1_000_000
    assert slept == pytest.approx(86_400e9, abs=1e6)
    assert time.monotonic() - began < 60
    assert ticks == sorted(ticks)


def test_who_asks_over_and_over_naps_and_who_finds_something_does_not(tmp_path: Path) -> None:
    """FRR asks so for the last part of a millisecond; without naps that is 3,900 times."""
    program = """
import os, select, time
there, here = os.pipe()
asked = select.poll()
asked.register(there, select.POLLIN)
def times(until_ns):
    begin, times = time.monotonic_ns(), 0
    while time.monotonic_ns() - begin < until_ns:
        asked.poll(0)
        times += 1
    return times
time.sleep(0.02)  # until timers of the guest, which has just begun, are exact
print(times(1_000_000))
os.write(here, b'x')
print(times(1_000_000))
"""
    lines: list[str] = []
    Guest().run(python(program), tmp_path, told=lines.append)
    in_vain, found = map(int, lines)
    assert 20 <= in_vain <= 40
    assert found > 1000


def test_randomness_is_that_of_the_seed(tmp_path: Path) -> None:
    program = "import os, random, uuid; print(os.urandom(8), random.random(), uuid.uuid4(), id([]))"

    def numbers(seed: int) -> list[str]:
        lines: list[str] = []
        assert Guest(seed).run(python(program), tmp_path, told=lines.append) == 0
        return lines

    assert numbers(1) == numbers(1) != numbers(2)


def test_a_program_that_never_blocks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guest, "STALL_S", 1.0)
    with pytest.raises(SandboxError, match=r"stood still for 1 s while 'sh' ran"):
        Guest().run(["sh", "-c", "while :; do :; done"], tmp_path, told=print)
    wait_until_gone(tmp_path)


def test_a_program_that_works_for_long_but_blocks_now_and_then_is_let_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guest, "STALL_S", 1.0)
    program = """
import time
while time.clock_gettime(time.CLOCK_MONOTONIC) < 3:
    sum(range(1_000_000)); time.sleep(0.1)
"""
    assert Guest().run(python(program), tmp_path, told=print) == 0


def test_a_program_that_does_not_end_is_ended(tmp_path: Path) -> None:
    program = "import time\nwhile True: time.sleep(1)"
    with pytest.raises(SandboxError, match="not done after 2 s"):
        Guest().run(python(program), tmp_path, told=print, limit_s=2)
    wait_until_gone(tmp_path)


def test_an_exception_while_watching_ends_the_guest(tmp_path: Path) -> None:
    def explode(line: str) -> None:
        raise RuntimeError("stop watching")

    program = "import time; print('up', flush=True)\nwhile True: time.sleep(1)"
    with pytest.raises(RuntimeError, match="stop watching"):
        Guest().run(python(program), tmp_path, told=explode)
    wait_until_gone(tmp_path)
    assert not (tmp_path / ".guest").exists()


# A command that starts a guest whose program never ends.
HOLDER = """
import sys
from pathlib import Path
from topologies.emulation.sandbox.guest import Guest
program = "import time; print('up', flush=True)\\nwhile True: time.sleep(1)"
say = lambda line: print(line, flush=True)
Guest().run([Guest().python, "-c", program], Path(sys.argv[1]), told=say)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_the_command(tmp_path: Path, how: signal.Signals) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    assert processes_in(tmp_path)
    process.send_signal(how)
    process.wait()
    wait_until_gone(tmp_path)


def test_a_guest_that_is_killed_is_missed(tmp_path: Path) -> None:
    def kill(_line: str) -> None:
        for number in processes_in(tmp_path):
            os.kill(number, signal.SIGKILL)

    program = "import time; print('up', flush=True)\nwhile True: time.sleep(1)"
    with pytest.raises(SandboxError, match="ended by itself"):
        Guest().run(python(program), tmp_path, told=kill)


FULL = """
mount -t tmpfs -o size=2m none "$1" && cd / && exec "$2" -c "$3" "$1"
"""

WRITER = """
import sys
from pathlib import Path
from topologies.emulation.sandbox.guest import Guest
folder = Path(sys.argv[1])
try:
    Guest().run(["sh", "-c", "head -c 1M /dev/zero >small"], folder, told=print)
    print("there is room")
    Guest().run(["sh", "-c", "head -c 4M /dev/zero >big"], folder, told=print)
except Exception as error:
    print(error)
print(*sorted(path.name for path in folder.iterdir()))
"""


def test_a_full_disk_is_told_and_leaves_nothing_behind(tmp_path: Path) -> None:
    unshare = ["unshare", "--mount"] + ([] if os.geteuid() == 0 else ["--map-root-user"])
    if subprocess.run([*unshare, "true"], check=False).returncode != 0:
        pytest.skip("this user may not mount anything")
    command = [*unshare, "sh", "-c", FULL, "sh", str(tmp_path), sys.executable, WRITER]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    positive, told, files = done.stdout.splitlines()
    assert told.startswith(f"The disk of {tmp_path} is full")
    assert positive == "there is room"
    assert {"small", "big"} <= set(files.split())
    assert ".guest" not in files.split()
    wait_until_gone(tmp_path)


def test_without_room_for_its_memory_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with pytest.raises(NoSandboxError, match="name such a folder in TMPDIR"):
        Guest().check()
