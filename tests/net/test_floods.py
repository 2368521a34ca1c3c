"""One server floods every way up to the controller on real switches; its neighbours go on."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from controller import dhcp
from controller.frames import octets
from experiments.measure import forge
from experiments.measure.ping import EchoProbe, ping
from experiments.runs.testbed import Testbed
from topologies.plan import GATEWAY_MAC, HostPlan, HostRole
from topologies.sources import load

pytestmark = [pytest.mark.net, pytest.mark.alone, pytest.mark.sandboxed]

PER_S = 20_000
EVERYBODY = IPv4Address("255.255.255.255")


class Hasty(Testbed):
    """Leases of four seconds, so that every server asks for more time again and again."""

    TERMS = ("--lease-time", "4")


def discover(server: HostPlan) -> bytes:
    """A wish for a port set, as a server's client says it."""
    said = dhcp.Message(
        dhcp.Kind.DISCOVER,
        1,
        octets(server.mac),
        ((int(dhcp.Option.PORT_PARAMETERS), dhcp.PortParameters(12, 0).encode()),),
    )
    whole = (server.mac, "ff:ff:ff:ff:ff:ff", IPv4Address(0), EVERYBODY, 68, 67)
    return forge.Forged(*whole, dhcp.build(said)).frame()


@contextmanager
def flooding(host: str, *frames: bytes) -> Iterator[list[int]]:
    """Send these frames in turn all the while; how many were sent is at index 0."""
    over, sent = threading.Event(), [0]

    def flood() -> None:
        began = time.monotonic()
        with forge.on_the_wire(host) as raw:
            for frame in itertools.cycle(frames):
                if over.is_set():
                    return
                raw.send(frame)
                sent[0] += 1
                if (ahead := sent[0] / PER_S - (time.monotonic() - began)) > 0.002:
                    time.sleep(ahead)

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        yield sent
    finally:
        over.set()
        thread.join()


def numbers(lab: Testbed, but: str) -> dict[str, int]:
    """Which lending each server has had from the start, but one."""
    first = (x for x in lab.controller_api.leases() if not x["client_id"] and x["server"] != but)
    return {x["server"]: x["number"] for x in first if x["state"] == "lent"}


def test_a_server_that_floods_every_way_up_harms_itself_alone(lab_folder: Path) -> None:
    with Hasty(load("triangle"), folder=lab_folder) as lab:
        thief, other = (lab.plan.host(name) for name in ("LHR-s1", "LHR-s2"))
        origin, lease = lab.plan.hosts_of(HostRole.ORIGIN)[0], lab.leases()["LHR-s1"]
        ends = (IPv4Address(lease["address"]), origin.address, lease["first_port"])
        echo = forge.echo(forge.Forged(thief.mac, GATEWAY_MAC, *ends), lease["first_port"])
        before, punted = numbers(lab, thief.name), lab.controller_api.status()["packet_ins"]
        assert len(before) == 5
        began, took = time.monotonic(), []
        with flooding(thief.name, discover(thief), echo) as sent:
            while time.monotonic() < began + 6:  # longer than any lease lasts unless renewed
                asked, wish = time.monotonic(), {"client_id": f"try {len(took)}", "psid_bits": 12}
                lab.order("borrow", other.name, **wish)
                took.append(time.monotonic() - asked)
                lab.order("return", other.name, **wish)
                rows = ping([EchoProbe(other.name, origin.address)], count=20, interval_s=0.02)
                assert {row.outcome for row in rows} == {"ok"}
            lasted = time.monotonic() - began
        assert sent[0] > 10_000 * lasted
        assert len(took) > 3
        assert max(took) < 0.5
        assert numbers(lab, thief.name) == before
        # What goes up is limited by the switch, not only by the controller when it has it.
        assert lab.controller_api.status()["packet_ins"] - punted < 600 * (lasted + 2)
