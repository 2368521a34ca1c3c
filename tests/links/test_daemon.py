"""The daemon's life: what it costs, what it withstands, and that its death is noticed."""

from __future__ import annotations

import os
import random
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.links.bench import TESTED, Bench, Namespace, ip, wait_for
from topologies.emulation.links import (
    End,
    Impairment,
    LinkAttachment,
    LinkEnds,
    LinkError,
    open_backend,
)
from topologies.emulation.links.calibration import calibrate
from topologies.emulation.links.delayline import DelayLine

pytestmark = [pytest.mark.net, pytest.mark.alone]

MS = 1_000_000
SANITIZED = "asan" in TESTED.name  # needs memory and time of its own


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@contextmanager
def many_links(count: int) -> Iterator[tuple[Namespace, list[LinkAttachment]]]:
    namespace = Namespace("m")
    try:
        ip(
            *(f"link add o{n}{s} type veth peer name i{n}{s}" for n in range(count) for s in "ab"),
            netns=namespace.name,
        )
        delay = Impairment(delay_ns=5 * MS)
        yield (
            namespace,
            [
                LinkAttachment(
                    n, LinkEnds(End(None, f"o{n}a", f"i{n}a"), End(None, f"o{n}b", f"i{n}b")), delay
                )
                for n in range(count)
            ],
        )
    finally:
        namespace.close()


@pytest.mark.skipif(SANITIZED, reason="the sanitizers' own memory")
def test_a_hundred_links_cost_little() -> None:
    with many_links(100) as (namespace, links):
        line = DelayLine(namespace.path, binary=TESTED)
        try:
            begin = time.monotonic()
            line.attach_many(links)
            took = time.monotonic() - begin
            assert line.read(99)[0].delay_ns == 5 * MS
            assert resident_bytes(line.pid) < 10 << 20
            # veths going up is most of it; the goal of 50 ms is the benchmark's to hold
            assert took < 1.0
            before = cpu_ticks(line.pid)
            time.sleep(0.3)
            assert cpu_ticks(line.pid) - before <= 1
        finally:
            begin = time.monotonic()
            line.close()
        # a packet socket for each interface would take the kernel seconds to close
        assert time.monotonic() - begin < 0.5


def test_attaching_is_all_or_nothing(bench: Bench) -> None:
    line = bench.start()
    missing = LinkEnds(End(None, "x", "nosuch"), End(None, "y", "lb"))
    with pytest.raises(LinkError, match="link 9: no interface nosuch"):
        line.attach_many([LinkAttachment(9, missing)])
    with pytest.raises(LinkError, match=r"link 7 .*exists"):
        line.attach(LinkAttachment(bench.LINK, bench.ends))
    with pytest.raises(LinkError, match="interface la belongs to another link"):
        line.attach(LinkAttachment(8, bench.ends))
    line.detach(bench.LINK)
    line.attach_many([LinkAttachment(3, bench.ends)])
    assert list(line.stats()) == [3]
    with pytest.raises(LinkError, match="no link 7"):
        line.read(7)


def test_a_missing_namespace_is_told() -> None:
    with pytest.raises(LinkError, match="/run/netns/nosuch: No such file"):
        DelayLine("/run/netns/nosuch", binary=TESTED)


def test_a_killed_daemon_is_noticed(bench: Bench) -> None:
    line = bench.start()
    line.check()
    assert line.alive()
    os.kill(line.pid, signal.SIGKILL)
    with pytest.raises(LinkError, match="died with signal SIGKILL: no link carries packets"):
        line.check()
    assert not line.alive()
    with pytest.raises(LinkError, match="died"):
        line.stats()
    line.close()


def test_a_hung_daemon_is_noticed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("topologies.emulation.links.delayline.PATIENCE_S", 0.2)
    line = bench.start()
    os.kill(line.pid, signal.SIGSTOP)
    with pytest.raises(LinkError, match=r"did not answer within 0\.2 s"):
        line.check()


PARENT = """
import sys, threading
from topologies.emulation.links.delayline import DelayLine
from pathlib import Path
made = []
starter = threading.Thread(target=lambda: made.append(DelayLine(binary=Path(sys.argv[1]))))
starter.start()
starter.join()
for _ in range(100):
    made[0].check()  # the thread that started it has ended: no reason to go
print(made[0].pid, flush=True)
sys.stdin.read()
"""


def test_it_ends_with_its_parent_but_not_with_a_thread() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, TESTED],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    ) as parent:
        assert parent.stdout is not None
        daemon = Path("/proc", parent.stdout.readline().decode().strip())
        assert daemon.exists()
        parent.kill()
    wait_for(lambda: not daemon.exists(), "the daemon to end")


def test_backend_is_opened_by_name(bench: Bench, tmp_path: Path) -> None:
    backend = open_backend("delayline", bench.inner.path, tmp_path)
    try:
        assert backend.name == "delayline"
        assert backend.needs_inner
        assert (tmp_path / "delayline.log").exists()
    finally:
        backend.close()


@contextmanager
def raw_daemon(bench: Bench) -> Iterator[tuple[subprocess.Popen[bytes], socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(20)
    with theirs:
        daemon = subprocess.Popen(
            [TESTED, f"--control={theirs.fileno()}", f"--netns={bench.inner.path}"],
            pass_fds=[theirs.fileno()],
        )
    try:
        yield daemon, ours
    finally:
        ours.close()
        assert daemon.wait(10) == 0


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        ("", "err unknown command "),
        ("frobnicate", "err unknown command frobnicate"),
        ("ping now", "err ping takes 0 arguments, got 1"),
        ("ping ", "err ping takes 0 arguments, got 1"),
        ("get", "err get takes 2 arguments, got 0"),
        ("set", "err set needs a link number from 0 to 65535"),
        ("get 65536 ab", "err get needs a link number from 0 to 65535"),
        ("get -1 ab", "err get needs a link number from 0 to 65535"),
        ("get 1 ab", "err no link 1"),
        ("add 1 lo lo 0", "err a link needs two interfaces"),
        ("add 1 a b 99999999999999999999", "err a seed is an unsigned 64-bit number"),
        ("add 1 a sixteen-letters- 0", "err an interface name has at most 15 characters"),
        ("add 1 nosuch lo 0", "err no interface nosuch in the daemon's network namespace"),
        ("advance 1.5", "err advance is a number of nanoseconds"),
        ("trace add 5 4", "err a trace is milliseconds that do not decrease"),
        ("\x01\u00e9", "err unknown command ????"[:-1]),
        ("a\0b", "err a line holds no zero byte"),
        ("x" * 40_000, "err a line has at most 32768 bytes"),
        ("trace add " + "1 " * 5000, "err more than 4096 words"),
        ("x" * 70_000, "err a message has at most 65536 bytes"),
        ("ping\nfoo\nping", "ok\nerr unknown command foo\nok"),
    ],
)
def test_bad_messages_are_answered(bench: Bench, message: str, answer: str) -> None:
    with raw_daemon(bench) as (_, control):
        control.send(message.encode() or b"\n")
        assert control.recv(1 << 20).decode() == answer + "\n"
        control.send(b"ping")
        assert control.recv(1 << 20) == b"ok\n"


@pytest.mark.parametrize(
    ("pairs", "answer"),
    [
        ("delay", "delay is not KEY=VALUE"),
        ("delay=", "unknown key or value out of range: delay"),
        ("delay=-1", "unknown key or value out of range: delay"),
        ("delay=3600000000001", "unknown key or value out of range: delay"),
        ("loss=1.1", "unknown key or value out of range: loss"),
        ("loss=nan", "unknown key or value out of range: loss"),
        ("loss=0x1", "unknown key or value out of range: loss"),
        ("ge=0.1,0.2,0.3", "unknown key or value out of range: ge"),
        ("ge=0,0,0,0,0", "unknown key or value out of range: ge"),
        ("rate=10", "unknown key or value out of range: rate"),
        ("limit=0", "unknown key or value out of range: limit"),
        ("trace=staged", "unknown key or value out of range: trace"),
        ("colour=red", "unknown key or value out of range: colour"),
        ("loss=0.1 ge=0,0,0,0", "loss and gemodel exclude each other"),
        ("overtake=1", "jitter that reorders needs jitter"),
    ],
)
def test_a_bad_setting_changes_nothing(bench: Bench, pairs: str, answer: str) -> None:
    line = bench.start(Impairment(delay_ns=7))
    assert line._exchange([f"set {bench.LINK} ab {pairs}"]) == [f"err {answer}"]
    assert line.read(bench.LINK)[0] == Impairment(delay_ns=7)


def test_garbage_does_not_kill_it(bench: Bench) -> None:
    chance = random.Random(1)
    words = b"add del set get stats carrier trace 1 2 ab ba up = , . \n \0 delay= ge= loss=1".split(
        b" "
    )
    with raw_daemon(bench) as (daemon, control):
        for _ in range(500):
            parts = chance.choices([*words, chance.randbytes(5)], k=chance.randrange(1, 30))
            control.send(b" ".join(parts))
            assert control.recv(1 << 20).endswith(b"\n")
        assert daemon.poll() is None


def test_a_controller_that_does_not_read_stops_nothing(bench: Bench) -> None:
    line = bench.start(Impairment(delay_ns=MS))
    sender, receiver = bench.tap("a"), bench.tap("b")
    line._socket.setblocking(False)
    sent = 0
    try:
        while sent < 100_000:
            line._socket.send(f"stats {bench.LINK} ab\n".encode() * 50)
            sent += 1
    except BlockingIOError:
        pass
    sender.send_numbers(10)
    assert len(receiver.receive(10)) == 10


def test_a_flood_has_bounded_memory(bench: Bench) -> None:
    bound = 32 << 20
    line = bench.start(Impairment(delay_ns=30_000 * MS), memory_bytes=bound)
    sender = bench.tap("a")
    sender.send_numbers(20_000, 1500)
    wait_for(lambda: line.stats()[bench.LINK][0].drops["memory"] > 5000, "the memory bound to bite")
    assert line.stats()[bench.LINK][0].held > 5000
    if not SANITIZED:
        assert resident_bytes(line.pid) < bound + (8 << 20)
    # the other direction still has room, and what waits goes with the cable
    back, front = bench.tap("b"), bench.tap("a")
    back.send_numbers(100)
    assert len(front.receive(100)) == 100
    line.carrier(bench.LINK, False)
    line.carrier(bench.LINK, True)
    assert line.stats()[bench.LINK][0].held == 0
    if not SANITIZED:
        wait_for(lambda: resident_bytes(line.pid) < 12 << 20, "memory to be given back")


def test_a_flood_on_one_link_spares_another(bench: Bench) -> None:
    """Lateness of the other direction stays within what a busy machine does."""
    line = bench.start(Impairment(delay_ns=20 * MS), Impairment(delay_ns=20 * MS))
    flood, probe, far = bench.tap("a"), bench.tap("b"), bench.tap("a")
    late = []
    for start in range(20):
        flood.send_numbers(1000)
        sent = probe.send_numbers(1, start=start)[0]
        late.append(far.receive(1)[0].time_ns - sent - 20 * MS)
    assert min(late) > -MS
    assert sorted(late)[10] < 20 * MS
    assert line.overruns() == 0


def test_vanished_interfaces_do_no_harm(bench: Bench) -> None:
    line = bench.start()
    with many_links(2) as (namespace, links):
        other = DelayLine(namespace.path, binary=TESTED)
        try:
            other.attach_many(links)
            ip("link del o0a", netns=namespace.name)
            with pytest.raises(LinkError, match=r"link 0 \(o0a - o0b\): No such device"):
                other.carrier(0, True)
            assert set(other.stats()) == {0, 1}
            other.detach(0)
            other.check()
        finally:
            other.close()
    line.check()


def test_stats_are_reset(bench: Bench) -> None:
    line = bench.start(Impairment(loss=0.5))
    bench.tap("a").send_numbers(100)
    wait_for(lambda: _seen(line, bench) == 100, "all packets to be counted")
    line.reset_stats()
    assert _seen(line, bench) == 0
    assert line.stats()[bench.LINK][0].lateness.count == 0


def _seen(line: DelayLine, bench: Bench) -> int:
    stats = line.stats()[bench.LINK][0]
    return stats.packets + stats.drops["loss"]


def test_calibration_takes_off_lateness(bench: Bench) -> None:
    line = bench.start(Impairment(delay_ns=10 * MS))
    found = calibrate(line, samples=15)
    assert 0 < found.direct_ns < MS
    assert found.advance_ns == max(0, found.anticipated_error_ns) == line.advance_ns
    assert line.anticipates
    # the throwaway link is gone, the other one works
    assert list(line.stats()) == [bench.LINK]
    left = subprocess.run(
        ["ip", "-netns", bench.inner.name, "link"], check=True, capture_output=True
    )
    assert b"dlcal" not in left.stdout


def test_advance_never_sends_before_arrival(bench: Bench) -> None:
    line = bench.start(Impairment(delay_ns=3 * MS))
    line.advance_ns = 50 * MS
    sender, receiver = bench.tap("a"), bench.tap("b")
    for number in range(20):
        sent = sender.send_numbers(1, start=number)[0]
        assert receiver.receive(1)[0].time_ns > sent
    late = line.stats()[bench.LINK][0].lateness
    assert late.percentile(50) > -3 * MS - 1
    assert late.buckets[0][0] < 0
