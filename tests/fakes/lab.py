"""A lab without a network: the true words, log, steering and lease book, and nothing behind them.

It is served on a control socket as a lab is, so whoever uses the socket sees no difference.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from controller.core.describing import describe_lease, describe_world
from controller.core.events import Event, LeaseChanged, PortStatus, dump, parse
from controller.core.lease import Lease, LendingError, Transition
from controller.core.lending import Book
from controller.core.steering import rank
from controller.core.world import UnknownError, World
from experiments.control import places, screen
from experiments.control.server import serving
from experiments.control.words import Control
from experiments.errors import TrialError
from experiments.live.state import State, Told, state
from topologies.emulation.links import Histogram, Impairment, LinkStats
from topologies.plan import HostRole, LinkPlan, Plan


@dataclass(frozen=True)
class Place:
    name: str


class FakeLab:
    """What ``Control`` asks of a Testbed, its emulator and its controller, in one."""

    controller_places = (Place("controller"),)
    name = "fake"

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.emulator = self.controller_api = self
        self.emulated_links = tuple(link for link in plan.links if link.line.delay_ns)
        self.shape = {link.number: Impairment.of(link.line) for link in self.emulated_links}
        self.cut_links: set[int] = set()
        self.killed: set[str] = set()
        self.floods: dict[str, int] = {}
        self.bytes: dict[int, int] = {}  # each way, by the number of the link
        self.rtts: dict[str, float | None] = {}  # what probes say, ms
        self.alive = True  # the controller
        self.ended = False
        self.asked = 0  # how often for its world
        self.now = World(plan)
        self.book = Book(plan.network.pools, plan.network.port_set_bits)
        self.records: list[dict[str, Any]] = []
        self._news = threading.Condition(threading.RLock())
        for server in plan.hosts_of(HostRole.SERVER):
            self.lend(server.name, server.city)

    # -- the lab

    def programs(self) -> tuple[Any, ...]:
        return ()

    all_programs = programs

    def planned(self, link: LinkPlan) -> Impairment:
        return Impairment.of(link.line)

    def set_link(self, link: LinkPlan, up: bool) -> None:
        (self.cut_links.discard if up else self.cut_links.add)(link.number)
        for end in (link.a, link.b):
            if end.port is not None:
                self._happen(PortStatus(end.node, end.port, up))

    def serve(self, server: str, up: bool) -> None:
        (self.killed.discard if up else self.killed.add)(server)

    def flood(self, target: str, address: object, port: int, bit_s: int) -> None:
        self.floods[target] = bit_s

    def spare(self, target: str) -> None:
        del self.floods[target]

    def probe(self) -> list[dict[str, Any]]:
        clients, sent_ns = self.plan.hosts_of(HostRole.CLIENT), time.time_ns()
        return [
            {"client": client.name, "sent_ns": sent_ns, "rtt_ms": self.rtts.get(client.name, 5.0)}
            for client in clients
        ]

    # -- the emulator

    def set(self, number: int, *, a_to_b: Impairment, b_to_a: Impairment) -> None:
        assert a_to_b == b_to_a
        self.shape[number] = a_to_b

    def read(self, number: int) -> tuple[Impairment, Impairment]:
        return self.shape[number], self.shape[number]

    def read_many(self, numbers: Any) -> dict[int, tuple[Impairment, Impairment]]:
        return {number: self.read(number) for number in numbers}

    def stats(self) -> dict[int, tuple[LinkStats, LinkStats]]:
        each = {link: LinkStats(0, self.bytes.get(link, 0), {}, Histogram()) for link in self.shape}
        return {link: (stats, stats) for link, stats in each.items()}

    # -- the controller

    def status(self) -> dict[str, Any]:
        self._must_live()
        leader = {"name": "controller", "at": "127.0.0.1:8080", "generation": 1}
        switches = {
            switch.name: {"connected": True, "programmed": True, "rules": 9, "behind": 0}
            for switch in self.plan.switches
        }
        return {"ready": True, "fault": None, "leader": leader, "switches": switches}

    def world(self) -> dict[str, Any]:
        self.asked += 1
        self._must_live()
        with self._news:
            now = self.now
        return describe_world(now, rank(now))

    def leases(self) -> list[dict[str, Any]]:
        self._must_live()
        with self._news:
            return [_described(lease) for lease in self.book.entries()]

    def happen(self, event: dict[str, Any]) -> None:
        self._must_live()
        try:
            self._happen(parse(event))
        except UnknownError as error:
            raise TrialError(f"The controller refused: {error}") from None

    def events(self, after: int, wait_s: int) -> list[dict[str, Any]]:
        self._must_live()
        with self._news:
            self._news.wait_for(lambda: len(self.records) > after or self.ended, wait_s)
            self._must_live()
            return self.records[after:]

    def change_lease(self, verb: str, address: str, port: int, **given: Any) -> dict[str, Any]:
        self._must_live()
        at, now_ns = (IPv4Address(address), port), time.time_ns()
        with self._news:
            try:
                if verb == "revoke":
                    changed = self.book.revoke(*at, now_ns)
                else:
                    heir = self.plan.host(given["server"])
                    changed = self.book.move(*at, heir.name, heir.city, now_ns)
            except LendingError as error:
                raise TrialError(f"The controller refused: {error}") from None
            self._apply(changed)
        return _described(changed.after)

    # -- for tests

    def lend(self, server: str, pop: str) -> Lease:
        """Lend a server a port set."""
        with self._news:
            changed = self.book.acquire(server, pop, time.time_ns())
            self._apply(changed)
        return changed.after

    def free(self, lease: Lease) -> None:
        """Take a port set back, and let its quarantine be over."""
        with self._news:
            self._apply(self.book.revoke(*lease.key, time.time_ns()))
            ends_ns = time.time_ns() + self.book.terms.quarantine_ns
            for changed in self.book.expire(ends_ns + 1, most=1):
                self._apply(changed)

    def renew(self, lease: Lease) -> None:
        """Give the holder more time, as agents do every now and then."""
        with self._news:
            self._apply(self.book.renew(lease.server, *lease.key, time.time_ns()))

    def end(self) -> None:
        """Let whoever waits for news go."""
        with self._news:
            self.ended = True
            self._news.notify_all()

    def _apply(self, changed: Transition) -> None:
        self.book.apply(changed)
        self.book.lendings = max(self.book.lendings, changed.after.number)
        self._happen(LeaseChanged(changed.after))

    def _happen(self, event: Any) -> None:
        with self._news:
            if isinstance(event, Event):
                self.now = self.now.after(event)
            number, at_ns = len(self.records) + 1, time.time_ns()
            self.records.append(
                {"number": number, "at_ns": at_ns, "monotonic_ns": at_ns, **dump(event)}
            )
            self._news.notify_all()

    def _must_live(self) -> None:
        if self.ended or not self.alive:
            raise ConnectionRefusedError


def _described(lease: Lease) -> dict[str, Any]:
    return describe_lease(lease) | {"expires_in_s": (lease.until_ns - time.time_ns()) / 1e9}


@contextmanager
def running(plan: Plan) -> Iterator[FakeLab]:
    """A lab on a socket in the folder of this user (``XDG_RUNTIME_DIR``) while the block runs."""
    lab = FakeLab(plan)
    with places.opened(plan.network.name) as door:
        os.environ[places.HANDED_IN] = str(os.dup(door.socket.fileno()))
        with serving(Control(lab, "up")):  # type: ignore[arg-type]
            try:
                yield lab
            finally:
                lab.end()


def seen(lab: FakeLab, now_s: float = 0.0) -> State:
    """The state of a lab, by its own words."""
    control = Control(lab, "up")  # type: ignore[arg-type]
    view = screen.View(control.status(), control.world(), control.leases())
    return state(lab.plan, Told(view, control.links(), now_s))
