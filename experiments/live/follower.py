"""Follows a lab from outside: asks it for its state and its round trips, and hears its log.

Three threads, because the client of the control socket waits. An event of the log makes the state
be asked for at once. A lab that ends is looked for until another answers at the same place.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from experiments.control import screen
from experiments.control.client import GoneError, Remote
from experiments.errors import TrialError
from experiments.live.state import State, Told, state
from topologies import explicit
from topologies.plan import Plan, plan

__all__ = ["ENDED", "STARTING", "UP", "Follower", "Sight"]

EVERY_S = 0.5
"""How often a lab is asked if nothing is heard of it."""

PROBE_EVERY_S = 1.0
"""Between a round of probes and the next."""

FOR_PEOPLE = "up"
"""The purpose of a lab in which nothing is measured but by hand."""

LEAST_S = 0.1
"""Between two questions, however much is heard: people see no more than ten changes a second."""

STARTING, UP, ENDED = "starting", "up", "ended"


Birth = tuple[int, int] | None
"""Tells the socket of a lab from that of the next: its inode, and when it was made."""


@dataclass(frozen=True, slots=True)
class Sight:
    """A lab at one moment: how it is, its plan, state and words, or the last ones known of it.

    ``birth`` is another one for another lab at the same place.
    """

    phase: str
    birth: Birth
    plan: Plan
    state: State | None
    told: Told | None = None


See = Callable[[Sight], None]
"""Gets every sight."""

Hear = Callable[[Sequence[str], bool], None]
"""Gets lines of the log, and whether they begin another log."""


Meet = Callable[[Sequence[Mapping[str, Any]]], None]
"""Gets what a round of probes met."""


class Follower:
    """Tells what it sees and hears, from threads of its own."""

    def __init__(self, path: Path) -> None:
        """Raises TrialError if the lab with this socket does not say what network it has."""
        self._path, self._remote = path, Remote(path)
        self._poke, self._over, self._wanted = (threading.Event() for _ in range(3))
        self._asked_for: bool | None = None
        self.sight = Sight(STARTING, self._birth(), _plan(self._remote), None)

    def start(self, see: See, hear: Hear, meet: Meet) -> None:
        """Begin to follow."""
        works = (
            partial(self._look_on, see),
            partial(self._listen_on, hear),
            partial(self._probe_on, meet),
        )
        for work in works:
            threading.Thread(target=work, name="live", daemon=True).start()

    def stop(self) -> None:
        """Follow no more."""
        for bell in (self._over, self._wanted, self._poke):
            bell.set()

    def wanted(self, by: int) -> None:
        """So many pages are open; while there are none, the lab is left in peace."""
        if by:
            self._wanted.set()
        else:
            self._wanted.clear()

    def probe(self, on: bool) -> None:
        """Whether clients ping the service while a page is open. A lab that is up is for that."""
        self._asked_for = on

    @property
    def probing(self) -> bool:
        """Whether they do."""
        state = self.sight.state
        usual = state is not None and state["purpose"] == FOR_PEOPLE
        return usual if self._asked_for is None else self._asked_for

    def look(self) -> State:
        """The lab's state now. Raises TrialError."""
        return state(self._plan_of(self._birth()), _told(self._remote))

    def poke(self) -> None:
        """Ask again at once: something has been done."""
        self._poke.set()

    def _look_on(self, see: See) -> None:
        while not self._over.is_set():
            self._wanted.wait()
            self.sight = self._looked()
            see(self.sight)
            time.sleep(LEAST_S)
            self._poke.wait(EVERY_S)
            self._poke.clear()

    def _looked(self) -> Sight:
        before, birth = self.sight, self._birth()
        try:
            made = self._plan_of(birth)
            told = _told(self._remote)
            return Sight(UP, birth, made, state(made, told), told)
        except GoneError:
            return replace(before, phase=ENDED)
        except TrialError as error:  # it starts, or has no controller for a moment
            if before.state is None or birth != before.birth:
                return before
            fault = before.state | {"ready": False, "fault": str(error)}
            return replace(before, phase=UP, state=fault)

    def _listen_on(self, hear: Hear) -> None:
        birth: Birth = None
        while not self._over.is_set():
            if birth is None or birth != self._birth():
                birth, after, anew, sieve = self._birth(), 0, True, screen.Sieve()
            with suppress(GoneError):
                for record in self._remote.events(after):
                    after = record["number"]
                    if sieve.passes(record):
                        hear([screen.line(record)], anew)
                        anew = False
                    self._poke.set()
            self._over.wait(EVERY_S)

    def _probe_on(self, meet: Meet) -> None:
        while not self._over.is_set():
            self._wanted.wait()
            if self.probing and self.sight.phase == UP:
                with suppress(TrialError):  # it ends, or a client of it has
                    meet(self._remote.call("probe"))
            self._over.wait(PROBE_EVERY_S)

    def _plan_of(self, birth: Birth) -> Plan:
        """The plan that is known, if it is of the lab with this socket. Raises TrialError."""
        known = self.sight
        return known.plan if birth == known.birth else _plan(self._remote)

    def _birth(self) -> Birth:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_ctime_ns


def _plan(remote: Remote) -> Plan:
    """The plan of the lab's network. Raises TrialError."""
    return plan(explicit.parse(remote.call("network")))


def _told(remote: Remote) -> Told:
    """Raises TrialError."""
    view, links = screen.look(remote), remote.call("links")
    return Told(view, links, time.time())
