"""Whether servers answer: from checks that come and go to a word that can be relied on."""

from __future__ import annotations

from collections.abc import Iterable

from controller.core.events import HealthSeen
from controller.core.world import World

FALL, RISE = 2, 2
"""So many checks in a row are missed before a server is out, or answered before it is back."""

GRACE = 5
"""Checks that a server may miss that has never answered: it may not have started yet."""


class Watch:
    """Counts the answers of each server in a row. Knows nothing of packets and clocks."""

    def __init__(self) -> None:
        self._heard: set[str] = set()
        self._known: set[str] = set()
        self._missed: dict[str, int] = {}
        self._answered: dict[str, int] = {}

    def answer(self, server: str) -> None:
        """A server has answered the check that is under way."""
        self._heard.add(server)

    def round(self, world: World, asked: Iterable[str]) -> tuple[HealthSeen, ...]:
        """What is new once the servers that were asked have had their time; the next check begins.

        A server that was not asked, because its switch is away, is not judged; nor is anybody
        before one server has answered: there may be no service to ask for.
        """
        found = []
        self._known |= self._heard
        for server in asked if self._known else ():
            heard = server in self._heard
            self._missed[server] = 0 if heard else self._missed.get(server, 0) + 1
            self._answered[server] = self._answered.get(server, 0) + 1 if heard else 0
            fall = FALL if server in self._known else GRACE
            silent = server in world.silent
            if not silent and self._missed[server] >= fall:
                found.append(HealthSeen(server, answers=False))
            elif silent and self._answered[server] >= RISE:
                found.append(HealthSeen(server, answers=True))
        self._heard.clear()
        return tuple(found)
