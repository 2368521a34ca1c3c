"""Lending, carried out: the book decides, the control loop makes it true, then it is said.

Each verb decides and carries out without giving way to other work, so two of them never see the
same book. What a borrower is told is durable, and in force.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from ipaddress import IPv4Address

import eventlet
from eventlet.greenthread import GreenThread

from controller.core.events import LeaseChanged
from controller.core.lease import SECOND, Lease, LeaseState, NotHeldError, Transition
from controller.core.lending import Book
from controller.exchange import OFFER_NS, GiveBack, Keep
from controller.loop import ControlLoop
from topologies.model import COMMON_TAG
from topologies.plan import HostPlan, edge_name

__all__ = ["Lender"]

LOG = logging.getLogger("controller.lender")
SWEEP_S = 0.25
"""How often the book is asked what is due; a lease ends at most this much late."""


Changed = tuple[Lease, GreenThread | None]
"""A lease as it is by now, and the thread that ends when the switches have confirmed it."""


class Lender:
    """The lease book in force."""

    def __init__(self, book: Book, loop: ControlLoop) -> None:
        self.book = book
        self._loop = loop
        self._clock = loop.clock

    # -- verbs of a borrower

    def lend(
        self,
        server: HostPlan,
        tag: str = COMMON_TAG,
        client_id: str = "",
        psid_bits: int | None = None,
    ) -> Lease:
        """Borrow for as long as an offer holds; the rules are on their way when this returns.

        Who asks again is told the same, and nothing is written while half of that time is left.
        Raises LendingError, StoreError.
        """
        now = self._clock.now_ns()
        lifetime = min(OFFER_NS, self.book.terms.lifetime_ns)
        held = self.book.held(server.name, tag, client_id)
        if held is not None and held.until_ns - now >= lifetime // 2:
            return held
        transition = self.book.acquire(
            server.name,
            server.city,
            now,
            tag,
            lifetime,
            psid_bits=psid_bits,
            client_id=client_id,
            abroad=self._loop.nearby(server.city),
        )
        return self._carry_out(transition)

    def keep(self, server: HostPlan, address: IPv4Address, port: int) -> Lease:
        """Give the holder its full time; returns when the lease is in force.

        Raises LendingError, StoreError, SwitchError.
        """
        lease = self._carry_out(self.book.renew(server.name, address, port, self._clock.now_ns()))
        self._loop.wait_in_force(lease)
        return lease

    def give_back(self, server: HostPlan, address: IPv4Address, port: int) -> Lease:
        """The holder returns a port set. Raises LendingError, StoreError."""
        return self._carry_out(self.book.release(server.name, address, port, self._clock.now_ns()))

    def named(self, wish: Keep | GiveBack) -> tuple[IPv4Address, int]:
        """The set that a client names exactly, as it must. Raises NotHeldError."""
        address, ports = wish.address, wish.ports
        lease = self.book.lease(address, ports.first_port)
        said = (ports.psid, ports.psid_bits, wish.client_id)
        if lease is not None and (lease.psid, lease.psid_bits, lease.client_id) == said:
            return lease.key
        raise NotHeldError(address, ports.first_port, None, LeaseState.FREE)

    # -- verbs of an operator: each returns the lease, and the thread of ``ControlLoop.happen``

    def acquire(
        self, server: HostPlan, tag: str, *, client_id: str = "", psid_bits: int | None = None
    ) -> Changed:
        """Lend for the full time. Raises LendingError, StoreError."""
        return self._change(
            self.book.acquire(
                server.name,
                server.city,
                self._clock.now_ns(),
                tag,
                psid_bits=psid_bits,
                client_id=client_id,
                abroad=self._loop.nearby(server.city),
            )
        )

    def renew(self, address: IPv4Address, port: int) -> Changed:
        """Give whoever holds it the full time. Raises LendingError, StoreError."""
        lease = self.book.holder(address, port)
        if lease is None:
            raise NotHeldError(address, port, None, LeaseState.FREE)
        return self._change(self.book.renew(lease.server, address, port, self._clock.now_ns()))

    def release(self, server: HostPlan, address: IPv4Address, port: int) -> Changed:
        """Return a set in the holder's name. Raises LendingError, StoreError."""
        return self._change(self.book.release(server.name, address, port, self._clock.now_ns()))

    def revoke(self, address: IPv4Address, port: int) -> Changed:
        """Take a port set away from whoever holds it. Raises LendingError, StoreError."""
        return self._change(self.book.revoke(address, port, self._clock.now_ns()))

    def drain(self, address: IPv4Address, port: int, drain_ns: int) -> Changed:
        """Let the holder finish, and give it no more time. Raises LendingError, StoreError."""
        return self._change(self.book.drain(address, port, self._clock.now_ns() + drain_ns))

    def move(
        self, address: IPv4Address, port: int, heir: HostPlan, drain_ns: int | None = None
    ) -> Changed:
        """Hand a set over, at once or when it has drained. Raises LendingError, StoreError."""
        now = self._clock.now_ns()
        until = None if drain_ns is None else now + drain_ns
        return self._change(self.book.move(address, port, heir.name, heir.city, now, until))

    # -- time

    def sweep_for_ever(self) -> None:
        """End what is due, until the controller ends, whatever goes wrong meanwhile."""
        said = None
        while True:
            eventlet.sleep(SWEEP_S)
            try:
                self.sweep()
            except Exception as error:
                self._loop.fault = str(error) or repr(error)
            if self._loop.fault != said:
                said = self._loop.fault
                LOG.error("lending stands still: %s", said) if said else LOG.info("it goes on")

    def sweep(self) -> None:
        """End what is due now: leases and offers that lapsed, quarantines that are over.

        Raises StoreError.
        """
        self._loop.flush()
        due = self.book.next_event_ns()
        if due is None or due > self._clock.now_ns():
            return
        ready = [x for x in self.book.expire(self._clock.now_ns()) if self._may(x)]
        self._carry_out_all(ready)
        ended = sum(transition.after.state is LeaseState.QUARANTINED for transition in ready)
        if ended:
            LOG.info("%d leases lapsed", ended)

    def _may(self, transition: Transition) -> bool:
        """A set is free only when the switch that served it is known to have forgotten it."""
        if transition.after.state is not LeaseState.FREE:
            return True
        return self._loop.switches[edge_name(transition.after.pop)].programmed

    def seconds_left(self, lease: Lease) -> float:
        """How long the present state of a lease still lasts."""
        return max(0, lease.until_ns - self._clock.now_ns()) / SECOND

    # -- carrying out

    def _carry_out(self, transition: Transition) -> Lease:
        return self._change(transition)[0]

    def _change(self, transition: Transition) -> Changed:
        return transition.after, self._carry_out_all([transition])

    def _carry_out_all(self, transitions: Iterable[Transition]) -> GreenThread | None:
        """Make decisions true: durable, in the book, and on their way to the switches."""
        changed = [x for x in transitions if x.after != x.before]
        if not changed:
            return None
        following = self._loop.happen(*(LeaseChanged(x.after) for x in changed))
        self.book.apply(*changed)
        return following
