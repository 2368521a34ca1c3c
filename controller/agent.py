"""The lending agent: borrows an address for each server and keeps it. No Ryu in here.

``python -m controller.agent NETWORK.json --status FILE``: one process plays the DHCP client of
every server (RFC 2131 with option 159 of RFC 7618), each with a socket made in the server's own
namespace. A lease is configured when it is acknowledged, renewed at T1, rebound at T2, returned
on SIGTERM; when it is lost its configuration goes. ``--only SERVER`` runs it for one server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path

from controller import borrower
from controller.dhcp import (
    CLIENT_PORT,
    SERVER_PORT,
    DhcpError,
    Kind,
    Message,
    Option,
    PortParameters,
    build,
    parse,
)
from controller.frames import octets
from topologies.emulation import netns
from topologies.explicit import read_json
from topologies.plan import GATEWAY_ADDRESS, HostPlan, HostRole, plan

LOG = logging.getLogger("agent")

EVERYONE = ("255.255.255.255", SERVER_PORT)
LENDER = (str(GATEWAY_ADDRESS), SERVER_PORT)
WANTED = bytes((Option.LEASE_TIME, Option.SERVER_ID, Option.PORT_PARAMETERS))
NOWHERE = IPv4Address(0)
FIRST_TRY_S = 0.05
MESSAGES = 16
"""How many answers may wait for their client to read them."""
AGAIN_S = 1.0
"""How long a client waits after a failure before it starts anew."""
QUICK_TRIES = 50
"""A lab starts everything at once: ask quickly for some twenty seconds, then rarely."""


class LostError(Exception):
    """The lease is refused or over; start anew."""


@dataclass(frozen=True, slots=True)
class Held:
    """A lease in use; times are seconds of the monotonic clock."""

    address: IPv4Address
    ports: PortParameters
    acquired_ns: int
    acquire_ms: float
    waited_ms: float
    renew_at: float
    rebind_at: float
    ends_at: float

    @property
    def range(self) -> tuple[int, int]:
        """Lowest and highest port."""
        return self.ports.first_port, self.ports.last_port

    def describe(self) -> dict[str, object]:
        """The lease's entry in the status file."""
        first, last = self.range
        return {
            "address": str(self.address),
            "first_port": first,
            "last_port": last,
            "psid": self.ports.psid,
            "psid_bits": self.ports.psid_bits,
            "acquired_at_monotonic_ns": self.acquired_ns,
            "acquire_ms": round(self.acquire_ms, 3),
            "waited_ms": round(self.waited_ms, 3),
        }


def patience() -> Iterator[float]:
    """How long to wait for each answer, in seconds: 50 ms doubling to 0.4, later to 8."""
    wait = FIRST_TRY_S
    for turn in range(1 << 62):
        yield wait * random.uniform(0.9, 1.1)
        wait = min(wait * 2, 0.4 if turn < QUICK_TRIES else 8.0)


class Inbox(asyncio.DatagramProtocol):
    """The lender's messages that reach one server's socket; of more than a few, the first ones."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[Message] = asyncio.Queue(MESSAGES)
        self.dropped = 0

    def datagram_received(self, data: bytes, source: object) -> None:
        """Keep it if it is from the lender, a message, and there is room."""
        try:
            if source != LENDER:
                raise DhcpError(f"not from the lender but from {source}")
            self.messages.put_nowait(parse(data))
        except (DhcpError, asyncio.QueueFull) as error:
            self.dropped += 1
            if self.dropped.bit_count() == 1:  # the 1st, 2nd, 4th, 8th ...
                LOG.warning("%d messages dropped, the last: %s", self.dropped, error or "too many")


class Client:
    """The DHCP client of one server."""

    def __init__(self, server: HostPlan, status: Status) -> None:
        self.server = server
        self._status = status
        self._mac = octets(server.mac)
        self._inbox = Inbox()
        self._socket: socket.socket | None = None
        self._usual = (0, 0)
        self._held: Held | None = None
        self._left = status.left(server.name)

    def _open(self) -> socket.socket:
        with netns.inside(self.server.name):
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
            made.bind(("0.0.0.0", CLIENT_PORT))
        return made

    async def run(self) -> None:
        """Borrow and keep on borrowing until cancelled; then give back."""
        self._socket = self._open()
        self._usual = borrower.usual_ports()
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self._inbox, sock=self._socket)
        try:
            while True:
                try:
                    self._use(await self._acquire())
                    while True:
                        await self._hold()
                except LostError as error:
                    LOG.warning("%s: %s", self.server.name, error)
                    self._drop()
                except (OSError, ValueError) as error:  # DhcpError among them
                    LOG.error("%s: %s; once more in a moment", self.server.name, error)
                    self._drop()
                    await asyncio.sleep(AGAIN_S)
        finally:
            self._give_back()

    # -- using a lease

    def _use(self, held: Held) -> None:
        if self._left not in (None, held.address):
            borrower.unclaim(self.server.name, self._left, self._usual)
        self._left = None
        borrower.claim(self.server.name, held.address, held.range)
        waited = time.monotonic_ns() - held.acquired_ns
        held = replace(
            held,
            acquired_ns=held.acquired_ns + waited,
            acquire_ms=held.acquire_ms + waited / 1e6,
            waited_ms=held.waited_ms + waited / 1e6,
        )
        self._held = held
        self._status.put(self.server.name, held.describe())
        name, ports = self.server.name, held.range
        LOG.info("%s: %s ports %d-%d, %.1f ms", name, held.address, *ports, held.acquire_ms)

    def _drop(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            borrower.unclaim(self.server.name, held.address, self._usual)
            self._status.put(self.server.name, None)

    def _give_back(self) -> None:
        held = self._held
        self._drop()  # stop using it first
        if held is not None:
            release = self._message(Kind.RELEASE, held.ports, ciaddr=held.address)
            self._send(release, LENDER)

    # -- the exchanges

    async def _acquire(self) -> Held:
        """DISCOVER, REQUEST; as long as it takes."""
        begin = time.monotonic_ns()
        while True:
            discover = replace(self._message(Kind.DISCOVER, None), xid=random.getrandbits(32))
            offered, asked = await self._ask(discover, EVERYONE, {Kind.OFFER})
            assert offered is not None
            ports = offered.port_parameters
            named = offered.option(Option.SERVER_ID)
            if ports is None or named is None:
                LOG.warning("%s: an offer without ports or server ignored", self.server.name)
                continue
            request = self._message(
                Kind.REQUEST,
                ports,
                (Option.REQUESTED_ADDRESS, offered.yiaddr.packed),
                (Option.SERVER_ID, named),
            )
            request = replace(request, xid=discover.xid)
            answer, sent = await self._ask(request, EVERYONE, {Kind.ACK, Kind.NAK}, tries=5)
            if answer is not None and answer.kind is Kind.ACK:
                now = time.monotonic_ns()
                held = _held(answer, sent)
                return replace(
                    held,
                    acquired_ns=now,
                    acquire_ms=(now - asked) / 1e6,
                    waited_ms=(now - begin) / 1e6,
                )

    async def _hold(self) -> None:
        """Sleep until T1, then renew; broadcast from T2 on. Raises LostError."""
        held = self._held
        assert held is not None
        await asyncio.sleep(max(0.0, held.renew_at - time.monotonic()))
        request = self._message(Kind.REQUEST, held.ports, ciaddr=held.address)
        for target, until in ((LENDER, held.rebind_at), (EVERYONE, held.ends_at)):
            answer, sent = await self._ask(request, target, {Kind.ACK, Kind.NAK}, until=until)
            if answer is None:
                continue
            if answer.kind is Kind.NAK:
                cause = (answer.option(Option.MESSAGE) or b"no cause given").decode()
                raise LostError(f"lost {held.address} PSID {held.ports.psid}: {cause}")
            new = _held(answer, sent)
            self._held = replace(
                held, renew_at=new.renew_at, rebind_at=new.rebind_at, ends_at=new.ends_at
            )
            return
        raise LostError(f"lost {held.address} PSID {held.ports.psid}: nobody renewed it in time")

    async def _ask(
        self,
        message: Message,
        target: tuple[str, int],
        wanted: set[Kind],
        tries: int | None = None,
        until: float | None = None,
    ) -> tuple[Message | None, int]:
        """Send, and again, until an answer of a wanted kind comes; and when it was asked for.

        None after ``tries``, or when the monotonic clock reaches ``until``.
        """
        sent = time.monotonic_ns()
        for turn, wait in enumerate(patience()):
            if (tries is not None and turn >= tries) or (
                until is not None and time.monotonic() >= until
            ):
                break
            sent = time.monotonic_ns()
            self._send(message, target)
            if until is not None:
                wait = max(0.0, min(wait, until - time.monotonic()))
            answer = await self._answer(message.xid, wanted, wait)
            if answer is not None:
                return answer, sent
        return None, sent

    async def _answer(self, xid: int, wanted: set[Kind], seconds: float) -> Message | None:
        try:
            async with asyncio.timeout(seconds):
                while True:
                    message = await self._inbox.messages.get()
                    if message.xid == xid and message.mac == self._mac and message.kind in wanted:
                        return message
        except TimeoutError:
            return None

    def _message(
        self,
        kind: Kind,
        ports: PortParameters | None,
        *options: tuple[int, bytes],
        ciaddr: IPv4Address = NOWHERE,
    ) -> Message:
        """A message of ours with a fresh transaction id."""
        given = [(int(code), value) for code, value in options]
        if kind is not Kind.RELEASE:
            given.append((int(Option.PARAMETERS), WANTED))
        else:
            given.append((int(Option.SERVER_ID), GATEWAY_ADDRESS.packed))
        if ports is not None:
            given.append((int(Option.PORT_PARAMETERS), ports.encode()))
        xid = random.getrandbits(32)
        return Message(kind, xid, self._mac, tuple(given), ciaddr=ciaddr)

    def _send(self, message: Message, target: tuple[str, int]) -> None:
        assert self._socket is not None
        try:
            self._socket.sendto(build(message), target)
        except OSError as error:  # the interface may be down for a moment: asked again anyway
            LOG.warning("%s: cannot send: %s", self.server.name, error)


def _held(answer: Message, sent_ns: int) -> Held:
    """What an ACK grants, counted from when it was asked for (RFC 2131 section 4.4.1)."""
    ports = answer.port_parameters
    seconds = answer.seconds(Option.LEASE_TIME)
    if ports is None or seconds is None:
        raise LostError("an ACK without port parameters or lease time")
    begin = sent_ns / 1e9
    renew = answer.seconds(Option.RENEWAL_TIME)
    rebind = answer.seconds(Option.REBINDING_TIME)
    return Held(
        address=answer.yiaddr,
        ports=ports,
        acquired_ns=0,
        acquire_ms=0.0,
        waited_ms=0.0,
        renew_at=begin + (seconds / 2 if renew is None else renew),
        rebind_at=begin + (seconds * 7 / 8 if rebind is None else rebind),
        ends_at=begin + seconds,
    )


class Status:
    """The JSON file that tells others which server holds what; replaced whole at every change."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._leases: dict[str, dict[str, object]] = {}
        self._left: dict[str, dict[str, str]] = {}
        if path is not None and path.exists():
            self._left = json.loads(path.read_text())

    def left(self, server: str) -> IPv4Address | None:
        """The address that an agent before this one left configured, if it was killed."""
        entry = self._left.get(server)
        return None if entry is None else IPv4Address(entry["address"])

    def put(self, server: str, lease: dict[str, object] | None) -> None:
        """Say what a server holds now, or that it holds nothing."""
        if lease is None:
            self._leases.pop(server, None)
        else:
            self._leases[server] = lease
        self.write()

    def write(self) -> None:
        """Put the file there."""
        if self._path is None:
            return
        draft = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        draft.write_text(json.dumps(self._leases, indent=1, sort_keys=True) + "\n")
        draft.replace(self._path)


async def serve(servers: list[HostPlan], status: Status) -> None:
    """Run the clients of all servers until SIGTERM or SIGINT, then return what they hold."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    status.write()
    tasks = [asyncio.create_task(Client(server, status).run()) for server in servers]
    ended = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait([ended, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in (ended, *tasks):
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        if task is not ended:
            task.result()  # a client never ends by itself but by an error


def main() -> int:
    """Run until a signal; 0 then, 1 on an error, 2 for a server that does not exist."""
    parser = argparse.ArgumentParser(prog="python -m controller.agent", description=__doc__)
    parser.add_argument("network", type=Path, help="the resolved network, JSON")
    parser.add_argument("--status", type=Path, help="where to write who holds what, JSON")
    parser.add_argument("--only", metavar="SERVER", help="run for this server alone")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-7s %(message)s")
    servers = plan(read_json(arguments.network)).hosts_of(HostRole.SERVER)
    chosen = [server for server in servers if arguments.only in (None, server.name)]
    if not chosen:
        names = ", ".join(server.name for server in servers)
        parser.error(f"no server is called {arguments.only}; choose one of: {names}")
    try:
        asyncio.run(serve(chosen, Status(arguments.status)))
    except OSError as error:
        LOG.error("%s; run it inside the lab", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
