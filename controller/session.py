"""One connection to one switch: requests out, replies matched to them by transaction id.

Everything here runs on eventlet: a wait lets other work go on. Messages leave in the order of
the calls, and OpenFlow's barriers make the switch keep that order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import eventlet
from eventlet.event import Event
from ryu.ofproto import ofproto_v1_3 as ofp

from controller import openflow
from controller.core.reconcile import Change
from controller.core.rules import Duty

__all__ = ["Pending", "Session", "SwitchError"]

ANSWER_S = 10.0
"""How long a switch may take to answer; a silent one is as good as gone."""

_BODY = 16  # bytes before the body of a multipart message


class SwitchError(Exception):
    """A switch went away, kept silent, or refused; the message says which and what."""


Done = Callable[["SwitchError | None"], None]


class Pending:
    """A reply that is still to come: covers a run of transaction ids, ends at the last.

    ``done`` is called when it has come, with the error if it is one.
    """

    def __init__(
        self,
        name: str,
        first: int,
        last: int,
        changes: Sequence[Change] = (),
        done: Done = lambda _error: None,
    ) -> None:
        self.name = name
        self.first = first
        self.last = last
        self.changes = changes
        self.body = b""
        self._done = done
        self._event = Event()
        self._patience = eventlet.spawn_after(ANSWER_S, self._expire)

    def finish(self, error: SwitchError | None = None) -> None:
        """Let the waiters go on, with an error or without; the first call counts."""
        if self._event.ready():
            return
        self._patience.cancel()
        if error is None:
            self._event.send(self.body)
        else:
            self._event.send_exception(error)
        self._done(error)

    def _expire(self) -> None:
        self.finish(SwitchError(f"{self.name} did not answer in time"))

    def wait(self) -> bytes:
        """The reply's body once it is complete. Raises SwitchError."""
        body: bytes = self._event.wait()
        return body


class Session:
    """A live connection. ``datapath`` is Ryu's; its socket and xid counter are shared with Ryu."""

    def __init__(self, name: str, datapath: Any) -> None:
        self.name = name
        self.datapath = datapath
        self.leads = False
        """Whether the switch has made us its master; before that, nothing is sent out of it."""
        self._pending: dict[int, Pending] = {}  # by last xid
        self._bundles = count(1)

    def _expect(
        self,
        xids: int,
        changes: Sequence[Change] = (),
        done: Done = lambda _error: None,
    ) -> Pending:
        first = self.datapath.xid + 1
        if first + xids > openflow.MAX_XID:
            first = 1
        last = first + xids - 1
        self.datapath.xid = last
        pending = Pending(self.name, first, last, changes, done)
        self._pending[last] = pending
        return pending

    def _send(self, data: bytes) -> None:
        if not self.datapath.send(data):
            raise SwitchError(f"{self.name} is not connected")

    def lead(self, generation: int) -> Pending:
        """Ask to be the switch's master, which makes a slave of the one before.

        It refuses when a later generation has asked it.
        """

        def done(error: SwitchError | None) -> None:
            self.leads = error is None

        pending = self._expect(1, done=done)
        asked = openflow.role_request(ofp.OFPCR_ROLE_MASTER, generation, pending.last)
        self._send(asked + openflow.everything_to_the_leader(0))
        return pending

    def flows(self, duty: Duty | None = None, *, anybodys: bool = False) -> Pending:
        """Ask for our flows, or those of one duty, or everybody's.

        The reply's body is for `openflow.read_flows` or `count_flows`.
        """
        pending = self._expect(1)
        self._send(openflow.flows_request(pending.last, duty, anybodys=anybodys))
        return pending

    def groups(self) -> Pending:
        """Ask for the groups; the reply's body is for `openflow.read_groups`."""
        pending = self._expect(1)
        self._send(openflow.groups_request(pending.last))
        return pending

    def change(self, changes: Sequence[Change], done: Done, wipe: bool = False) -> Pending:
        """Send one atomic bundle closed by a barrier; done when the barrier is answered.

        ``wipe`` first deletes our flows and every group, inside the same bundle. If the switch
        refuses any part, nothing has changed; then, and if it goes away, ``done`` gets the error.
        """
        pending = self._expect(len(changes) + 3, changes, done)
        control, messages = pending.first, []
        if wipe:
            messages.append(openflow.delete_our_flows(pending.last - 1))
            messages.append(openflow.delete_all_groups(pending.last - 1))
        for xid, change in enumerate(changes, control + 1):
            messages.append(openflow.encode(change, xid))
        data = openflow.bundle(messages, next(self._bundles) & 0xFFFFFFFF, control)
        self._send(data + openflow.barrier(pending.last))
        return pending

    def packet_out(self, port: int | None, frame: bytes) -> None:
        """Send a frame out of a port, or through the tables.

        Raises SwitchError, also before we are the switch's master.
        """
        if not self.leads:
            raise SwitchError(f"{self.name} has not made us its master")
        self._send(openflow.packet_out(port, frame, 0))

    # -- what Ryu hands over

    def on_done(self, xid: int) -> None:
        """The reply to a barrier came, or to a wish for a role."""
        self._finish(xid)

    def on_multipart(self, message: Any) -> None:
        """A part of a flow or group description came."""
        pending = self._pending.get(message.xid)
        if pending is None:
            return
        pending.body += bytes(message.buf[_BODY:])
        if not message.flags & ofp.OFPMPF_REPLY_MORE:
            self._finish(message.xid)

    def on_error(self, message: Any) -> str:
        """A switch refused something; says what, and tells whoever waits for it."""
        text = (
            f"{self.name} refused: {ofp.ofp_error_type_to_str(message.type)} "
            f"{ofp.ofp_error_code_to_str(message.type, message.code)}"
        )
        for pending in list(self._pending.values()):
            if pending.first <= message.xid <= pending.last:
                at = message.xid - pending.first - 1
                if 0 <= at < len(pending.changes):
                    text += f" on {pending.changes[at]}"
                self._finish(pending.last, SwitchError(text))
        return text

    def on_gone(self) -> None:
        """The connection has ended: nobody will answer."""
        for last in list(self._pending):
            self._finish(last, SwitchError(f"{self.name} went away"))

    def _finish(self, last: int, error: SwitchError | None = None) -> None:
        pending = self._pending.pop(last, None)
        if pending is not None:
            pending.finish(error)
