"""Probes, endpoints and the judge on real sockets, beside ordinary programs.

The hosts of ``triangle`` hang on one plain Linux bridge here: no switch, no delay.
"""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import socks
from scapy.layers.inet import IP, TCP, UDP
from scapy.packet import Raw

from controller.agent.proxy import PROXY_PORT
from controller.agent.proxy import Proxy as EgressProxy
from experiments.measure.claim import claim
from experiments.measure.http import Proxy, Request, get
from experiments.measure.judge import Judge, PortSet
from experiments.measure.ping import EchoProbe, ping
from experiments.measure.tcp import TcpAttempt, connect
from experiments.measure.udp import udp_echo
from topologies.emulation import netns
from topologies.emulation.endpoints.echo import ECHO_PORT
from topologies.emulation.endpoints.service import DNS_PORT, HTTP_PORT
from topologies.emulation.processes import until
from topologies.plan import HostPlan, plan
from topologies.sources import dump_json, load

pytestmark = [pytest.mark.net, pytest.mark.alone, pytest.mark.sandboxed]

NETWORK = load("triangle")
HOSTS = {host.name: host for host in plan(NETWORK).hosts}
CLIENT = next(host for host in HOSTS.values() if host.role == "client")
SERVER, OTHER, *_ = (host for host in HOSTS.values() if host.role == "server")
ORIGIN = next(host for host in HOSTS.values() if host.role == "origin")
SERVICE = IPv4Address("198.51.100.1")
BORROWED = IPv4Address("203.0.113.1")
NOBODY = IPv4Address("10.250.0.1")


def ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True)


@contextmanager
def flat() -> Iterator[None]:
    """Every host on one bridge; the server has the service address and the borrowed one."""
    netns.create("bridge")
    ip("-n bridge link add br0 type bridge")
    ip("-n bridge link set br0 up")
    for number, host in enumerate(HOSTS.values()):
        netns.create(host.name)
        ip(f"-n {host.name} link set lo up")
        ip(f"-n {host.name} link add eth0 type veth peer name p{number} netns bridge")
        ip(f"-n bridge link set p{number} master br0 up")
        ip(f"-n {host.name} addr add {host.address}/32 dev eth0")
        ip(f"-n {host.name} link set eth0 up")
        ip(f"-n {host.name} route add default dev eth0")
    for address in (SERVICE, BORROWED):
        ip(f"-n {SERVER.name} route add local {address}/32 dev lo")
    yield  # the sandbox takes all of it away


@contextmanager
def endpoints(folder: Path) -> Iterator[None]:
    network, ready = folder / "network.json", folder / "ready"
    network.write_text(dump_json(NETWORK))
    command = [sys.executable, "-m", "topologies.emulation.endpoints", str(network)]
    command += ["--ready-file", str(ready)]
    errors = folder / "errors"
    with errors.open("w") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            until(ready.exists, "the endpoints to listen", timeout_s=10)
            yield
        finally:
            process.terminate()
            assert process.wait(5) == 0
            assert errors.read_text() == ""


LEASE = {"tag": "any", "address": str(BORROWED), "first_port": 2048, "last_port": 4095}


@contextmanager
def egress_proxy(lease: dict[str, Any] = LEASE) -> Iterator[EgressProxy]:
    """The server's proxy, as if the server held a lease."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    proxy = EgressProxy(SERVER.name, lambda: [lease])

    def wait(work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, loop).result(timeout=10)

    try:
        wait(proxy.open())
        try:
            yield proxy
        finally:
            wait(proxy.close())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def inside(host: HostPlan, *command: str) -> str:
    return subprocess.run(
        ["ip", "netns", "exec", host.name, *command], check=True, capture_output=True, text=True
    ).stdout


def set_ports(host: HostPlan, first: int, last: int) -> None:
    inside(host, "sysctl", "-qw", f"net.ipv4.ip_local_port_range={first} {last}")


def test_ping_agrees_with_the_ordinary_ping():
    with flat():
        probes = [EchoProbe(host.name, SERVER.address) for host in HOSTS.values()]
        here = Path("/proc/self/ns/net").readlink()
        rows = ping(probes, count=30, interval_s=0.02)
        assert Path("/proc/self/ns/net").readlink() == here
        assert [(row.probe, row.sequence) for row in rows] == [
            (probe, sequence) for probe in range(len(probes)) for sequence in range(30)
        ]
        assert {row.outcome for row in rows} == {"ok"}
        assert {row.clock for row in rows} == {"kernel"}
        ours = median(row.rtt_ns for row in rows if row.host == CLIENT.name)
        report = inside(CLIENT, "ping", "-c", "30", "-i", "0.02", str(SERVER.address))
        theirs = median(float(ms) * 1e6 for ms in re.findall(r"time=([\d.]+) ms", report))
        assert ours > 1_000
        assert abs(ours - theirs) < 300_000


def test_what_does_not_answer_is_none_and_a_source_is_kept():
    with flat():
        ip(f"-n {CLIENT.name} route add unreachable 10.251.0.0/16")
        # The server swallows this: the address is not its own and it forwards nothing.
        ip(f"-n {CLIENT.name} route add 10.252.0.0/16 via {SERVER.address} dev eth0 onlink")
        probes = [
            EchoProbe(CLIENT.name, IPv4Address("10.252.0.1")),
            EchoProbe(CLIENT.name, IPv4Address("10.251.0.1")),
            EchoProbe(SERVER.name, CLIENT.address, BORROWED),
        ]
        rows = ping(probes, count=2, interval_s=0.01, timeout_s=0.2)
        outcomes = ["lost", "lost", "unsent", "unsent", "ok", "ok"]
        assert [row.outcome for row in rows] == outcomes
        assert [row.rtt_ns is None for row in rows] == [True] * 4 + [False] * 2
        with pytest.raises(OSError, match="assign requested address"):
            ping([EchoProbe(OTHER.name, CLIENT.address, BORROWED)])
        with claim(OTHER.name, BORROWED):
            assert len(ping([EchoProbe(OTHER.name, CLIENT.address, BORROWED)], count=1)) == 1


def test_tcp_keeps_to_its_port_set_and_tells_failures_apart(tmp_path):
    with flat(), endpoints(tmp_path), egress_proxy():
        set_ports(SERVER, 1024, 65_535)
        attempt = TcpAttempt(SERVER.name, ORIGIN.address, 80, BORROWED, (2048, 2063))
        rows = connect([attempt] * 17, hold=True)
        assert sorted(row.local_port or 0 for row in rows if row.outcome == "ok") == [
            *range(2048, 2064)
        ]
        assert [row.outcome for row in rows].count("no port") == 1
        good = next(row for row in rows if row.outcome == "ok")
        assert good.local_address == BORROWED
        assert 0 < good.handshake_rtt_ns <= good.connect_ns < 1_000_000_000
        again = connect([attempt] * 16)  # a reset leaves no port in TIME_WAIT
        assert {row.outcome for row in again} == {"ok"}

        ip(f"-n {CLIENT.name} route add 10.252.0.0/16 via {SERVER.address} dev eth0 onlink")
        ip(f"-n {CLIENT.name} route add unreachable 10.251.0.0/16")
        tries = [
            TcpAttempt(CLIENT.name, ORIGIN.address, 81),
            TcpAttempt(CLIENT.name, IPv4Address("10.252.0.1")),
            TcpAttempt(CLIENT.name, IPv4Address("10.251.0.1")),
            TcpAttempt(CLIENT.name, ORIGIN.address, source=BORROWED),
            TcpAttempt(CLIENT.name, ORIGIN.address, ports=(5000, 5000)),
        ]
        rows = connect(tries, timeout_s=0.3)
        outcomes = ["refused", "timeout", "unreachable", "no address", "ok"]
        assert [row.outcome for row in rows] == outcomes
        assert [row.connect_ns is None for row in rows] == [True] * 4 + [False]
        assert rows[4].local_port == 5000

        set_ports(SERVER, 2048, 2063)
        outside = TcpAttempt(SERVER.name, ORIGIN.address, 80, BORROWED, (3000, 3015))
        with pytest.raises(RuntimeError, match="does not hold that range"):
            connect([outside])


def test_no_listener_of_a_server_costs_it_a_lendable_port(tmp_path):
    with flat(), endpoints(tmp_path), egress_proxy():
        set_ports(SERVER, 1024, 65_535)
        listening = re.findall(r":(\d+) +\S+ *$", inside(SERVER, "ss", "-Htuln"), re.MULTILINE)
        assert {int(port) for port in listening} == {ECHO_PORT, DNS_PORT, HTTP_PORT, PROXY_PORT}
        assert all(int(port) < 1024 for port in listening)
        attempt = TcpAttempt(SERVER.name, ORIGIN.address, 80, BORROWED, (2048, 4095))
        rows = connect([attempt] * 2048, hold=True, spacing_s=0)
        assert {row.outcome for row in rows} == {"ok"}


def test_http_names_who_answered_and_whom_it_saw(tmp_path):
    with flat(), endpoints(tmp_path), egress_proxy():
        set_ports(SERVER, 2048, 4095)
        requests = [
            Request(CLIENT.name, SERVICE),
            Request(SERVER.name, ORIGIN.address, "/whoami", source=BORROWED, ports=(2048, 4095)),
            Request(CLIENT.name, ORIGIN.address, "/bytes/3000000"),
            Request(OTHER.name, ORIGIN.address, proxy=Proxy(SERVER.address, tag="any")),
            Request(OTHER.name, ORIGIN.address, proxy=Proxy(SERVER.address), warm=True),
            Request(OTHER.name, ORIGIN.address, proxy=Proxy(SERVER.address, tag="gb")),
            Request(CLIENT.name, ORIGIN.address, "/nothing"),
            Request(CLIENT.name, ORIGIN.address, port=81),
        ]
        trace, whoami, stream, lent, own, foreign, missing, closed = get(requests)
        assert trace.fields["pop"] == SERVER.city
        assert trace.fields["server"] == SERVER.name
        assert trace.fields["host"] == str(SERVICE)
        assert trace.fields["client"] == str(CLIENT.address)
        assert trace.fields["client_port"] == str(trace.local_port)
        assert 0 < trace.connect_ns < trace.ttfb_ns <= trace.total_ns
        assert whoami.fields["origin"] == ORIGIN.name
        assert whoami.fields["client"] == str(BORROWED)
        assert 2048 <= int(whoami.fields["client_port"]) <= 4095
        assert (stream.outcome, stream.body_bytes) == ("ok", 3_000_000)
        assert lent.fields["client"] == str(BORROWED)
        assert own.fields["client"] == str(SERVER.address)
        assert 0 < own.warm_rtt_ns < own.total_ns
        assert 0 < own.handshake_rtt_ns < own.connect_ns
        assert lent.warm_rtt_ns is None
        assert (foreign.outcome, foreign.status) == ("proxy refused", None)
        assert (missing.outcome, missing.status) == ("ok", 404)
        assert (closed.outcome, closed.total_ns) == ("refused", None)


def test_ordinary_curl_uses_the_endpoints(tmp_path):
    with flat(), endpoints(tmp_path):
        trace = inside(CLIENT, "curl", "-sS", f"http://{SERVICE}/trace")
        assert f"server={SERVER.name}\n" in trace
        form = ["-w", "%{num_connects} %{size_download}\\n", "-o", "/dev/null"]
        url = f"http://{ORIGIN.address}/bytes/1000000"
        kept = inside(CLIENT, "curl", "-sS", *form, url, *form, url)
        assert kept.split() == ["1", "1000000", "0", "1000000"]  # the second by the same connection


def test_ordinary_curl_leaves_by_the_proxy_from_a_lease_or_from_the_servers_own(tmp_path):
    with flat(), endpoints(tmp_path), egress_proxy():
        set_ports(SERVER, 1024, 65_535)
        at, url = f"{SERVER.address}:{PROXY_PORT}", f"http://{ORIGIN.address}/whoami"
        ways = [["-p", "-x", f"http://{{}}{at}"]]
        ways += [["-x", f"{kind}://{{}}{at}"] for kind in ("socks5", "socks5h")]
        for *options, way in ways:
            seen = inside(OTHER, "curl", "-sS", *options, way.format("any:x@"), url)
            assert f"client={BORROWED}\n" in seen
            port = int(re.search(r"client_port=(\d+)", seen)[1])
            assert 2048 <= port <= 4095
            own = inside(OTHER, "curl", "-sS", *options, way.format(""), url)
            assert f"client={SERVER.address}\n" in own
            with pytest.raises(subprocess.CalledProcessError) as refused:
                inside(OTHER, "curl", "-sS", *options, way.format("gb:x@"), url)
            assert ("403" if "-p" in options else "(2)") in refused.value.stderr


def test_the_proxy_says_when_all_ports_are_in_use_and_carries_datagrams(tmp_path):
    few = LEASE | {"first_port": 2048, "last_port": 2063}
    with flat(), endpoints(tmp_path), egress_proxy(few) as proxy, ExitStack() as opened:
        set_ports(SERVER, 1024, 65_535)
        login = (socks.SOCKS5, str(SERVER.address), PROXY_PORT, True, "any", "x")

        def through(kind: socket.SocketKind, port: int) -> socket.socket:
            with netns.inside(OTHER.name):
                made = opened.enter_context(socks.socksocket(socket.AF_INET, kind))
                made.set_proxy(*login)
                made.settimeout(5)
                made.connect((str(ORIGIN.address), port))
            return made

        used = {through(socket.SOCK_STREAM, HTTP_PORT).get_proxy_sockname()[1] for _ in range(16)}
        assert used == set(range(2048, 2064))
        with pytest.raises(socks.GeneralProxyError, match="General SOCKS server failure"):
            through(socket.SOCK_STREAM, HTTP_PORT)
        assert proxy.exhausted == {"any": 1}
        asked = through(socket.SOCK_DGRAM, ECHO_PORT)
        for text in (b"one", b"two"):
            asked.send(text)
            assert asked.recv(100) == text


def test_udp_echo_answers_from_the_address_that_was_reached(tmp_path):
    with flat(), endpoints(tmp_path):
        probes = [EchoProbe(CLIENT.name, to) for to in (SERVER.address, SERVICE, ORIGIN.address)]
        rows = udp_echo(probes, count=5, interval_s=0.02)
        assert {(row.outcome, row.clock) for row in rows} == {("ok", "kernel")}
        with netns.inside(CLIENT.name):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sock:  # a connected socket hears its peer's address only
            sock.settimeout(2)
            sock.connect((str(SERVICE), 7))
            sock.send(b"from where?")
            assert sock.recv(100) == b"from where?"
        closed = [EchoProbe(CLIENT.name, SERVER.address)]
        rows = udp_echo(closed, count=2, interval_s=0.02, timeout_s=0.2, port=9)
        assert [row.outcome for row in rows] == ["lost", "lost"]
        set_ports(SERVER, 1024, 65_535)
        borrowed = [EchoProbe(SERVER.name, ORIGIN.address, BORROWED)]
        assert udp_echo(borrowed, count=1, ports=(2048, 4095))[0].outcome == "ok"


class Forger:
    """Sends raw IP packets from the client by way of a chosen server."""

    def __init__(self) -> None:
        with netns.inside(CLIENT.name):
            self.sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)

    def send(self, packet: IP, times: int = 1) -> None:
        data = bytes(packet)
        for _ in range(times):
            self.sock.sendto(data, (packet.dst, 0))


def test_the_judge_counts_every_packet_and_convicts_the_wrong_ones():
    pools = [IPv4Network("203.0.113.0/24")]
    held = {SERVER.name: [PortSet(BORROWED, 2048, 4095)], OTHER.name: []}
    packet = IP(src=str(ORIGIN.address), dst=str(BORROWED))
    with flat(), Judge(pools, held) as judge:
        ip(f"-n {CLIENT.name} route add 203.0.113.0/24 via {SERVER.address} dev eth0 onlink")
        forger = Forger()
        forger.send(packet / TCP(sport=80, dport=2048))
        forger.send(packet / UDP(sport=80, dport=4095), times=9)
        forger.send(IP(src="10.0.0.9", dst=str(SERVER.address)) / UDP(dport=5000))
        until(lambda: judge.verdicts()[0].delivered >= 10, "the rightful packets", timeout_s=5)
        assert [(v.delivered, v.misdelivered) for v in judge.verdicts()] == [(10, 0), (0, 0)]
        assert judge.misdelivered() == []

        forger.send(packet / TCP(sport=80, dport=4096) / Raw(b"x" * 500))
        forger.send(IP(src="10.0.0.9", dst="203.0.113.2") / UDP(sport=7, dport=2048))
        forger.send(IP(src="10.0.0.9", dst=str(BORROWED), proto=17, frag=3) / Raw(b"x" * 40))
        until(lambda: judge.verdicts()[0].misdelivered >= 3, "the wrong packets", timeout_s=5)
        first, second, third = judge.misdelivered()
        assert (first.server, first.destination, first.destination_port, first.length) == (
            SERVER.name, BORROWED, 4096, 540,
        )  # fmt: skip
        assert (second.protocol, second.source_port) == (17, 7)
        assert third.destination_port is None
        assert first.received_ns > 1_600_000_000 * 10**9

        judge.hold(SERVER.name, [PortSet(BORROWED, 0, 65_535)])
        forger.send(packet / TCP(sport=80, dport=4096))
        until(
            lambda: judge.verdicts()[0].delivered >= 14,
            "the packet of the moved lease",
            timeout_s=5,
        )
        assert judge.verdicts()[0].misdelivered == 3


def test_the_judge_counts_exactly_where_the_evidence_overflows():
    flood = 20_000
    with flat(), Judge([IPv4Network("203.0.113.0/24")], {SERVER.name: []}) as judge:
        ip(f"-n {CLIENT.name} route add 203.0.113.0/24 via {SERVER.address} dev eth0 onlink")
        Forger().send(IP(src=str(ORIGIN.address), dst=str(BORROWED)) / UDP(dport=9), times=flood)
        until(lambda: judge.verdicts()[0].delivered >= flood, "the whole flood", timeout_s=10)
        (verdict,) = judge.verdicts()
        assert (verdict.delivered, verdict.misdelivered) == (flood, flood)
        assert 0 < len(judge.misdelivered()) < flood
