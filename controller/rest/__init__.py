"""What people and programs may ask of a running controller, as JSON over HTTP on loopback.

``network`` answers for what steers, ``leases`` for what is lent. What is refused is answered by a
problem in JSON (RFC 9457).
"""

from __future__ import annotations

from ryu.app.wsgi import WSGIApplication

from controller.app import Controller
from controller.rest.leases import LeaseDoors
from controller.rest.network import NetworkDoors

__all__ = ["application"]


def application(controller: Controller) -> WSGIApplication:
    """The WSGI application that answers for a controller."""
    made = WSGIApplication()
    for doors in (NetworkDoors, LeaseDoors):
        made.register(doors, {"controller": controller})
    return made
