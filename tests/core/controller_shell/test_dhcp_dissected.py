"""Our DHCP messages as tshark reads them, whose dissector knows nothing of our code."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from controller import dhcp, exchange, frames
from controller.agent.client import WANTED, Want
from controller.core.lease import SECOND
from controller.dhcp import CLIENT_PORT, REPLIES, SERVER_PORT, Kind, Message, Option, PortParameters
from tests.core.controller_shell.test_dhcp import LEASE, MAC
from topologies.plan import GATEWAY_ADDRESS

pytestmark = pytest.mark.skipif(
    shutil.which("tshark") is None, reason="no tshark here: `setup/packages.sh tshark`"
)

LENT = LEASE._replace(tag="gb", client_id="web")
SET = PortParameters(LENT.psid_bits, LENT.psid)
WANT = Want("gb", "web")
OURS = (int(Option.SERVER_ID), GATEWAY_ADDRESS.packed)
ASKED = (int(Option.REQUESTED_ADDRESS), LENT.address.packed)

SEEN = {
    "kind": "dhcp.option.dhcp",
    "xid": "dhcp.id",
    "mac": "dhcp.hw.mac_addr",
    "ciaddr": "dhcp.ip.client",
    "yiaddr": "dhcp.ip.your",
    "requested": "dhcp.option.requested_ip_address",
    "server": "dhcp.option.dhcp_server_id",
    "lease": "dhcp.option.ip_address_lease_time",
    "renewal": "dhcp.option.renewal_time_value",
    "rebinding": "dhcp.option.rebinding_time_value",
    "name is of type": "dhcp.client_id.type",
    "name": "dhcp.client_id.undef",
    "tag": "dhcp.option.user_class.data",
    "wanted": "dhcp.option.request_list_item",
    "cause": "dhcp.option.message",
    "offset": "dhcp.option.portparams.offset",
    "psid_bits": "dhcp.option.portparams.psid_length",
    "psid": "dhcp.option.portparams.psid",
    "IPv4 checksum": "ip.checksum.status",
    "UDP checksum": "udp.checksum.status",
    "malformed": "_ws.malformed",
    "remarks": "_ws.expert.message",
}
"""What a test here calls a field, and what tshark does."""

GOOD = "1"
"""A checksum, in tshark's word."""


def from_client(kind: Kind, *given: tuple[int, bytes], ports: PortParameters = SET) -> Message:
    """As a server's agent says it: what it wants comes with every message."""
    named = (int(Option.PORT_PARAMETERS), ports.encode())
    return Message(kind, 9, MAC, (*given, named, *WANT.options()))


def framed(message: Message) -> bytes:
    """A message on the wire."""
    reply = message.kind in REPLIES
    datagram = frames.Datagram(
        eth_src=MAC,
        eth_dst=b"\xff" * 6,
        source=GATEWAY_ADDRESS if reply else IPv4Address(0),
        target=IPv4Address("255.255.255.255"),
        source_port=SERVER_PORT if reply else CLIENT_PORT,
        target_port=CLIENT_PORT if reply else SERVER_PORT,
        payload=dhcp.build(message),
    )
    return frames.build(datagram)


def dissect(folder: Path, wire: Iterable[bytes]) -> list[dict[str, str]]:
    """What tshark sees in each frame, by our names of the fields; "" for what is not there."""
    utils = pytest.importorskip("scapy.utils")
    capture = folder / "dhcp.pcap"
    with utils.PcapWriter(str(capture), linktype=1) as writer:
        for frame in wire:
            writer.write(frame)
    command = ["tshark", "-n", "-r", str(capture), "-T", "fields", "-E", "separator=/t"]
    for protocol in ("ip", "udp"):
        command += ["-o", f"{protocol}.check_checksum:TRUE"]
    for field in SEEN.values():
        command += ["-e", field]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    return [dict(zip(SEEN, line.split("\t"), strict=True)) for line in lines]


def address(found: IPv4Address | None) -> str:
    return "" if found is None else str(found)


def number(found: int | None) -> str:
    return "" if found is None else str(found)


def told(message: Message) -> dict[str, str]:
    """What tshark should see in it, by our own reading; not said of ports where there are none."""
    ports = message.port_parameters
    aligned = None if ports is None else ports.encode()[2:].hex()
    return {
        "kind": str(int(message.kind)),
        "xid": f"0x{message.xid:08x}",
        "mac": message.mac.hex(":"),
        "ciaddr": str(message.ciaddr),
        "yiaddr": str(message.yiaddr),
        "requested": address(message.address(Option.REQUESTED_ADDRESS)),
        "server": address(message.address(Option.SERVER_ID)),
        "lease": number(message.seconds(Option.LEASE_TIME)),
        "renewal": number(message.seconds(Option.RENEWAL_TIME)),
        "rebinding": number(message.seconds(Option.REBINDING_TIME)),
        "name is of type": "0" if message.client_id else "",
        "name": message.client_id,
        "tag": (message.user_class or "").encode().hex(),
        "wanted": ",".join(map(str, message.option(Option.PARAMETERS) or b"")),
        "cause": (message.option(Option.MESSAGE) or b"").decode(),
        "offset": "" if ports is None else str(ports.offset),
        "psid_bits": "" if ports is None else str(ports.psid_bits),
        "psid": aligned or "",
        "IPv4 checksum": GOOD,
        "UDP checksum": GOOD,
        "malformed": "",
        "remarks": "",
    }


def test_tshark_reads_in_every_message_what_we_wrote(tmp_path: Path) -> None:
    request = from_client(Kind.REQUEST, ASKED, OURS)
    messages = [
        from_client(Kind.DISCOVER, (int(Option.PARAMETERS), WANTED)),
        exchange.offer(request, LENT, 120 * SECOND),
        request,
        exchange.ack(request, LENT, now_ns=SECOND),
        exchange.nak(request, "203.0.113.7:10240 is not held by LHR-s1"),
        from_client(Kind.DECLINE, ASKED, OURS),
        from_client(Kind.RELEASE, OURS),
    ]
    seen = dissect(tmp_path, map(framed, messages))
    assert seen == [told(message) for message in messages]
    # What our own reading has no part in: the figures themselves.
    assert [line["kind"] for line in seen] == ["1", "2", "3", "5", "6", "4", "7"]
    times = {"lease": "119", "renewal": "59", "rebinding": "104"}
    names = {"name": "web", "tag": "", "cause": "", "server": "169.254.1.1"}
    ports = {"offset": "0", "psid_bits": "5", "psid": "2800", "yiaddr": "203.0.113.7"}
    assert seen[3].items() >= (times | names | ports).items()
    assert (seen[2]["tag"], seen[2]["requested"]) == ("6762", "203.0.113.7")


def test_tshark_reads_the_first_and_last_set_of_every_size(tmp_path: Path) -> None:
    sets = [
        PortParameters(bits, psid)
        for bits in range(17)
        for psid in sorted({0, (1 << bits) // 2, (1 << bits) - 1})
    ]
    wire = [framed(from_client(Kind.REQUEST, ASKED, ports=ports)) for ports in sets]
    seen = [
        (int(line["psid_bits"]), int(line["psid"], 16) >> 16 - int(line["psid_bits"]))
        for line in dissect(tmp_path, wire)
    ]
    assert seen == [(ports.psid_bits, ports.psid) for ports in sets]


def test_tshark_would_tell_of_a_malformed_message(tmp_path: Path) -> None:
    right = framed(from_client(Kind.REQUEST, ASKED))
    at = right.index(SET.encode())
    wrong = right[: at - 1] + b"\3" + right[at:]  # an option one byte short
    (seen,) = dissect(tmp_path, [wrong])
    assert seen["malformed"] or seen["remarks"]
    assert seen["UDP checksum"] != GOOD
