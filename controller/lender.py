"""Lending, carried out: the book decides, the control loop makes it true, then it is said.

Wishes that come while the disk is busy are decided together, one after the other, and stored by one
write (group commit). Between deciding and storing no other work runs, so nobody sees a book that
is not on the disk. What a borrower is told is durable, and in force.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address

import eventlet
from eventlet.event import Event
from eventlet.greenthread import GreenThread

from controller.core.events import LeaseChanged
from controller.core.lease import (
    SECOND,
    ChangedMeanwhileError,
    Lease,
    LeaseState,
    NotHeldError,
    Transition,
)
from controller.core.lending import PORTION, Book
from controller.exchange import OFFER_NS, GiveBack, Keep
from controller.loop import ControlLoop
from controller.session import SwitchError
from topologies.model import COMMON_TAG
from topologies.plan import HostPlan, edge_name

__all__ = ["Changed", "Lender"]

LOG = logging.getLogger("controller.lender")
TELL_AGAIN_S = (1.0, 2.0, 4.0)
"""How long it is waited for an heir to ask for its lease before it is told again."""

SWEEP_S = 0.25
"""How often the book is asked what is due; a lease ends at most this much late."""


Changed = tuple[Lease, GreenThread | None]
"""A lease as it is by now, and the thread that ends when the switches have confirmed it."""

Decide = Callable[[], Transition]
"""A verb of the book with all that it needs: what would be done now. Raises LendingError."""

Tell = Callable[[str, Lease], None]
"""Let a server know that a lease has come to it, or gone from it."""

Versions = Container[str]
"""The versions of an entry that a caller would have changed; of others it knows nothing."""


@dataclass(frozen=True, slots=True)
class _Wish:
    """What somebody wants decided, and where the answer goes."""

    decide: Decide
    done: Event = field(default_factory=Event)


class Lender:
    """The lease book in force. Every verb waits for the disk, and lets other work go on."""

    def __init__(self, book: Book, loop: ControlLoop, tell: Tell = lambda *_: None) -> None:
        self.book = book
        self._tell = tell
        self._loop = loop
        self._clock = loop.clock
        self._wishes: list[_Wish] = []
        self.refused: Counter[str] = Counter()
        """Wishes that the book refused, by the error's name."""

    # -- verbs of a borrower

    def lend(
        self,
        server: HostPlan,
        tag: str = COMMON_TAG,
        client_id: str = "",
        psid_bits: int | None = None,
    ) -> Changed:
        """Borrow for as long as an offer holds; the rules are on their way when this returns.

        Who asks again is told the same, and nothing is written while half of that time is left.
        Raises LendingError, StoreError.
        """
        lifetime = min(OFFER_NS, self.book.terms.lifetime_ns)
        held = self.book.held(server.name, tag, client_id)
        if held is not None and held.until_ns - self._clock.now_ns() >= lifetime // 2:
            return held, None
        return self._lend(server, tag, client_id, psid_bits, lifetime)

    def keep(self, server: HostPlan, address: IPv4Address, port: int) -> Lease:
        """Give the holder its full time; returns when the lease is in force.

        Raises LendingError, StoreError, SwitchError.
        """
        now = self._clock.now_ns
        decided, _ = self._do(lambda: self.book.renew(server.name, address, port, now()))
        self._loop.wait_in_force(decided.after)
        lease = self.book.lease(address, port)
        if lease is None or not lease.live or lease.number != decided.after.number:
            state = LeaseState.FREE if lease is None else lease.state
            raise NotHeldError(address, port, server.name, state)  # lost meanwhile
        return lease

    def give_back(self, server: HostPlan, address: IPv4Address, port: int) -> Lease:
        """The holder returns a port set. Raises LendingError, StoreError."""
        lease, _ = self.release(server, address, port)
        return lease

    def named(self, wish: Keep | GiveBack) -> tuple[IPv4Address, int]:
        """The set that a client names exactly, as it must. Raises NotHeldError."""
        address, ports = wish.address, wish.ports
        lease = self.book.lease(address, ports.first_port)
        state = LeaseState.FREE if lease is None else lease.state
        said = (ports.psid, ports.psid_bits, wish.client_id)
        if lease is not None and (lease.psid, lease.psid_bits, lease.client_id) == said:
            return lease.key
        raise NotHeldError(address, ports.first_port, "this client", state)

    # -- verbs of an operator

    def acquire(
        self, server: HostPlan, tag: str, *, client_id: str = "", psid_bits: int | None = None
    ) -> Changed:
        """Lend for the full time. Raises LendingError, StoreError."""
        return self._lend(server, tag, client_id, psid_bits, self.book.terms.lifetime_ns)

    def renew(self, address: IPv4Address, port: int, if_match: Versions | None = None) -> Changed:
        """Give whoever holds it the full time. Raises LendingError, StoreError."""

        def decide() -> Transition:
            lease = self.book.holder(address, port)
            holder = "nobody" if lease is None else lease.server
            return self.book.renew(holder, address, port, self._clock.now_ns())

        return self._change(address, port, decide, if_match)

    def release(
        self,
        server: HostPlan,
        address: IPv4Address,
        port: int,
        if_match: Versions | None = None,
    ) -> Changed:
        """Return a set in the holder's name. Raises LendingError, StoreError."""

        def decide() -> Transition:
            return self.book.release(server.name, address, port, self._clock.now_ns())

        return self._change(address, port, decide, if_match)

    def revoke(self, address: IPv4Address, port: int, if_match: Versions | None = None) -> Changed:
        """Take a port set away from whoever holds it. Raises LendingError, StoreError."""

        def decide() -> Transition:
            return self.book.revoke(address, port, self._clock.now_ns())

        return self._change(address, port, decide, if_match, told=True)

    def drain(
        self,
        address: IPv4Address,
        port: int,
        drain_ns: int,
        if_match: Versions | None = None,
    ) -> Changed:
        """Let the holder finish, and give it no more time. Raises LendingError, StoreError."""

        def decide() -> Transition:
            return self.book.drain(address, port, self._clock.now_ns() + drain_ns)

        return self._change(address, port, decide, if_match)

    def move(
        self,
        address: IPv4Address,
        port: int,
        heir: HostPlan,
        drain_ns: int | None = None,
        if_match: Versions | None = None,
    ) -> Changed:
        """Hand a set over, at once or when it has drained.

        Raises LendingError, StoreError; SwitchError while the holder's switch is not there: it
        would go on serving the holder.
        """

        def decide() -> Transition:
            self._check_reach(self.book.holder(address, port))
            now = self._clock.now_ns()
            until = None if drain_ns is None else now + drain_ns
            return self.book.move(address, port, heir.name, heir.city, now, until)

        return self._change(address, port, decide, if_match, told=True)

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

        A crowd ends in portions, and other work goes on between them. Raises StoreError.
        """
        self._loop.flush()
        while True:
            now, due = self._clock.now_ns(), self.book.next_event_ns()
            if due is None or due > now:
                return
            ended = self.book.expire(now, PORTION, self._may_end)
            if not ended:
                return
            self.book.apply(*ended)
            following = self._store(ended)
            drained = [x for x in ended if x.before and x.before.state is LeaseState.DRAINING]
            self._let_know(drained, following)
            lapsed = sum(x.after.state is LeaseState.QUARANTINED for x in ended)
            if lapsed:
                LOG.info("%d leases lapsed", lapsed)
            eventlet.sleep(0)

    def _may_end(self, lease: Lease) -> bool:
        """A set is free only when every switch that served it is known to have forgotten it.

        Nor does an heir get it while its holder's switch cannot be told.
        """
        switch = self._loop.switches[edge_name(lease.pop)]
        if lease.live:
            return not lease.heir or switch.connected
        return switch.programmed and not any(self._loop.serving(lease))

    def _check_reach(self, lease: Lease | None) -> None:
        """Raise SwitchError if a holder's switch cannot be told that it is no longer the holder."""
        if lease is None:
            return
        name = edge_name(lease.pop)
        if not self._loop.switches[name].connected:
            raise SwitchError(
                f"{name} is not connected, and would go on serving {lease.server}: "
                "wait until it is, or revoke the set, which is free when it is back"
            )

    def seconds_left(self, lease: Lease) -> float:
        """How long the present state of a lease still lasts."""
        return max(0, lease.until_ns - self._clock.now_ns()) / SECOND

    # -- carrying out

    def _lend(
        self, server: HostPlan, tag: str, client_id: str, psid_bits: int | None, lifetime_ns: int
    ) -> Changed:
        decided, following = self._do(
            lambda: self.book.acquire(
                server.name,
                server.city,
                self._clock.now_ns(),
                tag,
                lifetime_ns,
                psid_bits=psid_bits,
                client_id=client_id,
                abroad=self._loop.nearby(server.city),
            )
        )
        return decided.after, following

    def _change(
        self,
        address: IPv4Address,
        port: int,
        decide: Decide,
        if_match: Versions | None,
        *,
        told: bool = False,
    ) -> Changed:
        """Have an entry changed, if it is still one of the versions that the caller means.

        ``told``: the servers whose lease it was, or is now, are let know.
        """

        def checked() -> Transition:
            if if_match is not None:
                lease = self.book.lease(address, port)
                if lease is None or lease.version not in if_match:
                    raise ChangedMeanwhileError(address, port)
            return decide()

        decided, following = self._do(checked)
        if told:
            self._let_know([decided], following)
        return decided.after, following

    def _let_know(self, changed: Sequence[Transition], following: GreenThread | None) -> None:
        """Tell servers what they have lost, and what they have got, when it is in force."""
        heirs = []
        for before, after in ((x.before, x.after) for x in changed):
            if before is None or (after.live and after.server == before.server):
                continue  # it drains: the holder may go on
            self._tell(before.server, before)
            if after.live:
                heirs.append(after)
        if heirs:
            eventlet.spawn(self._tell_heirs, heirs, following)

    def _tell_heirs(self, heirs: Sequence[Lease], following: GreenThread | None) -> None:
        """Tell each until it has asked for its lease, or holds it no longer."""
        if following is not None:
            following.wait()
        for pause_s in TELL_AGAIN_S:
            for lease in heirs:
                if self.book.lease(*lease.key) == lease:
                    self._tell(lease.server, lease)
            eventlet.sleep(pause_s)

    def _do(self, decide: Decide) -> tuple[Transition, GreenThread | None]:
        """Have a verb decided and made true with those of all who wait for the disk."""
        wish = _Wish(decide)
        self._wishes.append(wish)
        if len(self._wishes) == 1:
            eventlet.spawn(self._carry_out_wishes)
        done: tuple[Transition, GreenThread | None] = wish.done.wait()
        return done

    def _carry_out_wishes(self) -> None:
        """Decide what is wished by now, each in the book as the one before it left it."""
        wishes, self._wishes = self._wishes, []
        decided: list[tuple[_Wish, Transition]] = []
        for wish in wishes:
            try:
                transition = wish.decide()
                self.book.apply(transition)
            except Exception as error:  # whatever it is, who wished it is told, and nobody else
                self.refused[type(error).__name__.removesuffix("Error")] += 1
                wish.done.send_exception(error)
            else:
                decided.append((wish, transition))
        try:
            following = self._store([transition for _, transition in decided])
        except Exception as error:  # nobody is left waiting, whatever it is
            for wish, _ in decided:
                wish.done.send_exception(error)
        else:
            for wish, transition in decided:
                wish.done.send((transition, following))

    def _store(self, applied: Sequence[Transition]) -> GreenThread | None:
        """Make durable what the book holds by now, and have the switches follow.

        Raises StoreError; the book is as it was before, then, whatever is raised.
        """
        changed = [LeaseChanged(x.after) for x in applied if x.after != x.before]
        try:
            return self._loop.happen(*changed) if changed else None
        except BaseException:
            self.book.undo(*applied)
            raise
