"""What people and programs may ask of a running controller, as JSON over HTTP on loopback.

``network`` answers for what steers, ``leases`` for what is lent, ``metrics`` tells Prometheus of
both. What is refused is answered by a problem in JSON (RFC 9457). With a token, only who knows it
is answered (``token``).
"""

from __future__ import annotations

from ryu.app.wsgi import WSGIApplication

from controller.app import Controller
from controller.rest.known import Known
from controller.rest.leases import LeaseDoors
from controller.rest.metrics import MetricsDoors
from controller.rest.network import NetworkDoors
from controller.rest.token import Application, Guarded

__all__ = ["application"]


def application(controller: Controller, token: str | None = None) -> Application:
    """The WSGI application that answers for a controller."""
    made = WSGIApplication()
    for doors in (NetworkDoors, LeaseDoors, MetricsDoors):
        made.register(doors, {"controller": controller})
    known = Known(made)
    return known if token is None else Guarded(known, token)
