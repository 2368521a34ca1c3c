"""DHCP that switches hand up: servers borrow by it, keep, and give back.

What a server asks for with REQUEST or returns is looked at as it comes; only so many offers are in
work at once, and a DISCOVER that would wait too long is dropped, as its client asks again. So a
crowd that asks for more than the controller and the switches can do gets as much as they can, and
those who have an offer are not kept waiting by those who have none.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter, defaultdict
from ipaddress import IPv4Address

import eventlet
from eventlet.semaphore import Semaphore

from controller import dhcp, frames
from controller.core.lease import Lease, LendingError
from controller.core.tokens import TokenBucket
from controller.exchange import (
    MESSAGES_AT_ONCE,
    MESSAGES_PER_S,
    GiveBack,
    Ignore,
    Keep,
    Lend,
    Wish,
    ack,
    destination,
    force_renew,
    nak,
    offer,
    understand,
)
from controller.identity import Identity, by_port
from controller.lender import Lender
from controller.loop import ControlLoop
from controller.session import SwitchError
from controller.store import StoreError
from topologies.plan import GATEWAY_ADDRESS, HostPlan, HostRole

__all__ = ["DhcpDesk", "tell"]

LOG = logging.getLogger("controller.dhcp")
PER_PORT = 20
"""DHCP messages of one port that may be in work at once; more are dropped. A server that ends
returns all that it has by one burst, and repeats nothing.
"""

OFFERS_AT_ONCE = 128
"""Offers in work, until their rules are in force: switches too can have more than they get done."""

PATIENCE_S = 1.0
"""How long a DISCOVER may wait to be in work. A client asks again after four seconds."""


class DhcpDesk:
    """Answers the servers; the port says which server speaks."""

    def __init__(self, loop: ControlLoop, lender: Lender, counts: Counter[str]) -> None:
        """``counts``: dhcp_malformed, dhcp_ignored; dhcp_dropped (above what a port may say, and
        DISCOVERs above what can be lent).
        """
        self._loop = loop
        self._lender = lender
        self._counts = counts
        plan = loop.world.plan
        self._by_port = by_port(plan, plan.hosts_of(HostRole.SERVER))
        self._in_work: defaultdict[Identity, set[bytes]] = defaultdict(set)
        self._allowed: defaultdict[Identity, TokenBucket] = defaultdict(
            lambda: TokenBucket(MESSAGES_PER_S, MESSAGES_AT_ONCE)
        )
        self._turns = Semaphore(OFFERS_AT_ONCE)

    def hear(self, identity: Identity, frame: bytes) -> None:
        """Answer a message, in a thread of its own."""
        server = self._by_port.get(identity)
        if server is None:
            self._counts["dhcp_ignored"] += 1
            return
        if not self._allowed[identity].take(time.monotonic()):
            self._counts["dhcp_dropped"] += 1
            return
        try:
            datagram = frames.parse(frame)
        except frames.FrameError as error:
            self._drop(server, error)
            return
        in_work = self._in_work[identity]
        # A repeat of what is being answered adds nothing.
        if datagram.payload in in_work or len(in_work) >= PER_PORT:
            self._counts["dhcp_dropped"] += 1
            return
        in_work.add(datagram.payload)
        eventlet.spawn(self._serve, server, datagram, in_work)

    def _serve(self, server: HostPlan, datagram: frames.Datagram, in_work: set[bytes]) -> None:
        try:
            request = dhcp.parse(datagram.payload)
            mac = frames.octets(server.mac)
            reply = self._answer(server, understand(request, mac), request)
            if reply is not None:
                target = destination(reply, datagram.source)
                _send(self._loop, server, datagram.eth_src, target, reply)
        except dhcp.DhcpError as error:
            self._drop(server, error)
        except (SwitchError, StoreError) as error:
            # No answer: the server asks again, and by then the switch or the disk may be well.
            LOG.warning("DHCP from %s not answered: %s", server.name, error)
        finally:
            in_work.discard(datagram.payload)

    def _drop(self, server: HostPlan, error: Exception) -> None:
        self._counts["dhcp_malformed"] += 1
        LOG.warning("DHCP from %s dropped: %s", server.name, error)

    def _answer(self, server: HostPlan, wish: Wish, request: dhcp.Message) -> dhcp.Message | None:
        match wish:
            case Lend():
                return self._offer(server, wish, request)
            case Keep():
                return self._keep(server, wish, request)
            case GiveBack():
                try:
                    self._lender.give_back(server, *self._lender.named(wish))
                except LendingError as error:
                    LOG.info("nothing to return: %s", error)
            case Ignore(cause):
                self._counts["dhcp_ignored"] += 1
                LOG.info("DHCP from %s ignored: %s", server.name, cause)
        return None

    def _offer(self, server: HostPlan, wish: Lend, request: dhcp.Message) -> dhcp.Message | None:
        if not self._turns.acquire(timeout=PATIENCE_S):
            self._counts["dhcp_dropped"] += 1
            return None
        following = None
        try:
            lease, following = self._lender.lend(server, wish.tag, wish.client_id, wish.psid_bits)
        except LendingError as error:
            LOG.warning("nothing to offer %s: %s", server.name, error)
            return None
        finally:
            if following is None:
                self._turns.release()
            else:
                following.link(lambda _ended: self._turns.release())
        return offer(request, lease, self._lender.book.terms.lifetime_ns)

    def _keep(self, server: HostPlan, wish: Keep, request: dhcp.Message) -> dhcp.Message:
        lender = self._lender
        try:
            lease = lender.keep(server, *lender.named(wish))
        except LendingError as error:
            return nak(request, str(error))
        if lender.seconds_left(lease) < 1:
            return nak(request, "it has drained")
        return ack(request, lease, self._loop.clock.now_ns())


def tell(loop: ControlLoop, server: str, lease: Lease) -> None:
    """Let a server know of a lease that came or went; if it cannot be told, it will see."""
    host = loop.world.plan.host(server)
    mac = frames.octets(host.mac)
    with contextlib.suppress(SwitchError):
        _send(loop, host, mac, host.address, force_renew(lease, mac))


def _send(
    loop: ControlLoop, server: HostPlan, mac: bytes, target: IPv4Address, reply: dhcp.Message
) -> None:
    datagram = frames.Datagram(
        eth_src=frames.GATEWAY,
        eth_dst=mac,
        source=GATEWAY_ADDRESS,
        target=target,
        source_port=dhcp.SERVER_PORT,
        target_port=dhcp.CLIENT_PORT,
        payload=dhcp.build(reply),
    )
    session = loop.switches[server.switch].session
    session.packet_out(server.port, frames.build(datagram))
