"""What the kernel and Open vSwitch of this host can do, found out by doing it.

A program for the inside of a sandbox, so that nothing is left behind: it prints one JSON object
per line, ``{"name": ..., "works": ..., "detail": ...}``; ``experiments.host.doctor`` reads it.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from pathlib import Path
from statistics import median as median_of

from experiments.measure.ping import EchoProbe, ping
from experiments.verdict.calibrate import BOUND_US
from topologies.emulation import netns
from topologies.emulation.links import End, Impairment, LinkAttachment, LinkEnds, LinkError
from topologies.emulation.links.delayline import DelayLine
from topologies.emulation.options import DatapathChoice
from topologies.emulation.processes import LabError
from topologies.emulation.vswitch import RUN, Bridge, Port, VSwitch

__all__ = ["Finding", "main"]

_TUNSETIFF = 0x400454CA
_IFF_TAP_NO_PI = 0x0002 | 0x1000
_CABLE = ("probe0", "probe1")


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether something works here; ``detail`` is a short fact, or the cause if it does not."""

    name: str
    works: bool
    detail: str


DELAY_NS = 5_000_000
ECHOES = 200


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=10)


def _veth() -> str:
    _run("ip", "link", "add", _CABLE[0], "type", "veth", "peer", "name", _CABLE[1])
    return "virtual cables"


def _tun() -> str:
    with open("/dev/net/tun", "rb+", buffering=0) as device:
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", b"probe-tap", _IFF_TAP_NO_PI))
    return "the userspace datapath stands on it"


def _htb() -> str:
    _run("tc", "qdisc", "replace", "dev", _CABLE[0], "root", "htb")
    return "rate limits in the kernel"


def _netem() -> str:
    _run("tc", "qdisc", "replace", "dev", _CABLE[0], "root", "netem", "delay", "1ms")
    return "the kernel's own link delays"


def _datapath(kind: DatapathChoice) -> None:
    """Make a bridge of this datapath type with one port, and read it back."""
    shutil.rmtree(RUN, ignore_errors=True)  # what the other datapath's probe left behind
    RUN.mkdir()
    with tempfile.TemporaryDirectory() as logs:
        switch = VSwitch(Path(logs), datapath=kind)
        try:
            switch.start_database()
            switch.start([Bridge("probe-br", 1, (Port(_CABLE[1], 1),))])
            switch.verify()
        except LabError as error:
            raise LabError("Open vSwitch could not make such a bridge") from error
        finally:
            switch.stop()


def _userspace_datapath() -> str:
    _datapath("userspace")
    return "Open vSwitch forwards in user space"


def _kernel_datapath() -> str:
    _datapath("kernel")
    return "Open vSwitch forwards in the kernel"


def _rtt_errors_us(tag: str, count: int) -> list[float]:
    """Ping over a link of our daemon between two namespaces: measured minus configured RTT.

    ``tag`` keeps the names of two calls apart. The first reply pays for ARP and is left out.
    """
    near, far = (_host(f"{tag}-{number}", f"192.0.2.{number}") for number in (1, 2))
    there_and_back = Impairment(delay_ns=DELAY_NS)
    with closing(DelayLine()) as links:
        links.attach(LinkAttachment(1, LinkEnds(near, far), there_and_back, there_and_back))
        probe = EchoProbe(f"{tag}-1", IPv4Address("192.0.2.2"))
        rows = ping([probe], count=count + 1, interval_s=0.005)
    rtts = [row.rtt_ns for row in rows[1:] if row.rtt_ns is not None]
    if len(rtts) < count:
        raise LinkError(f"{count - len(rtts)} of {count} packets were lost on a link without loss")
    return [(rtt - 2 * DELAY_NS) / 1000 for rtt in rtts]


def _host(name: str, address: str) -> End:
    """A namespace with an address, and the cable from it to here."""
    netns.create(name)
    _run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
    _run("ip", "link", "set", name, "up")
    _run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
    _run("ip", "-n", name, "link", "set", "eth0", "up")
    return End(str(netns.path(name)), "eth0", name)


def _link_daemon() -> str:
    _rtt_errors_us("daemon", 3)
    return "carries packets, each with its delay"


def _delay_accuracy() -> str:
    errors = sorted(_rtt_errors_us("delay", ECHOES))
    median, p99 = median_of(errors), errors[ECHOES * 99 // 100]
    result = f"RTT of 10 ms: {median:+.0f} us median, {p99:+.0f} us p99 of {ECHOES} pings"
    if abs(median) > BOUND_US:
        raise LinkError(result)
    return result


PROBES: dict[str, Callable[[], str]] = {
    "veth": _veth,
    "tun": _tun,
    "htb": _htb,
    "netem": _netem,
    "userspace datapath": _userspace_datapath,
    "kernel datapath": _kernel_datapath,
    "link daemon": _link_daemon,
    "delay accuracy": _delay_accuracy,
}
"""In this order: later ones use the cable of the first."""


def attempt(name: str, probe: Callable[[], str]) -> Finding:
    """Carry out one probe; whatever goes wrong is what was found."""
    try:
        return Finding(name, True, probe())
    except subprocess.CalledProcessError as error:
        return Finding(name, False, _one_line(error.stderr))
    except Exception as error:
        return Finding(name, False, _one_line(str(error)))


def _one_line(message: str) -> str:
    return " ".join(message.split())


def main() -> None:
    """Try everything and print each finding at once."""
    if os.getpid() != 1:
        raise SystemExit("This runs as the first process of a sandbox only: use `poplab doctor`.")
    for name, probe in PROBES.items():
        print(json.dumps(asdict(attempt(name, probe))), flush=True)


if __name__ == "__main__":
    main()
