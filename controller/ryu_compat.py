"""What Ryu 4.34 needs to run on today's Python: the only place of such shims.

Call `prepare()` before anything of `ryu.base`, `ryu.lib.hub` or `ryu.app` is imported. It patches
the standard library for eventlet, so it belongs at the start of a controller process and nowhere
else. Modules that only need Ryu's constants (`ryu.ofproto`) do without.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any

from topologies import no_distutils

__all__ = ["hear_all", "leave_bodies_unread", "make_importable", "prepare"]


def prepare() -> None:
    """Make this process fit for Ryu; once, first of all."""
    # Name look-ups are never made here; eventlet's own resolver costs half a second of imports.
    os.environ.setdefault("EVENTLET_NO_GREENDNS", "yes")
    warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")
    # Ryu compares integers with `is`; Python says so whenever it compiles those files anew.
    warnings.filterwarnings("ignore", category=SyntaxWarning, module=r".*\bryu\b.*")
    no_distutils.stand_in()
    import eventlet

    eventlet.monkey_patch()
    make_importable()
    _serve_in_order()


def make_importable() -> None:
    """Let Ryu be imported, and no more: for a process that runs no controller."""
    no_distutils.stand_in()
    import eventlet.wsgi

    # Ryu's wsgi still answers with this constant, which eventlet dropped in 0.31.
    if not hasattr(eventlet.wsgi, "ALREADY_HANDLED"):
        eventlet.wsgi.ALREADY_HANDLED = []


def _serve_in_order() -> None:
    """What eventlet keeps in sets comes in the order of addresses in memory, another in each run.

    Ready connections are served by number instead, and those who wait for one event as they came.
    """
    from eventlet.event import Event
    from eventlet.hubs.hub import FdListener

    FdListener.__hash__ = lambda listener: hash(listener.fileno)
    begin = Event.__init__

    def begin_in_order(event: Event) -> None:
        begin(event)
        event._waiters = _Queue()

    Event.__init__ = begin_in_order


class _Queue(dict[object, None]):
    """As much of a set as ``Event`` uses, in the order in which things came."""

    def add(self, thing: object) -> None:
        self[thing] = None

    def discard(self, thing: object) -> None:
        self.pop(thing, None)


def hear_all(app: Any) -> None:
    """Let events wait in a Ryu application, however many: Ryu's queue takes 128.

    The rest would wait in the sockets, where nobody sees which of them matter: a REQUEST behind
    hundreds of DISCOVERs. What comes is bounded elsewhere: switches meter what they hand up.
    """
    from ryu.lib import hub

    app.events = hub.Queue()
    app._events_sem = hub.Semaphore(sys.maxsize)


class _Unread:
    """The whole body of a multipart reply, left as it is."""

    def __init__(self, length: int) -> None:
        self.length = length

    @classmethod
    def parser(cls, buffer: bytes, offset: int) -> _Unread:
        """What Ryu calls to take one entry: we take all that is left."""
        return cls(len(buffer) - offset)


def leave_bodies_unread() -> None:
    """Keep Ryu from parsing flow and group descriptions: `openflow` reads them 20 times faster.

    The bytes are in the message's ``buf``.
    """
    from ryu.ofproto import ofproto_v1_3_parser as parser

    parser.OFPFlowStatsReply.cls_stats_body_cls = _Unread
    parser.OFPGroupDescStatsReply.cls_stats_body_cls = _Unread
