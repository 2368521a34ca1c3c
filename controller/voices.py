"""The PoPs' BGP speakers as the controller sees them: what each should announce, and what it does.

As with switches a change comes in two steps: `Voice.aim` says at once what should be announced,
`Voice.follow_for_ever` says it to the speaker, again and again if that is not there. A controller
that has just begun first asks what is announced.
"""

from __future__ import annotations

import logging
import re
from ipaddress import IPv4Network

import eventlet

from controller.switches import News
from topologies.emulation import vty
from topologies.emulation.processes import LabError
from topologies.plan import speaker_name
from topologies.speakers import Announcement, changed

__all__ = ["Voice"]

LOG = logging.getLogger("controller.voices")
RETRY_S = 0.5

_NETWORK = re.compile(r"^ +network (\S+)$", re.MULTILINE)


class Voice:
    """The speaker of one PoP."""

    def __init__(self, pop: str, wanted: Announcement, news: News) -> None:
        self._name = speaker_name(pop)
        self._wanted = wanted
        self._said: Announcement | None = None
        self._hears = True
        self._news = news

    def aim(self, wanted: Announcement) -> bool:
        """Have this announced from now on; whether that changes anything."""
        before, self._wanted = self._wanted, wanted
        self._news.tell(self)
        return before != wanted

    @property
    def announces(self) -> bool:
        """Whether it announces what it should."""
        return self._said == self._wanted

    @property
    def settled(self) -> bool:
        """Whether nothing is left to wait for: who does not hear now will be told later."""
        return self.announces or not self._hears

    def follow_for_ever(self) -> None:
        """Tell the speaker whatever changes. Runs in a thread of its own."""
        while True:
            self._news.wait(lambda: self if self.announces else None)
            try:
                self._tell(self._wanted)
                self._hears = True
            except LabError as error:
                if self._hears:
                    LOG.warning("%s", error)
                self._hears, self._said = False, None
            self._news.tell(self)
            if not self._hears:
                eventlet.sleep(RETRY_S)

    def _tell(self, wanted: Announcement) -> None:
        before = self._said or self._announced()
        vty.say(self._name, *changed(before, wanted))
        self._said = wanted

    def _announced(self) -> Announcement:
        """The prefixes that the speaker announces by its own word."""
        text = vty.say(self._name, "show running-config")
        return Announcement(tuple(map(IPv4Network, _NETWORK.findall(text))))
