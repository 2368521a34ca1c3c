"""What Ryu 4.34 needs to run on today's Python: the only place of such shims.

Call `prepare()` before anything of `ryu.base`, `ryu.lib.hub` or `ryu.app` is imported. It patches
the standard library for eventlet, so it belongs at the start of a controller process and nowhere
else. Modules that only need Ryu's constants (`ryu.ofproto`) do without.
"""

from __future__ import annotations

import os
import re
import sys
import types
import warnings
from functools import total_ordering
from typing import Any

__all__ = ["hear_all", "leave_bodies_unread", "make_importable", "prepare"]


def prepare() -> None:
    """Make this process fit for Ryu; once, first of all."""
    # Name look-ups are never made here; eventlet's own resolver costs half a second of imports.
    os.environ.setdefault("EVENTLET_NO_GREENDNS", "yes")
    warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")
    # Ryu compares integers with `is`; Python says so whenever it compiles those files anew.
    warnings.filterwarnings("ignore", category=SyntaxWarning, module=r".*\bryu\b.*")
    _stand_in_for_distutils()
    import eventlet

    eventlet.monkey_patch()
    make_importable()
    _serve_in_order()


def make_importable() -> None:
    """Let Ryu be imported, and no more: for a process that runs no controller."""
    _stand_in_for_distutils()
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


@total_ordering
class _LooseVersion:
    """As much of distutils' class as Ryu's Zebra module uses while it is imported."""

    def __init__(self, text: str) -> None:
        self.version = [int(number) for number in re.findall(r"\d+", text)]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _LooseVersion) and self.version == other.version

    def __lt__(self, other: _LooseVersion) -> bool:
        return self.version < other.version

    def __hash__(self) -> int:
        return hash(tuple(self.version))


def _stand_in_for_distutils() -> None:
    """Python 3.12 dropped distutils; setuptools' copy takes a third of a second to import."""
    if "distutils" in sys.modules:
        return
    package = types.ModuleType("distutils")
    version = types.ModuleType("distutils.version")
    package.version = version  # type: ignore[attr-defined]
    version.LooseVersion = _LooseVersion  # type: ignore[attr-defined]
    sys.modules["distutils"] = package
    sys.modules["distutils.version"] = version


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
