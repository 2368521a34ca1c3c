"""Sheds load while the network runs: counts demand, decides, lets it happen."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping

import eventlet

from controller import openflow
from controller.core.rules import Duty
from controller.core.shedding import Assignment, Meter, decide
from controller.loop import ControlLoop
from controller.session import SwitchError
from topologies.model import Policy

LOG = logging.getLogger("controller.shedder")

EVERY_S = 2.0
"""Open vSwitch brings its counters up to date about once a second."""


class Shedder:
    """Looks at the demand of every city now and then, while policy capacity is in force."""

    def __init__(self, loop: ControlLoop) -> None:
        self._loop = loop
        self._meter = Meter()
        plan = loop.world.plan
        prefixes = {prefix.network_address for prefix in plan.service_prefixes(4)}
        # One of its own that not every PoP announces has a rule of its own.
        self._services = {int(address) for address in prefixes.union(plan.network.services)}

    @property
    def loads(self) -> Mapping[str, float]:
        """Packets a second of every PoP; nothing while nobody counts."""
        if self._loop.world.policy is not Policy.CAPACITY:
            return {}
        return Assignment(self._loop.world, self._meter.demand).loads

    def shed_for_ever(self) -> None:
        """Runs in a thread of its own."""
        while True:
            eventlet.sleep(EVERY_S)
            if self._loop.world.policy is not Policy.CAPACITY:
                self._meter = Meter()
                continue
            try:
                self._count()
            except SwitchError as error:
                LOG.warning("no load is shed now: %s", error)
                continue
            self._loop.observe(*decide(self._loop.world, self._meter.demand))

    def _count(self) -> None:
        """Read every city's counters. Raises SwitchError."""
        loop = self._loop
        asked = [
            (transit.city, switch.session.flows(Duty.STEER).wait)
            for transit in loop.world.plan.transits
            if (switch := loop.switches[transit.name]).connected
        ]
        for city, wait in asked:
            packets: Counter[int] = Counter()
            for count in openflow.count_flows(wait()):
                packets[count.number] += count.packets
            total = sum(packets[number] for number in self._services)
            self._meter.read(city, total, loop.clock.now_ns())
