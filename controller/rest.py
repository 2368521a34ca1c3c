"""What people and programs may ask of a running controller, as JSON over HTTP on loopback.

GET  /v1/status
GET  /v1/leases
GET  /v1/counters                            live from the switches
POST /v1/leases/{address}/{psid}/revoke

What is refused is answered by a problem in JSON (RFC 9457).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from ipaddress import AddressValueError, IPv4Address
from typing import Any

from ryu.app.wsgi import ControllerBase, WSGIApplication, route
from webob import Response

from controller import openflow
from controller.app import Controller
from controller.core.lending import Lease, LeaseState, LendingError
from controller.session import SwitchError
from controller.store import StoreError

__all__ = ["application"]

Answer = dict[str, Any] | list[Any]


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


def _port_set(text: str, bits: int) -> int:
    """The number of a port set in a path. Raises ValueError for one that no address has."""
    most = (1 << bits) - 1
    number = int(text) if text.isascii() and text.isdecimal() and len(text) <= 5 else -1
    if not 0 <= number <= most:
        raise ValueError(f"there is no port set {text!r}: they are numbered 0 to {most}")
    return number


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

    @route("revoke", "/v1/leases/{address}/{psid}/revoke", methods=["POST"])  # type: ignore[untyped-decorator]
    def revoke(self, _request: Any, address: str, psid: str, **_: Any) -> Response:
        """Take a port set away from its holder."""
        try:
            lender = self._controller.lender
            number = _port_set(psid, lender.book.port_set_bits)
            lease = lender.revoke(IPv4Address(address), number)
        except (AddressValueError, ValueError) as error:
            return _refuse(400, error)
        except LendingError as error:
            return _refuse(409, error)
        except StoreError as error:
            return _refuse(503, error)
        return _json(_lease(self._controller, lease))


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


def leases(controller: Controller) -> Answer:
    """See the class."""
    entries = controller.lender.book.entries()
    return [_lease(controller, lease) for lease in entries if lease.state is not LeaseState.FREE]


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
        "epoch": lease.epoch,
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
