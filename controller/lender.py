"""Lending, carried out: the book decides, the store keeps it, the switches obey, then it is said.

Each verb decides, commits and applies without giving way to other work, so two of them never see
the same book. Then it tells the switches and waits for their barriers. What the borrower is told
is therefore durable and in force. When rules go, they go after the store knows; a switch that is
not there at that moment is put right when it comes back.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address

import eventlet
from eventlet.greenthread import GreenThread

from controller.clock import BookClock
from controller.core.borrowing import SwitchRules, home_rules, lease_rules
from controller.core.lending import SECOND, Book, Lease, LeaseState, Transition
from controller.core.rules import Rule
from controller.exchange import OFFER_NS
from controller.session import Pending, SwitchError
from controller.store import LeaseStore, StoreError
from controller.switches import Delta, Switch
from topologies.model import COMMON_TAG
from topologies.plan import HostPlan, Plan, edge_name

__all__ = ["Lender"]

LOG = logging.getLogger("controller.lender")
SWEEP_S = 0.25
"""How often the book is asked what is due; a lease ends at most this much late."""


class Lender:
    """The lease book in force. All times are those of its clock."""

    def __init__(
        self,
        plan: Plan,
        book: Book,
        store: LeaseStore,
        switches: Mapping[str, Switch],
        clock: BookClock,
    ) -> None:
        self.book = book
        self.clock = clock
        self._plan = plan
        self._store = store
        self._switches = switches
        self._arriving: dict[tuple[IPv4Address, int], GreenThread] = {}
        self.fault: str | None = None
        """Why lending does not go on; None while all is well."""

    # -- verbs

    def lend(self, server: HostPlan, tag: str = COMMON_TAG) -> Lease:
        """Borrow for as long as an offer holds; the rules are on their way when this returns.

        Who asks again is told the same, and nothing is written while half of that time is left.
        Raises LendingError, StoreError.
        """
        now = self.clock.now_ns()
        lifetime = min(OFFER_NS, self.book.terms.lifetime_ns)
        held = self.book.held(server.name, tag)
        if held is not None and held.until_ns - now >= lifetime // 2:
            return held
        transition = self.book.acquire(server.name, server.city, now, tag, lifetime)
        self._carry_out([transition])
        return transition.after

    def keep(self, server: HostPlan, address: IPv4Address, psid: int) -> Lease:
        """Give the holder its full time; returns when every switch it depends on has its rules.

        Raises LendingError, StoreError, SwitchError.
        """
        transition = self.book.renew(server.name, address, psid, self.clock.now_ns())
        self._carry_out([transition])
        arriving = self._arriving.get((address, psid))
        if arriving is not None:
            arriving.wait()
        return transition.after

    def give_back(self, server: HostPlan, address: IPv4Address, psid: int) -> Lease:
        """The holder returns a port set. Raises LendingError, StoreError."""
        transition = self.book.release(server.name, address, psid, self.clock.now_ns())
        self._carry_out([transition])
        return transition.after

    def revoke(self, address: IPv4Address, psid: int) -> Lease:
        """Take a port set away from whoever holds it. Raises LendingError, StoreError."""
        transition = self.book.revoke(address, psid, self.clock.now_ns())
        self._carry_out([transition])
        return transition.after

    def sweep_for_ever(self) -> None:
        """End what is due, until the controller ends, whatever goes wrong meanwhile."""
        said = None
        while True:
            eventlet.sleep(SWEEP_S)
            try:
                self.sweep()
            except Exception as error:
                self.fault = str(error) or repr(error)
            if self.fault != said:
                said = self.fault
                LOG.error("lending stands still: %s", said) if said else LOG.info("it goes on")

    def sweep(self) -> None:
        """End what is due now: leases and offers that lapsed, quarantines that are over.

        Raises StoreError.
        """
        due = self.book.next_event_ns()
        if due is None or due > self.clock.now_ns():
            return
        transitions = self.book.expire(self.clock.now_ns())
        ready = [transition for transition in transitions if self._may(transition)]
        self._carry_out(ready)
        ended = sum(transition.after.state is LeaseState.QUARANTINED for transition in ready)
        if ended:
            LOG.info("%d leases lapsed", ended)

    def _may(self, transition: Transition) -> bool:
        """A set is free only when the switch that served it is known to have forgotten it."""
        if transition.after.state is not LeaseState.FREE:
            return True
        return self._switches[edge_name(transition.after.pop)].programmed

    # -- carrying out

    def _carry_out(self, transitions: Iterable[Transition]) -> None:
        """Store, apply, tell the switches. Does not give way before the rules are sent."""
        transitions = tuple(transitions)
        addresses = {transition.after.address for transition in transitions}
        homes = {address: self.book.home(address) for address in addresses}
        changed = [x.after for x in transitions if x.after != x.before]
        if changed:
            self._keep(changed)
        self.book.apply(*transitions)
        remove, add = self._rule_changes(transitions, homes)
        self._tell(transitions, remove, add)

    def _keep(self, changed: list[Lease]) -> None:
        """Make entries durable; whether that works is how lending fares. Raises StoreError."""
        try:
            self._store.commit(changed)
        except StoreError as error:
            self.fault = str(error)
            raise
        self.fault = None

    def _rule_changes(
        self, transitions: Iterable[Transition], homes: Mapping[IPv4Address, str | None]
    ) -> tuple[dict[str, set[Rule]], dict[str, set[Rule]]]:
        """By switch: the rules that go and the rules that come."""
        remove: defaultdict[str, set[Rule]] = defaultdict(set)
        add: defaultdict[str, set[Rule]] = defaultdict(set)

        for transition in transitions:
            if transition.before is not None:
                _collect(remove, lease_rules(self._plan, transition.before))
            _collect(add, lease_rules(self._plan, transition.after))
        for address, home in homes.items():
            after = self.book.home(address)
            if home is not None:
                _collect(remove, home_rules(self._plan, address, home))
            if after is not None:
                _collect(add, home_rules(self._plan, address, after))
        for name in remove.keys() & add.keys():
            same = remove[name] & add[name]
            remove[name] -= same
            add[name] -= same
        return remove, add

    def _tell(
        self,
        transitions: Iterable[Transition],
        remove: Mapping[str, set[Rule]],
        add: Mapping[str, set[Rule]],
    ) -> None:
        """Send the changes and see them through in the background."""
        names = {name for name in (*remove, *add) if remove.get(name) or add.get(name)}
        if not names:
            return
        keys = [(transition.after.address, transition.after.psid) for transition in transitions]
        sent: list[tuple[Switch, Pending | None]] = []
        for name in sorted(names):
            delta = Delta(frozenset(remove.get(name, ())), frozenset(add.get(name, ())))
            sent.append((self._switches[name], self._switches[name].want(delta)))
        thread = eventlet.spawn(self._see_through, keys, sent)
        for key in keys:
            self._arriving[key] = thread

    def _see_through(
        self, keys: list[tuple[IPv4Address, int]], sent: list[tuple[Switch, Pending | None]]
    ) -> None:
        me = eventlet.getcurrent()
        try:
            for switch, pending in sent:
                switch.settle(pending)
        except SwitchError as error:
            LOG.warning("%s", error)
            raise
        finally:
            for key in keys:
                if self._arriving.get(key) is me:
                    del self._arriving[key]

    def seconds_left(self, lease: Lease) -> float:
        """How long the present state of a lease still lasts."""
        return max(0, lease.until_ns - self.clock.now_ns()) / SECOND


def _collect(into: defaultdict[str, set[Rule]], found: SwitchRules) -> None:
    for name, rules in found.items():
        into[name] |= rules
