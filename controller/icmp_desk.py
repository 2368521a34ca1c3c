"""ICMP that switches hand up: about borrowed addresses, and for packets whose hops have run out."""

from __future__ import annotations

import contextlib
import time
from collections import Counter, defaultdict

from controller import frames, icmp
from controller.core import labels
from controller.core.lease import Lease
from controller.core.tokens import TokenBucket
from controller.exceeded import exceeded
from controller.frames import GATEWAY, FrameError
from controller.identity import Identity, by_port
from controller.lender import Lender
from controller.loop import ControlLoop
from controller.session import SwitchError
from topologies.family import twin
from topologies.plan import SwitchPlan

__all__ = ["IcmpDesk"]

MESSAGES_PER_S, MESSAGES_AT_ONCE = 100.0, 100.0
"""Messages of one port that are looked at: in the long run, and after a pause."""


class IcmpDesk:
    """Sends on what is about a borrowed address, and answers for switches."""

    def __init__(self, loop: ControlLoop, lender: Lender, counts: Counter[str]) -> None:
        """``counts``: icmp_delivered, icmp_malformed, icmp_unlent (about a port that is not the
        borrower's), icmp_dropped; icmp_exceeded (packets whose hops had run out, answered).
        """
        self._loop = loop
        self._book = lender.book
        self._counts = counts
        plan = loop.world.plan
        self._switches = {switch.dpid: switch for switch in plan.switches}
        self._hosts = by_port(plan, plan.hosts)
        self._allowed: defaultdict[Identity, TokenBucket] = defaultdict(
            lambda: TokenBucket(MESSAGES_PER_S, MESSAGES_AT_ONCE)
        )

    # -- about a borrowed address

    def forward(self, identity: Identity, frame: bytes) -> None:
        """Send a message on: out, to its borrower, or towards the borrower's PoP."""
        if not self._allows(identity):
            return
        try:
            about = icmp.about(frame)
        except FrameError:
            self._counts["icmp_malformed"] += 1
            return
        lease = self._book.holder(about.address, about.port)
        sender = self._hosts.get(identity)
        if lease is None or (about.outbound and (sender is None or sender.name != lease.server)):
            self._counts["icmp_unlent"] += 1
            return
        here = self._switches[identity[0]]
        if about.outbound:
            self._send(here, None, frame)
            return
        port, onward = self._onward(here, lease, frame)
        if port is None:  # no way from here to the holder's PoP
            self._counts["icmp_dropped"] += 1
        elif self._send(here, port, onward):
            last = self._loop.world.plan.host(lease.server).switch == here.name
            self._counts["icmp_delivered"] += last

    def _onward(self, here: SwitchPlan, lease: Lease, frame: bytes) -> tuple[int | None, bytes]:
        """The port by which a message to a borrower leaves a switch, and the frame that does."""
        plan = self._loop.world.plan
        holder = plan.host(lease.server)
        if holder.switch == here.name:
            return holder.port, icmp.redirected(frame, GATEWAY, frames.octets(holder.mac))
        label = labels.encode(plan.edge(lease.pop).number, here.number)
        port = self._loop.routes.labels[lease.pop].ports.get(here.name)
        return port, icmp.redirected(frame, GATEWAY, label.to_bytes(6, "big"))

    # -- for a switch

    def exceed(self, identity: Identity, frame: bytes) -> None:
        """Tell who sent a packet that it has been dropped here for want of hops.

        A host at the port is told straight, whatever address it has sent from. Anybody else is
        found by the switch's own tables, a borrower as for any other message.
        """
        if not self._allows(identity):
            return
        here, host = self._switches[identity[0]], self._hosts.get(identity)
        try:
            answer = exceeded(frame, here.address, twin(here.address))
        except FrameError:
            self._counts["icmp_malformed"] += 1
            return
        port, target = (None, GATEWAY) if host is None else (host.port, frames.octets(host.mac))
        told = self._send(here, port, icmp.redirected(answer, GATEWAY, target))
        self._counts["icmp_exceeded"] += told

    # -- both

    def _allows(self, identity: Identity) -> bool:
        """Whether a port may say more; counts what is dropped."""
        allowed = self._allowed[identity].take(time.monotonic())
        self._counts["icmp_dropped"] += not allowed
        return allowed

    def _send(self, here: SwitchPlan, port: int | None, frame: bytes) -> bool:
        """Out of a port, or through the tables; whether the switch was there."""
        with contextlib.suppress(SwitchError):
            self._loop.switches[here.name].session.packet_out(port, frame)
            return True
        return False
