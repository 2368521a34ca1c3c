"""The DHCP client of one lease (RFC 2131 with option 159 of RFC 7618).

The lease is used when it is acknowledged, renewed at T1, rebound at T2, returned when the client is
cancelled; when it is lost it is no longer used, and the client starts anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from typing import Any

from controller.agent.inbox import LENDER, Inbox
from controller.dhcp import (
    NOWHERE,
    SERVER_PORT,
    Kind,
    Message,
    Option,
    PortParameters,
    names,
)
from topologies.model import COMMON_TAG
from topologies.plan import GATEWAY_ADDRESS

__all__ = ["Client", "Held", "Want"]

LOG = logging.getLogger("agent")

EVERYONE = ("255.255.255.255", SERVER_PORT)
WANTED = bytes((Option.LEASE_TIME, Option.SERVER_ID, Option.PORT_PARAMETERS))
FIRST_TRY_S = 0.05
OFTEN_S = 0.5
"""At least so long after one renewal comes the next; a lease that drains has short times."""
AGAIN_S = 1.0
"""How long a client waits after a failure before it starts anew."""
RARELY_S = 8.0
"""So often asks who has had no answer for long."""
TRIES = 6
"""How often an offer, or what was handed to us, is asked for: some three seconds."""


class LostError(Exception):
    """The lease is refused or over; start anew."""


@dataclass(frozen=True, slots=True)
class Want:
    """One lease that a server wants: of which tag, by which name of its own, how large.

    ``psid_bits`` None is the usual size; a wish is the same whatever its size.
    """

    tag: str = COMMON_TAG
    client_id: str = ""
    psid_bits: int | None = field(default=None, compare=False)

    def options(self) -> list[tuple[int, bytes]]:
        """What says so in every message of this lease."""
        return names(self.tag, self.client_id)


Handed = tuple[IPv4Address, PortParameters]
"""A lease that became ours without our asking."""


@dataclass(frozen=True, slots=True)
class Held:
    """A lease in use; times are seconds of the monotonic clock."""

    address: IPv4Address
    ports: PortParameters
    renew_at: float
    rebind_at: float
    ends_at: float
    acquired_ns: int = 0
    acquire_ms: float = 0.0
    waited_ms: float = 0.0

    @property
    def range(self) -> tuple[int, int]:
        """Lowest and highest port."""
        return self.ports.first_port, self.ports.last_port

    @property
    def size(self) -> int:
        """How many ports."""
        first, last = self.range
        return last - first + 1

    def describe(self, want: Want) -> dict[str, Any]:
        """The lease's entry in the status file."""
        first, last = self.range
        return {
            "tag": want.tag,
            "client_id": want.client_id,
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
    """How long to wait for each answer, in seconds: twice as long each time.

    A crowd that asked at an even pace would be the slower answered the more often it had asked
    (RFC 2131 section 4.1 doubles from 4 s to 64).
    """
    wait = FIRST_TRY_S
    while True:
        yield wait * random.uniform(0.9, 1.1)
        wait = min(wait * 2, RARELY_S)


class Client:
    """Borrows and keeps what ``want`` says, for the server with this MAC address.

    ``send`` puts a message on the wire. ``use`` is told what is held from now on, None for nothing,
    and configures the server by it.
    """

    def __init__(
        self,
        want: Want,
        mac: bytes,
        inbox: Inbox,
        send: Callable[[Message, tuple[str, int]], None],
        use: Callable[[Held | None], None],
        handed: Handed | None = None,
    ) -> None:
        self.want = want
        self._mac = mac
        self._inbox = inbox
        self._send = send
        self._use = use
        self._handed = handed
        self._held: Held | None = None
        self._news = asyncio.Event()

    def renew_now(self) -> None:
        """Renew what is held without waiting for T1: it may be ours no longer."""
        self._news.set()

    async def run(self) -> None:
        """Borrow and keep on borrowing until cancelled; then give back.

        A lease that was handed to this client is kept for as long as it lasts; this returns then.
        """
        try:
            while True:
                try:
                    self._begin(await (self._take_over() if self._handed else self._acquire()))
                    while True:
                        await self._hold()
                except LostError as error:
                    LOG.warning("%s", error)
                    self._end()
                    if self._handed:
                        return
                except (OSError, ValueError) as error:  # DhcpError among them
                    LOG.error("%s; once more in a moment", error)
                    self._end()
                    await asyncio.sleep(AGAIN_S)
        finally:
            self._give_back()

    # -- using the lease

    def _begin(self, held: Held) -> None:
        """Use it, and note how long that took, too."""
        self._held = held
        self._use(held)
        waited = time.monotonic_ns() - held.acquired_ns
        self._held = replace(
            held,
            acquired_ns=held.acquired_ns + waited,
            acquire_ms=held.acquire_ms + waited / 1e6,
            waited_ms=held.waited_ms + waited / 1e6,
        )
        self._use(self._held)
        LOG.info("%s ports %d-%d, %.1f ms", held.address, *held.range, self._held.acquire_ms)

    def _end(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            try:
                self._use(None)
            except (OSError, ValueError) as error:  # the next change tells it all again
                LOG.error("%s", error)

    def _give_back(self) -> None:
        held = self._held
        self._end()  # stop using it first
        if held is not None:
            self._send(self._message(Kind.RELEASE, held.ports, ciaddr=held.address), LENDER)

    # -- the exchanges

    async def _acquire(self) -> Held:
        """DISCOVER, REQUEST; as long as it takes."""
        begin = time.monotonic_ns()
        bits = self.want.psid_bits
        hint = None if bits is None else PortParameters(bits, 0)
        while True:
            discover = self._message(Kind.DISCOVER, hint)
            offered, asked = await self._ask(discover, EVERYONE, {Kind.OFFER})
            assert offered is not None
            ports = offered.port_parameters
            named = offered.option(Option.SERVER_ID)
            if ports is None or named is None:
                LOG.warning("an offer without ports or server ignored")
                continue
            request = self._message(
                Kind.REQUEST,
                ports,
                (Option.REQUESTED_ADDRESS, offered.yiaddr.packed),
                (Option.SERVER_ID, named),
            )
            request = replace(request, xid=discover.xid)
            answer, sent = await self._ask(request, EVERYONE, {Kind.ACK, Kind.NAK}, tries=TRIES)
            if answer is not None and answer.kind is Kind.ACK:
                now = time.monotonic_ns()
                return replace(
                    _held(answer, sent),
                    acquired_ns=now,
                    acquire_ms=(now - asked) / 1e6,
                    waited_ms=(now - begin) / 1e6,
                )

    async def _take_over(self) -> Held:
        """Ask for the lease that was handed to us, as after a reboot. Raises LostError."""
        assert self._handed is not None
        address, ports = self._handed
        begin = time.monotonic_ns()
        request = self._message(Kind.REQUEST, ports, (Option.REQUESTED_ADDRESS, address.packed))
        answer, sent = await self._ask(request, EVERYONE, {Kind.ACK, Kind.NAK}, tries=TRIES)
        if answer is None or answer.kind is Kind.NAK:
            raise LostError(f"{address} PSID {ports.psid} is not for us")
        now = time.monotonic_ns()
        took_ms = (now - begin) / 1e6
        held = _held(answer, sent)
        return replace(held, acquired_ns=now, acquire_ms=took_ms, waited_ms=took_ms)

    async def _hold(self) -> None:
        """Wait for T1, or news, then renew; broadcast from T2 on. Raises LostError."""
        held = self._held
        assert held is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(OFTEN_S, held.renew_at - time.monotonic())):
                await self._news.wait()
        self._news.clear()
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
        with self._inbox.expecting(message.xid) as answers:
            for turn, wait in enumerate(patience()):
                if (tries is not None and turn >= tries) or (
                    until is not None and time.monotonic() >= until
                ):
                    break
                sent = time.monotonic_ns()
                self._send(message, target)
                if until is not None:
                    wait = max(0.0, min(wait, until - time.monotonic()))
                answer = await self._answer(answers, wanted, wait)
                if answer is not None:
                    return answer, sent
        return None, sent

    async def _answer(
        self, answers: asyncio.Queue[Message], wanted: set[Kind], seconds: float
    ) -> Message | None:
        try:
            async with asyncio.timeout(seconds):
                while True:
                    message = await answers.get()
                    if message.mac == self._mac and message.kind in wanted:
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
        given = [(int(code), value) for code, value in options] + self.want.options()
        if kind is not Kind.RELEASE:
            given.append((int(Option.PARAMETERS), WANTED))
        else:
            given.append((int(Option.SERVER_ID), GATEWAY_ADDRESS.packed))
        if ports is not None:
            given.append((int(Option.PORT_PARAMETERS), ports.encode()))
        xid = random.getrandbits(32)
        return Message(kind, xid, self._mac, tuple(given), ciaddr=ciaddr)


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
        renew_at=begin + (seconds / 2 if renew is None else renew),
        rebind_at=begin + (seconds * 7 / 8 if rebind is None else rebind),
        ends_at=begin + seconds,
    )
