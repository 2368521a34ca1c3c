"""Figures of the link daemon on this host: error, throughput, packet rate, cost of many links.

Run as root: `.venv/bin/python tests/links/measure.py [oneway|echo|tcp|pps|links]...`
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.links.bench import Bench, Namespace, ip, wait_for
from topologies.emulation.links import End, Impairment, LinkAttachment, LinkEnds
from topologies.emulation.links.calibration import calibrate
from topologies.emulation.links.delayline import DelayLine

MS = 1_000_000
DIRECT, LINKED = "198.51.100.2", "192.0.2.2"
"""The bench's other side, over the direct cable and over the link."""

ECHO = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", 7))
while True:
    s.sendto(*s.recvfrom(2000))
"""

PROBE = """
import socket, statistics, sys, time, json
count = int(sys.argv[1])
found = {}
socks = {}
for name, address in (("direct", "198.51.100.2"), ("link", "192.0.2.2")):
    socks[name] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    socks[name].connect((address, 7))
    found[name] = []
for _ in range(count):
    for name, s in socks.items():
        begin = time.monotonic_ns()
        s.send(b"x" * 56)
        s.recv(2000)
        found[name].append(time.monotonic_ns() - begin)
        time.sleep(0.005)
print(json.dumps(found))
"""

BLAST = """
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}
int main(int argc, char **argv)
{
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = if_nametoindex("out")};
    int fd = socket(AF_PACKET, SOCK_RAW, 0), room = 32 << 20;
    double rate = atof(argv[1]), seconds = atof(argv[2]), begin = now();
    char frame[64] = {[0 ... 5] = -1, [12] = (char)0x88, [13] = (char)0xb6};
    struct iovec part = {frame, sizeof frame};
    struct mmsghdr messages[16];
    long sent = 0;
    (void)argc;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room);
    bind(fd, (struct sockaddr *)&to, sizeof to);
    memset(messages, 0, sizeof messages);
    for (int i = 0; i < 16; i++)
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &part, .msg_iovlen = 1};
    while (now() - begin < seconds) {
        if (sent > (now() - begin) * rate)
            continue;
        int done = sendmmsg(fd, messages, 16, 0);
        sent += done > 0 ? done : 0;
    }
    printf("%ld", sent);
}
"""


def python(namespace: Namespace, code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["ip", "netns", "exec", namespace.name, sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )


@contextmanager
def benches() -> Iterator[Bench]:
    """A bench that is gone afterwards."""
    made = Bench()
    try:
        yield made
    finally:
        made.close()


def add_direct_cable(bench: Bench) -> None:
    ip(f"link add direct netns {bench.a.name} type veth peer name direct netns {bench.b.name}")
    for side, host in ((bench.a, 1), (bench.b, 2)):
        ip(f"addr add 198.51.100.{host}/24 dev direct", "link set direct up", netns=side.name)
    for side in (bench.a, bench.b):
        wait_for(lambda s=side: s.is_up("direct"), "the direct cable")


def probe(bench: Bench, count: int) -> dict[str, list[int]]:
    client = python(bench.a, PROBE, str(count))
    output, _ = client.communicate()
    found: dict[str, list[int]] = json.loads(output)
    return found


def oneway_errors(bench: Bench, delay_ms: int, times: int = 5) -> dict[str, float]:
    """Medians of some calibrations at one delay, in us, by the calibration's own names."""
    line = bench.start()
    interval_s = max(0.004, delay_ms / 2700)
    found = [calibrate(line, delay_ns=delay_ms * MS, interval_s=interval_s) for _ in range(times)]
    names = ("raw_error_ns", "anticipated_error_ns", "error_ns", "direct_ns")
    return {n: statistics.median(getattr(one, n) for one in found) / 1000 for n in names}


def oneway(bench: Bench) -> None:
    print("One-way error in us, net of a direct cable, by kernel timestamps: median of 5 medians")
    for delay_ms in (1, 5, 25, 100):
        found = oneway_errors(bench, delay_ms)
        print(
            f"{delay_ms:4} ms: raw {found['raw_error_ns']:.0f},",
            f"anticipated {found['anticipated_error_ns']:.0f},",
            f"compensated {found['error_ns']:.0f}; direct {found['direct_ns']:.0f}",
        )


def echo(bench: Bench) -> None:
    add_direct_cable(bench)
    server = python(bench.b, ECHO)
    time.sleep(0.5)
    print(
        "UDP echo: RTT error in us, programs' wake-ups included, net of the direct cable's RTT,",
        "median (p90); raw, compensated",
    )
    try:
        line = bench.start()
        for delay_ms in (1, 5, 25, 100):
            both = Impairment(delay_ns=delay_ms * MS)
            line.set(bench.LINK, a_to_b=both, b_to_a=both)
            texts = []
            for compensated in (False, True):
                line.anticipates, line.advance_ns = False, 0
                if compensated:
                    calibrate(line)
                found = probe(bench, 150 if delay_ms < 100 else 60)
                direct = statistics.median(found["direct"])
                errors = sorted(rtt - direct - 2 * delay_ms * MS for rtt in found["link"])
                texts.append(
                    f"{statistics.median(errors) / 1000:7.1f} "
                    f"({errors[len(errors) * 9 // 10] / 1000:7.1f})"
                )
            print(f"{delay_ms:4} ms: {'  '.join(texts)}  direct {direct / 1000:.1f}")
    finally:
        server.kill()


@dataclass(frozen=True)
class Transfer:
    """Five seconds of TCP."""

    bit_s: float
    retransmits: int
    drops: int


def large_windows(bench: Bench) -> None:
    """Let TCP fill a long link; a direct cable lies beside it from now on."""
    add_direct_cable(bench)
    for side in (bench.a, bench.b):
        for key in ("rmem", "wmem"):
            side.sysctl(f"net/ipv4/tcp_{key}", "4096 131072 67108864")


def transfer(bench: Bench, address: str, delay_ms: int) -> Transfer:
    """TCP by iperf3 to an address at the bench's other side, its link at some delay."""
    both = Impairment(delay_ns=delay_ms * MS)
    line = bench.start(both, both)
    server = subprocess.Popen(
        ["ip", "netns", "exec", bench.b.name, "iperf3", "-s", "-1", "--forceflush"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    while "listening" not in server.stdout.readline():
        pass
    client = ["ip", "netns", "exec", bench.a.name, "iperf3", "-c", address, "-t5", "-J"]
    done = subprocess.run(client, capture_output=True, text=True, check=True)
    server.communicate()
    end = json.loads(done.stdout)["end"]
    drops = sum(line.stats()[bench.LINK][0].drops.values())
    return Transfer(end["sum_received"]["bits_per_second"], end["sum_sent"]["retransmits"], drops)


def tcp(bench: Bench) -> None:
    large_windows(bench)
    for address, delay_ms in ((DIRECT, 0), (LINKED, 0), (LINKED, 5)):
        found = transfer(bench, address, delay_ms)
        print(
            f"TCP to {address} at {delay_ms} ms: {found.bit_s / 1e9:.2f} Gbit/s,",
            f"retransmits {found.retransmits}, drops {found.drops}",
        )


@dataclass(frozen=True)
class Blast:
    """Three seconds of frames of 64 bytes over a link of 5 ms; rates are per second."""

    offered: float
    delivered: float
    drops: dict[str, int]
    late_p50_us: float
    late_p99_us: float
    cpu_share: float


def blast(bench: Bench, program: Path, rate: int) -> Blast:
    """Send so many frames a second."""
    line = bench.start(Impairment(delay_ns=5 * MS))
    argv = ["ip", "netns", "exec", bench.a.name, program, str(rate), "3"]
    sent = int(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)
    wait_for(lambda: line.stats()[bench.LINK][0].held == 0, "the link to drain")
    stats = line.stats()[bench.LINK][0]
    ticks = sum(map(int, Path(f"/proc/{line.pid}/stat").read_text().split()[13:15]))
    drops = {cause: n for cause, n in stats.drops.items() if n}
    late = (stats.lateness.percentile(q) / 1000 for q in (50, 99))
    return Blast(sent / 3, stats.packets / 3, drops, *late, ticks / 300)


@contextmanager
def blaster() -> Iterator[Path]:
    """The program that sends them."""
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder, "blast.c"), Path(folder, "blast")
        source.write_text(BLAST)
        subprocess.run(["cc", "-O2", "-o", program, source], check=True)
        yield program


def pps(bench: Bench) -> None:
    with blaster() as program:
        for rate in (50_000, 150_000, 200_000, 300_000, 1_000_000):
            found = blast(bench, program, rate)
            print(
                f"64 bytes: offered {found.offered:.0f}/s, delivered {found.delivered:.0f}/s,",
                f"drops {found.drops}, lateness p50 {found.late_p50_us:.0f} us,",
                f"p99 {found.late_p99_us:.0f} us, CPU {found.cpu_share:.0%}",
            )


def links(_: Bench) -> None:
    for count in (100, 1000):
        namespace = Namespace("m")
        try:
            pairs = [f"{n}{side}" for n in range(count) for side in "ab"]
            ip(*(f"link add o{p} type veth peer name i{p}" for p in pairs), netns=namespace.name)
            up = [f"link set {end}{p} up" for p in pairs for end in "oi"]
            ip(*up, netns=namespace.name)
            delay = Impairment(delay_ns=5 * MS)
            begin = time.monotonic()
            line = DelayLine(namespace.path)
            started = time.monotonic()
            line.attach_many(
                LinkAttachment(
                    n,
                    LinkEnds(End(None, f"o{n}a", f"i{n}a"), End(None, f"o{n}b", f"i{n}b")),
                    delay,
                    delay,
                )
                for n in range(count)
            )
            attached = time.monotonic()
            resident = Path(f"/proc/{line.pid}/statm").read_text().split()[1]
            before = Path(f"/proc/{line.pid}/stat").read_text().split()[13:15]
            time.sleep(2)
            after = Path(f"/proc/{line.pid}/stat").read_text().split()[13:15]
            print(
                f"{count} links: start {1000 * (started - begin):.1f} ms,",
                f"attach {1000 * (attached - started):.1f} ms,",
                f"RSS {int(resident) * 4096 / 1e6:.1f} MB,",
                f"idle CPU ticks in 2 s: {sum(map(int, after)) - sum(map(int, before))}",
            )
            line.close()
        finally:
            namespace.close()


if __name__ == "__main__":
    parts = {"oneway": oneway, "echo": echo, "tcp": tcp, "pps": pps, "links": links}
    for name in sys.argv[1:] or parts:
        with benches() as made:
            parts[name](made)
