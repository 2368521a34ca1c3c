"""What people and programs may ask of a running controller, as JSON over HTTP on loopback.

``network`` answers for what steers, ``leases`` for what is lent, ``metrics`` tells Prometheus of
both. What is refused is answered by a problem in JSON (RFC 9457). With a token, only who knows it
is answered (``token``). A controller that does not lead tells who does (``standby``).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ryu.app.wsgi import WSGIApplication

from controller.app import Controller
from controller.rest.known import Known
from controller.rest.leases import LeaseDoors
from controller.rest.metrics import MetricsDoors
from controller.rest.network import NetworkDoors
from controller.rest.standby import Standby
from controller.rest.token import Application, Guarded

__all__ = ["Doors", "Standby", "application"]


class Doors:
    """The WSGI application of a process: its controller's when it leads, a standby's before."""

    def __init__(self, standby: Standby, token: str | None = None) -> None:
        self._token = token
        self._now = _guarded(standby, token)

    def lead(self, controller: Controller) -> None:
        """Answer for a controller from now on."""
        self._now = application(controller, self._token)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer as WSGI wants it."""
        return self._now(environ, start_response)


def application(controller: Controller, token: str | None = None) -> Application:
    """The WSGI application that answers for a controller."""
    made = WSGIApplication()
    for doors in (NetworkDoors, LeaseDoors, MetricsDoors):
        made.register(doors, {"controller": controller})
    return _guarded(Known(made), token)


def _guarded(application: Application, token: str | None) -> Application:
    return application if token is None else Guarded(application, token)
