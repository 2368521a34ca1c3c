"""What people and programs may ask of a running controller, as JSON over HTTP on loopback.

GET  /v1/status
GET  /v1/leases
GET  /v1/counters                            live from the switches
GET  /v1/world                               what steers: policy, PoPs, servers, ports, metrics
GET  /v1/events?after=N&wait=S               the log after record N; waits S seconds for news
POST /v1/events                              one event of those that people may let happen;
                                             answered when the switches have confirmed it
POST /v1/leases/{address}/{port}/revoke      the port set that this port belongs to

What is refused is answered by a problem in JSON (RFC 9457).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from ipaddress import AddressValueError, IPv4Address
from typing import Any

import eventlet
from eventlet.greenthread import GreenThread
from ryu.app.wsgi import ControllerBase, WSGIApplication, route
from webob import Response

from controller import openflow
from controller.app import Controller
from controller.core.events import (
    Event,
    LeaseChanged,
    Note,
    PortStatus,
    SwitchSet,
    dump,
    parse,
)
from controller.core.lease import Lease, LendingError
from controller.loop import FORCE_S
from controller.session import SwitchError
from controller.store import Record, StoreError
from topologies.plan import HostRole

__all__ = ["application"]

Answer = dict[str, Any] | list[Any]

LONGEST_WAIT_S = 60
LONGEST_EVENT = 4096


def application(controller: Controller) -> WSGIApplication:
    """The WSGI application that answers for a controller."""
    made = WSGIApplication()
    made.register(Doors, {"controller": controller})
    return made


def _json(answer: Answer, status: int = 200) -> Response:
    body = json.dumps(answer, indent=1).encode() + b"\n"
    return Response(status=status, content_type="application/json", charset="utf-8", body=body)


def _refuse(status: int, error: object) -> Response:
    """A problem: its status and what is wrong."""
    refused = _json({"status": status, "detail": str(error)}, status)
    refused.content_type = "application/problem+json"
    return refused


def _number(text: str, name: str, most: int) -> int:
    """A number in a path or a query. Raises ValueError."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 16 and int(text) <= most):
        raise ValueError(f"{name} is a whole number from 0 to {most}, not {text!r}")
    return int(text)


def _is_confirmed(following: GreenThread | None) -> bool:
    """Whether every switch that is there confirms a change within a few seconds."""
    if following is None:
        return True
    with eventlet.Timeout(FORCE_S, False):
        following.wait()
    return bool(following.dead)


def _by_hand(body: bytes) -> Event | Note:
    """The event in a request. Raises ValueError for what only the network itself can tell."""
    if len(body) > LONGEST_EVENT:
        raise ValueError(f"an event has at most {LONGEST_EVENT} bytes")
    data = json.loads(body)
    if not isinstance(data, dict):
        raise ValueError("an event is one JSON object")
    event = parse(data)
    if isinstance(event, LeaseChanged | PortStatus | SwitchSet):
        raise ValueError(f"{type(event).__name__} is told by the network, not by hand")
    return event


class Doors(ControllerBase):
    """One instance answers one request; Ryu makes it."""

    def __init__(self, request: Any, link: Any, data: dict[str, Any], **config: Any) -> None:
        super().__init__(request, link, data, **config)
        self._controller: Controller = data["controller"]

    @route("status", "/v1/status", methods=["GET", "HEAD"])  # type: ignore[untyped-decorator]
    def status(self, _request: Any, **_: Any) -> Response:
        """Whether every switch is connected and programmed."""
        return _json(status(self._controller))

    @route("leases", "/v1/leases", methods=["GET", "HEAD"])  # type: ignore[untyped-decorator]
    def leases(self, _request: Any, **_: Any) -> Response:
        """Every port set that is not free."""
        return _json(leases(self._controller))

    @route("counters", "/v1/counters", methods=["GET", "HEAD"])  # type: ignore[untyped-decorator]
    def counters(self, _request: Any, **_: Any) -> Response:
        """Packets and bytes by switch and duty, read from the switches now."""
        try:
            return _json(counters(self._controller))
        except SwitchError as error:
            return _refuse(503, error)

    @route("world", "/v1/world", methods=["GET", "HEAD"])  # type: ignore[untyped-decorator]
    def world(self, _request: Any, **_: Any) -> Response:
        """What the switches' rules depend on, but for leases."""
        return _json(world(self._controller))

    @route("events", "/v1/events", methods=["GET", "HEAD"])  # type: ignore[untyped-decorator]
    def events(self, request: Any, **_: Any) -> Response:
        """The log: what happened, in order."""
        try:
            after = _number(request.GET.get("after", "0"), "after", 1 << 53)
            wait_s = _number(request.GET.get("wait", "0"), "wait", LONGEST_WAIT_S)
            return _json([_record(x) for x in self._controller.loop.records(after, wait_s)])
        except ValueError as error:
            return _refuse(400, error)
        except StoreError as error:
            return _refuse(503, error)

    @route("happen", "/v1/events", methods=["POST"])  # type: ignore[untyped-decorator]
    def happen(self, request: Any, **_: Any) -> Response:
        """Let an event happen, or note something."""
        loop = self._controller.loop
        try:
            event = _by_hand(request.body)
            if isinstance(event, Note):
                loop.note(event)
                loop.flush()
                following = None
            else:
                following = loop.happen(event)
        except ValueError as error:
            return _refuse(400, error)
        except StoreError as error:
            return _refuse(503, error)
        return _json(dump(event) | {"confirmed": _is_confirmed(following)}, 201)

    @route("revoke", "/v1/leases/{address}/{port}/revoke", methods=["POST"])  # type: ignore[untyped-decorator]
    def revoke(self, _request: Any, address: str, port: str, **_: Any) -> Response:
        """Take a port set away from its holder."""
        try:
            lender = self._controller.lender
            number = _number(port, "port", 0xFFFF)
            lease, following = lender.revoke(IPv4Address(address), number)
        except (AddressValueError, ValueError) as error:
            return _refuse(400, error)
        except LendingError as error:
            return _refuse(409, error)
        except StoreError as error:
            return _refuse(503, error)
        return _json(_lease(self._controller, lease) | {"confirmed": _is_confirmed(following)})


def status(controller: Controller) -> Answer:
    """See the class."""
    return {
        "ready": controller.ready,
        "fault": controller.loop.fault,
        "started": controller.started.isoformat(),
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
    now, plan = controller.loop.world, controller.loop.world.plan
    return {
        "policy": now.policy.value,
        "overrides": dict(sorted(now.overrides.items())),
        "pops": {edge.city: now.pop_state(edge.city).value for edge in plan.edges},
        "ranking": {city: list(pops) for city, pops in controller.loop.ranking.items()},
        "servers": {s.name: now.weight(s.name) for s in plan.hosts_of(HostRole.SERVER)},
        "sick": sorted(now.sick),
        "down": [f"{switch} port {port}" for switch, port in sorted(now.down)],
        "metrics": {str(link): delay_ns for link, delay_ns in sorted(now.metrics.items())},
    }


def _record(record: Record) -> dict[str, Any]:
    return {
        "number": record.number,
        "at_ns": record.at_ns,
        "monotonic_ns": record.monotonic_ns,
        **dump(record.event),
    }


def leases(controller: Controller) -> Answer:
    """See the class."""
    return [_lease(controller, lease) for lease in controller.lender.book.entries()]


def _lease(controller: Controller, lease: Lease) -> dict[str, Any]:
    return {
        "address": str(lease.address),
        "psid": lease.psid,
        "psid_bits": lease.psid_bits,
        "first_port": lease.first_port,
        "last_port": lease.last_port,
        "server": lease.server,
        "pop": lease.pop,
        "tag": lease.tag,
        "state": lease.state.value,
        "home": lease.home,
        "client_id": lease.client_id,
        "number": lease.number,
        "expires_in_s": round(controller.lender.seconds_left(lease), 3),
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
        totals = found.setdefault(count.duty.name.lower(), {"packets": 0, "bytes": 0})
        totals["packets"] += count.packets
        totals["bytes"] += count.bytes
    return found
