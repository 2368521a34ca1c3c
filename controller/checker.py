"""Checks the servers' health while the network runs, each by its own switch."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator

import eventlet

from controller import probe
from controller.core.health import Watch
from controller.frames import FrameError
from controller.loop import ControlLoop
from controller.session import SwitchError
from topologies.plan import HostPlan, HostRole

LOG = logging.getLogger("controller.checker")

LATE = 1.5
"""A round that took so many times as long says that the controller was busy, not the servers."""


class Checker:
    """Asks every server now and then, and lets the world know who has fallen silent."""

    def __init__(self, loop: ControlLoop, counts: Counter[str]) -> None:
        """``counts``: health_answers, health_malformed."""
        self._loop = loop
        self._counts = counts
        self._watch = Watch()
        plan = loop.world.plan
        self._service = plan.network.services[0]
        self._servers = plan.hosts_of(HostRole.SERVER)

    def check_for_ever(self) -> None:
        """Runs in a thread of its own; ends at once where the network wants no checks."""
        interval_ns = self._loop.world.plan.network.health_ns
        while interval_ns:
            asked, began_ns = list(self._ask_all()), time.monotonic_ns()
            eventlet.sleep(interval_ns / 1e9)
            late = time.monotonic_ns() - began_ns > LATE * interval_ns
            seen = self._watch.round(self._loop.world, () if late else asked)
            for event in seen:
                LOG.warning("%s %s", event.server, "answers" if event.answers else "is silent")
            self._loop.observe(*seen)

    def hear(self, server: HostPlan, frame: bytes) -> None:
        """A server has answered."""
        try:
            serves = probe.answers(frame)
        except FrameError:
            self._counts["health_malformed"] += 1
            return
        self._counts["health_answers"] += 1
        if serves:
            self._watch.answer(server.name)
            self._send(server, probe.hang_up)

    def _ask_all(self) -> Iterator[str]:
        """Ask every server whose switch is there."""
        for server in self._servers:
            if self._loop.switches[server.switch].programmed and self._send(server, probe.ask):
                yield server.name

    def _send(self, server: HostPlan, what: Callable[..., bytes]) -> bool:
        try:
            session = self._loop.switches[server.switch].session
            session.packet_out(server.port, what(server, self._service))
        except SwitchError:
            return False
        return True
