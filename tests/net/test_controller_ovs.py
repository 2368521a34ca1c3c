"""The controller on real switches: restarts, lost rules, lost leases, bad DHCP."""

from __future__ import annotations

import itertools
import json
import socket
import struct
import subprocess
import time
import urllib.error
import urllib.request
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from controller import dhcp, frames
from controller.dhcp import Kind, Message, Option, PortParameters
from experiments.runs.testbed import REST, Testbed
from topologies.emulation import netns
from topologies.plan import HostPlan, HostRole
from topologies.sources import load

pytestmark = [pytest.mark.net, pytest.mark.sandboxed]

LEASE_S, QUARANTINE_S = 4, 1


class ShortLeases(Testbed):
    """Leases of a few seconds, so that a test sees them end."""

    TERMS = ("--lease-time", str(LEASE_S), "--quarantine", str(QUARANTINE_S))


def restart(lab: Testbed) -> dict[str, Any]:
    lab.restart("controller")
    lab.wait(lab.controller_api.is_listening, "the controller to answer")
    lab.wait(lab.controller_api.is_ready, "every switch to be programmed")
    return lab.controller_api.status()


def run(host: str, *command: str) -> subprocess.CompletedProcess[str]:
    whole = ["ip", "netns", "exec", host, *command]
    return subprocess.run(whole, capture_output=True, text=True, timeout=20, check=False)


def fetch(lab: Testbed, server: str, lease: dict[str, Any], *more: str) -> bool:
    """Whether a server reaches an origin from its borrowed address, by an ordinary curl."""
    origin = lab.plan.hosts_of(HostRole.ORIGIN)[0].address
    url = f"http://{origin}/trace"
    got = run(server, "curl", "-s", "-m", "2", "--interface", lease["address"], *more, url)
    return got.returncode == 0 and f"client={lease['address']}\n" in got.stdout


def facts(lab: Testbed) -> set[tuple[Any, ...]]:
    """What the book says, without times."""
    names = ("address", "psid", "server", "pop", "state", "number")
    return {tuple(lease[name] for name in names) for lease in lab.controller_api.leases()}


def management(switch: str) -> str:
    """Where `ovs-ofctl` finds a switch."""
    return f"unix:/run/openvswitch/{switch}.mgmt"


def rules(lab: Testbed, switch: str) -> set[str]:
    """A switch's rules without counters and ages, asked of Open vSwitch itself."""
    command = ["ovs-ofctl", "-O", "OpenFlow13", "--no-stats", "dump-flows", management(switch)]
    lines = subprocess.check_output(command, text=True).splitlines()
    return {line.strip() for line in lines if "actions=" in line}


def test_a_restart_changes_nothing(lab_folder: Path) -> None:
    with Testbed(load("triangle"), folder=lab_folder) as lab:
        leases, book = lab.leases(), facts(lab)
        held = {switch.name: rules(lab, switch.name) for switch in lab.plan.switches}
        assert all(fetch(lab, server, lease) for server, lease in leases.items())
        lab.kill("controller")
        assert all(fetch(lab, server, lease) for server, lease in leases.items())
        status = restart(lab)
        assert status["changes"] == 0
        assert facts(lab) == book
        assert {name: rules(lab, name) for name in held} == held

        # Rules lost, altered and added behind our back are put right, strangers are let be.
        lab.kill("controller")
        ofctl = ["ovs-ofctl", "-O", "OpenFlow13"]
        stranger = "cookie=0x77,table=40,priority=1,ip,nw_src=9.9.9.9,actions=drop"
        subprocess.run([*ofctl, "del-flows", management("eLHR")], check=True)
        subprocess.run([*ofctl, "add-flow", management("eLHR"), stranger], check=True)
        altered = next(rule for rule in held["tLHR"] if "actions=output" in rule)
        altered = altered.replace("actions=output", "actions=output:1,output")
        subprocess.run([*ofctl, "add-flow", management("tLHR"), altered], check=True)
        status = restart(lab)
        assert {name: rules(lab, name) for name in held if name != "eLHR"} == {
            name: found for name, found in held.items() if name != "eLHR"
        }
        now = rules(lab, "eLHR")
        assert now > held["eLHR"]
        assert ["nw_src=9.9.9.9" in rule for rule in now - held["eLHR"]] == [True]
        assert status["changes"] == len(held["eLHR"]) + 1


def test_rules_that_somebody_takes_away_are_back_at_once(lab_folder: Path) -> None:
    with Testbed(load("triangle"), folder=lab_folder) as lab:
        held = rules(lab, "eLHR")
        for which in ("table=20", "table=0,tcp", ""):
            command = ["ovs-ofctl", "-O", "OpenFlow13", "del-flows", management("eLHR")]
            subprocess.run([*command, *([which] if which else [])], check=True)
            assert rules(lab, "eLHR") != held
            lab.wait(lambda: rules(lab, "eLHR") == held, "the rules to be back")
        server = "LHR-s1"
        assert fetch(lab, server, lab.leases()[server])


def test_leases_come_and_go(lab_folder: Path) -> None:
    with ShortLeases(load("triangle"), folder=lab_folder) as lab:
        static = {name: s["rules"] for name, s in lab.controller_api.status()["switches"].items()}
        server = "LHR-s1"
        first = lab.leases()[server]
        assert fetch(lab, server, first)
        foreign = str(first["last_port"] + 1)
        assert not fetch(lab, server, first, "--local-port", foreign)
        spoofed = lab.controller_api.counters()["eLHR"]["spoof"]["packets"]
        assert spoofed > 0
        ports = run(server, "cat", "/proc/sys/net/ipv4/ip_local_port_range").stdout.split()
        assert [int(port) for port in ports] == [first["first_port"], first["last_port"]]

        # Renewed past its first end.
        numbers = {lease["server"]: lease["number"] for lease in lab.controller_api.leases()}
        seen = packet_ins(lab)
        everyone = len(numbers)
        lab.wait(
            lambda: packet_ins(lab) >= seen + 3 * everyone,
            "every lease to be renewed three times",
        )
        assert {x["server"]: x["number"] for x in lab.controller_api.leases()} == numbers

        # Revoked: at once of no use; the agent learns it at its next renewal and borrows anew.
        path = f"/v1/leases/{first['address']}/{first['first_port']}/revoke"
        urllib.request.urlopen(urllib.request.Request(f"http://{REST}{path}", method="POST"))
        lab.wait(lambda: not fetch(lab, server, first, "--local-port", str(first["last_port"])), "")
        lab.wait(
            lambda: lab.leases().get(server, first) != first, "the agent to borrow another set"
        )
        assert fetch(lab, server, lab.leases()[server])

        # The agent dies without a word: leases end, are quarantined, and nothing stays.
        lab._programs.pop("agent").kill()
        lab.wait(lambda: lab.controller_api.leases() == [], "every lease to end")
        status = lab.controller_api.status()["switches"]
        gone = {name: static[name] - switch["rules"] for name, switch in status.items()}
        assert {name for name, number in gone.items() if number} == {"eLHR", "eARN", "eFCO"}
        for name in static:
            assert len(rules(lab, name)) == status[name]["rules"]


def test_giving_back(lab_folder: Path) -> None:
    with Testbed(load("triangle"), folder=lab_folder) as lab:
        held = lab.leases()
        agent = lab._programs.pop("agent")
        agent.stop()
        assert agent.process.returncode == 0
        lab.wait(
            lambda: {lease["state"] for lease in lab.controller_api.leases()} == {"quarantined"},
            "every lease to be given back",
        )
        assert json.loads(lab.lease_file.read_text()) == {}
        for server, lease in held.items():
            assert lease["address"] not in run(server, "ip", "route", "show", "table", "all").stdout
            assert not fetch(lab, server, lease)
        controller = lab._programs.pop("controller")
        controller.stop()
        assert controller.process.returncode == 0
        assert "Traceback" not in controller.log.read_text()


def test_bad_dhcp_is_counted_and_harms_nobody(lab_folder: Path) -> None:
    with Testbed(load("triangle"), folder=lab_folder) as lab:
        thief, victim = lab.plan.host("LHR-s1"), lab.plan.host("LHR-s2")
        theirs = lab.leases()["LHR-s2"]
        own = bytes.fromhex(thief.mac.replace(":", ""))
        ports = PortParameters(theirs["psid_bits"], theirs["psid"]).encode()
        address = IPv4Address(theirs["address"])

        def message(kind: Kind, mac: bytes) -> bytes:
            options = ((int(Option.PORT_PARAMETERS), ports),)
            return dhcp.build(Message(kind, 1, mac, options, ciaddr=address))

        other = bytes.fromhex(victim.mac.replace(":", ""))
        payloads = [
            message(Kind.RELEASE, own),  # of a lease that is not its own
            message(Kind.RELEASE, other),  # in the victim's name
            b"",
            b"\xff" * 300,
            message(Kind.DISCOVER, own)[:200],
        ]
        before = packet_ins(lab)
        raw = on_the_wire(thief)
        with raw:
            for sent, payload in enumerate(payloads, before + 1):
                raw.send(frames.build(from_client(thief, payload)))
                lab.wait(lambda want=sent: packet_ins(lab) >= want, "it to be handed up")
        lab.wait(lambda: counted(lab, "dhcp_malformed") == 4, "four of them to be malformed")
        states = {x["server"]: x["state"] for x in lab.controller_api.leases()}
        assert states["LHR-s2"] == "lent"
        assert fetch(lab, "LHR-s2", theirs)

        for path, code in (
            ("203.0.113.0/9/revoke", 409),
            ("203.0.113.0/65538/revoke", 400),
            ("203.0.113.0/+1/revoke", 400),
            ("nonsense/1/revoke", 400),
        ):
            request = urllib.request.Request(f"http://{REST}/v1/leases/{path}", method="POST")
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(request)
            assert refused.value.code == code
            problem = json.load(refused.value)
            assert (problem["status"], bool(problem["detail"])) == (code, True)
            assert refused.value.headers["Content-Type"].startswith("application/problem+json")


def test_a_loop_of_borrowing_and_returning_starves_nobody(lab_folder: Path) -> None:
    with Testbed(load("triangle"), folder=lab_folder) as lab:
        greedy, modest = lab.plan.host("LHR-s1"), lab.plan.host("LHR-s2")
        kept = lab.leases()[modest.name]
        own = bytes.fromhex(greedy.mac.replace(":", ""))
        raw = on_the_wire(greedy)
        before, turns = packet_ins(lab), itertools.count()
        with raw:
            while packet_ins(lab) < before + 400:
                turn = next(turns)
                for kind, psid in ((Kind.RELEASE, turn % 31 + 1), (Kind.DISCOVER, 1)):
                    ports = PortParameters(5, psid).encode()
                    options = ((int(Option.PORT_PARAMETERS), ports),)
                    address = IPv4Address(kept["address"])
                    message = Message(kind, turn, own, options, ciaddr=address)
                    raw.send(frames.build(from_client(greedy, dhcp.build(message))))
        assert counted(lab, "dhcp_dropped") > 200
        taken = [x["server"] for x in lab.controller_api.leases()]
        assert taken.count(greedy.name) <= 8
        assert fetch(lab, modest.name, kept)


def test_a_flood_of_one_server_leaves_the_way_up_to_the_others(lab_folder: Path) -> None:
    with Testbed(load("triangle"), folder=lab_folder) as lab:
        flooding, other = lab.plan.host("LHR-s1"), lab.plan.host("LHR-s2")
        raw = on_the_wire(flooding)
        before = packet_ins(lab)
        frame = frames.build(from_client(flooding, b"x" * 300))

        def heard() -> bool:
            release(lab, other)
            return other.name not in holders(lab)

        with raw:
            began = time.monotonic()
            for _ in range(30_000):
                raw.send(frame)
            lab.wait(heard, "the neighbour's message to be heard")
            took = time.monotonic() - began
        assert packet_ins(lab) - before <= 500 * (took + 2)


def release(lab: Testbed, server: HostPlan) -> None:
    """Give a server's lease back, with one message in its name."""
    lease = lab.leases()[server.name]
    ports = PortParameters(lease["psid_bits"], lease["psid"]).encode()
    options = ((int(Option.PORT_PARAMETERS), ports),)
    mac, address = bytes.fromhex(server.mac.replace(":", "")), IPv4Address(lease["address"])
    message = dhcp.build(Message(Kind.RELEASE, 1, mac, options, ciaddr=address))
    raw = on_the_wire(server)
    with raw:
        raw.send(frames.build(from_client(server, message)))


def holders(lab: Testbed) -> set[str]:
    """The servers that hold a lease, by the controller's book."""
    return {x["server"] for x in lab.controller_api.leases() if x["state"] == "lent"}


def test_a_second_switch_by_the_same_name_is_refused(lab_folder: Path) -> None:
    with Testbed(load("triangle"), folder=lab_folder) as lab:
        dpid = lab.plan.switch("eLHR").dpid
        with socket.create_connection(("127.0.0.1", 6653), timeout=5) as false:
            pretend(false, dpid)
            lab.wait(lambda: counted(lab, "refused_switches") == 1, "it to be refused")
            while false.recv(1 << 16):  # what was on its way; then the connection ends
                pass
        status = lab.controller_api.status()
        assert status["ready"]
        assert status["switches"]["eLHR"]["programmed"]
        server = "LHR-s1"
        assert fetch(lab, server, lab.leases()[server])


def pretend(connection: socket.socket, dpid: int) -> None:
    """Shake hands with the controller as a switch without ports (OpenFlow 1.3.5 section 6.3)."""
    hello, features, ports = 0, 6, 13
    connection.sendall(struct.pack("!BBHI", 4, hello, 8, 1))
    told = set()
    with connection.makefile("rb") as stream:
        while ports not in told:
            _, kind, length, xid = struct.unpack("!BBHI", stream.read(8))
            body = stream.read(length - 8)
            if kind == 5:  # OFPT_FEATURES_REQUEST
                answer = struct.pack("!BBHIQIBB2xII", 4, features, 32, xid, dpid, 0, 254, 0, 0, 0)
            elif kind == 18 and body[:2] == ports.to_bytes(2, "big"):  # OFPMP_PORT_DESC
                answer = struct.pack("!BBHIHH4x", 4, 19, 16, xid, ports, 0)
                told.add(ports)
            else:
                continue
            connection.sendall(answer)


def on_the_wire(host: HostPlan) -> socket.socket:
    """A socket that sends whole frames from a host."""
    with netns.inside(host.name):
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        raw.bind(("eth0", 0))
    return raw


def from_client(host: HostPlan, payload: bytes) -> frames.Datagram:
    """A message from a host's DHCP client to everybody."""
    return frames.Datagram(
        bytes.fromhex(host.mac.replace(":", "")),
        b"\xff" * 6,
        host.address,
        IPv4Address("255.255.255.255"),
        dhcp.CLIENT_PORT,
        dhcp.SERVER_PORT,
        payload,
    )


def packet_ins(lab: Testbed) -> int:
    return int(lab.controller_api.status()["packet_ins"])


def counted(lab: Testbed, name: str) -> int:
    return int(lab.controller_api.status()["counts"].get(name, 0))
