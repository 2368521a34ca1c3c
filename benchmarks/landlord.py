"""Those who lend, move and take away, all the time, and note what was said of it and when."""

from __future__ import annotations

import itertools
import random
import threading
import time
from contextlib import suppress
from ipaddress import IPv4Address
from typing import Any

from experiments.errors import TrialError
from experiments.measure.tenure import NOBODY, Act
from experiments.runs.testbed import Testbed
from topologies.emulation.processes import until
from topologies.plan import HostRole

PAUSE_S = 0.05
"""Between two acts of one landlord."""
DRAIN_S = 0.3
MOST_HELD = 40
"""Sets that a landlord keeps lent."""
SIZES = (4, 5, 6, 8)
"""PSID bits: sets of 4096 to 256 ports."""


class Landlord:
    """Has the sets of a tag change hands by the controller's REST interface, one at a time.

    ``acts`` is what a judge may know: no rule and no book. No lease may end by itself meanwhile.
    """

    def __init__(self, lab: Testbed, tag: str, number: int) -> None:
        self.acts: list[Act] = []
        self.refused = 0
        self._api = lab.controller_api
        self._tag = tag
        self._number = number
        self._servers = [server.name for server in lab.plan.hosts_of(HostRole.SERVER)]
        self._dice = random.Random(number)
        self._turns = itertools.count()
        self._held: list[dict[str, Any]] = []
        self._verbs = (self._acquire, self._move, self._drain, self._revoke, self._release)

    def settle(self) -> None:
        """Lend as much as it ever will, if there is as much."""
        with suppress(TrialError):
            for _ in range(MOST_HELD):
                self._acquire()

    def run(self, over: threading.Event) -> None:
        """One act after the other, until it is over."""
        while not over.wait(PAUSE_S):
            try:
                few, many = len(self._held) < MOST_HELD // 2, len(self._held) >= MOST_HELD
                self._dice.choice(self._verbs[:1] if few else self._verbs[many:])()
            except TrialError:
                self.refused += 1  # a quota, or a dry pool: nothing has changed

    # -- the verbs

    def _acquire(self) -> None:
        asked_ns, server = time.monotonic_ns(), self._dice.choice(self._servers)
        name, size = f"{self._number}-{next(self._turns)}", self._dice.choice(SIZES)
        lease = self._api.acquire(server, tag=self._tag, client_id=name, psid_bits=size)
        self._note(lease, NOBODY, server, asked_ns)

    def _move(self) -> None:
        heir = self._dice.choice(self._servers)
        self._change("move", heir, server=heir)

    def _revoke(self) -> None:
        self._change("revoke", NOBODY)

    def _release(self) -> None:
        lease = self._held[-1]
        self._change("release", NOBODY, lease, server=lease["server"])

    def _change(
        self, verb: str, after: str, lease: dict[str, Any] | None = None, **given: Any
    ) -> None:
        """A change that is over when it is answered."""
        lease = lease or self._dice.choice(self._held)
        asked_ns = time.monotonic_ns()
        place = (lease["address"], lease["first_port"])
        changed = self._api.change_lease(verb, *place, **given)
        self._held.remove(lease)
        self._note(changed, lease["server"], after, asked_ns)

    def _drain(self) -> None:
        """A change that comes by itself, not before its time; over when it is seen everywhere."""
        lease, heir = self._dice.choice(self._held), self._dice.choice(self._servers)
        place, before = (lease["address"], lease["first_port"]), lease["server"]
        earliest_ns = time.monotonic_ns() + int(DRAIN_S * 1e9)
        self._api.change_lease("move", *place, server=heir, drain_s=DRAIN_S)
        self._held.remove(lease)
        until(lambda: self._holder(*place) != before, "a drained set to change hands")
        until(self._confirmed, "the switches to confirm it")
        self._note(lease | {"confirmed": True}, before, self._holder(*place), earliest_ns)

    # -- what is said of them

    def _holder(self, address: str, port: int) -> str:
        with suppress(TrialError):
            return str(self._api.who(address, port)["server"])
        return NOBODY

    def _confirmed(self) -> bool:
        """Whether at some time since this was asked no switch was behind."""
        return all(s["programmed"] for s in self._api.status()["switches"].values())

    def _note(self, lease: dict[str, Any], before: str, after: str, asked_ns: int) -> None:
        if not lease["confirmed"]:
            raise RuntimeError(f"the switches do not confirm a change of {lease['address']}")
        ports, now_ns = (lease["first_port"], lease["last_port"]), time.monotonic_ns()
        address = int(IPv4Address(lease["address"]))
        self.acts.append(Act(address, *ports, before, after, asked_ns, now_ns))
        if after != NOBODY:
            self._held.append(lease | {"server": after})
