"""The network as the controller sees it.

GET  /v1/status
GET  /v1/counters                            live from the switches
GET  /v1/world                               what steers: policy, PoPs, servers, ports, metrics
GET  /v1/cities/CITY                         which PoP serves a city, and why
GET  /v1/events?after=N&wait=S               the log after record N; waits S seconds for news
GET  /v1/openapi.json                        all of this and lending, as OpenAPI 3.1
POST /v1/events                              one event of those that people may let happen;
                                             answered when the switches have confirmed it
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ryu.app.wsgi import ControllerBase, route
from webob import Response

from controller import openflow
from controller.app import Controller
from controller.core.describing import describe_world
from controller.core.events import (
    CityConverged,
    CityHeld,
    CityMoved,
    Event,
    HealthSeen,
    LeaderSet,
    LeaseChanged,
    Note,
    PortStatus,
    ShedSet,
    SwitchSet,
    dump,
    parse,
)
from controller.core.steering.why import why
from controller.rest.answers import (
    Answer,
    NotFoundError,
    answer,
    is_confirmed,
    number,
    read_object,
    refusing,
)
from controller.store import Record

LONGEST_WAIT_S = 60
OPENAPI = Path(__file__).with_name("openapi.json")


TOLD = (
    LeaseChanged
    | PortStatus
    | HealthSeen
    | ShedSet
    | CityMoved
    | CityHeld
    | CityConverged
    | SwitchSet
    | LeaderSet
)
"""What only the network itself can tell."""


def _by_hand(body: bytes) -> Event | Note:
    """The event in a request. Raises ValueError for what only the network itself can tell."""
    event = parse(read_object(body))
    if isinstance(event, TOLD):
        raise ValueError(f"{type(event).__name__} is told by the network, not by hand")
    return event


class NetworkDoors(ControllerBase):
    """One instance answers one request; Ryu makes it."""

    def __init__(self, request: Any, link: Any, data: dict[str, Any], **config: Any) -> None:
        super().__init__(request, link, data, **config)
        self._controller: Controller = data["controller"]

    @route("status", "/v1/status", methods=["GET", "HEAD"])  # type: ignore[untyped-decorator]
    def status(self, _request: Any, **_: Any) -> Response:
        """Whether every switch is connected and programmed."""
        return answer(status(self._controller))

    @route("openapi", "/v1/openapi.json", methods=["GET", "HEAD"])  # type: ignore[untyped-decorator]
    def openapi(self, _request: Any, **_: Any) -> Response:
        """What may be asked, for machines."""
        return answer(json.loads(OPENAPI.read_text()))

    @route("counters", "/v1/counters", methods=["GET", "HEAD"])  # type: ignore[untyped-decorator]
    @refusing
    def counters(self, _request: Any, **_: Any) -> Response:
        """Rules, packets and bytes by switch and duty, read from the switches now."""
        return answer(counters(self._controller))

    @route("world", "/v1/world", methods=["GET", "HEAD"])  # type: ignore[untyped-decorator]
    def world(self, _request: Any, **_: Any) -> Response:
        """What the switches' rules depend on, but for leases."""
        return answer(world(self._controller))

    @route("city", "/v1/cities/{city}", methods=["GET", "HEAD"])  # type: ignore[untyped-decorator]
    @refusing
    def city(self, _request: Any, city: str, **_: Any) -> Response:
        """Which PoP serves a city, and what the policy thought of every PoP."""
        return answer(choices(self._controller, city))

    @route("events", "/v1/events", methods=["GET", "HEAD"])  # type: ignore[untyped-decorator]
    @refusing
    def events(self, request: Any, **_: Any) -> Response:
        """The log: what happened, in order."""
        after = number(request.GET.get("after", "0"), "after", 1 << 53)
        wait_s = number(request.GET.get("wait", "0"), "wait", LONGEST_WAIT_S)
        return answer([_record(x) for x in self._controller.loop.records(after, wait_s)])

    @route("happen", "/v1/events", methods=["POST"])  # type: ignore[untyped-decorator]
    @refusing
    def happen(self, request: Any, **_: Any) -> Response:
        """Let an event happen, or note something."""
        loop = self._controller.loop
        event = _by_hand(request.body)
        following = None
        if isinstance(event, Note):
            loop.write(event)
        else:
            following = loop.happen(event)
        return answer(dump(event) | {"confirmed": is_confirmed(following)}, 201)


def status(controller: Controller) -> Answer:
    """See the class."""
    return {
        "ready": controller.ready,
        "fault": controller.loop.fault,
        "started": controller.started.isoformat(),
        "leader": asdict(controller.store.leader),
        "packet_ins": controller.counts["packet_ins"],
        "changes": sum(switch.changes for switch in controller.switches.values()),
        "counts": dict(controller.counts),
        "switches": {
            name: {
                "connected": switch.connected,
                "programmed": switch.programmed,
                "rules": switch.rules,
                "groups": switch.groups,
                "behind": switch.behind,
            }
            for name, switch in controller.switches.items()
        },
    }


def world(controller: Controller) -> Answer:
    """See the class."""
    loads = {pop: round(load, 1) for pop, load in controller.shedder.loads.items()}
    return describe_world(controller.loop.world, controller.loop.ranking) | {"loads": loads}


def choices(controller: Controller, city: str) -> Answer:
    """See the class. Raises NotFoundError."""
    now = controller.loop.world
    if city not in {transit.city for transit in now.plan.transits}:
        raise NotFoundError(f"{now.plan.network.name} has no city {city}")
    return {
        "city": city,
        "policy": now.policy.value,
        "override": now.overrides.get(city),
        "pops": [asdict(choice) for choice in why(now, city)],
    }


def _record(record: Record) -> dict[str, Any]:
    return {
        "number": record.number,
        "at_ns": record.at_ns,
        "monotonic_ns": record.monotonic_ns,
        **dump(record.event),
    }


def counters(controller: Controller) -> Answer:
    """See the class. Raises SwitchError."""
    asked: list[tuple[str, Callable[[], bytes]]] = [
        (name, switch.session.flows().wait)
        for name, switch in controller.switches.items()
        if switch.connected
    ]
    return {name: _by_duty(wait()) for name, wait in asked}


def _by_duty(body: bytes) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for count in openflow.count_flows(body):
        nothing = {"rules": 0, "packets": 0, "bytes": 0}
        totals = found.setdefault(count.duty.name.lower(), nothing)
        totals["rules"] += 1
        totals["packets"] += count.packets
        totals["bytes"] += count.bytes
    return found
