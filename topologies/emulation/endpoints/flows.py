"""A socket for every flow of datagrams, as QUIC servers have it: the kernel knows who has which.

Servers of the second chance (``topologies.emulation.second_chance``) ask the kernel's sockets
whether a flow is theirs. One socket that takes the datagrams of everybody cannot tell; connected
ones can.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass

from topologies.emulation import netns
from topologies.emulation.endpoints.datagram import (
    Answer,
    Datagram,
    answer_one,
    answer_with,
    tell_reached,
    waiting,
)

__all__ = ["IDLE_S", "MOST", "Flows"]

IDLE_S = 60.0
"""A flow that has been silent for so long is over."""

MOST = 4096
"""Flows of one port of a host; those beyond are answered without a socket of their own."""

_Ends = tuple[str, int, str]
"""A client's address and port, and the address that it has reached."""


@dataclass(slots=True)
class _Flow:
    sock: socket.socket
    heard_s: float


class Flows:
    """Answers the datagrams that come to a bound, non-blocking socket: flow by flow, until closed.

    Runs in the event loop that runs when it is made; ``host`` is the namespace of ``listening``.
    """

    def __init__(self, listening: socket.socket, answer: Answer, host: str) -> None:
        self._listening, self._answer, self._host = listening, answer, host
        self._flows: dict[_Ends, _Flow] = {}
        self._loop = asyncio.get_running_loop()
        tell_reached(listening)
        self._loop.add_reader(listening, self._arrive)

    def close(self) -> None:
        """Forget every flow. The bound socket stays open, and is no longer read."""
        self._loop.remove_reader(self._listening)
        for ends in list(self._flows):
            self._end(ends)

    def _arrive(self) -> None:
        for datagram in waiting(self._listening):
            self._take(datagram)

    def _take(self, datagram: Datagram) -> None:
        """Answer what came to the bound socket: the first of a flow, or one close behind it."""
        reached = datagram.reached
        if reached is None:
            return
        ends = (*datagram.sender[:2], reached)
        flow = self._flows.get(ends) or self._begin(ends, datagram)
        if flow is None:
            answer_one(self._listening, self._answer, datagram)
        else:
            flow.heard_s = self._loop.time()
            answer_with(flow.sock, self._answer, datagram)

    def _begin(self, ends: _Ends, datagram: Datagram) -> _Flow | None:
        """A socket that only this flow's datagrams reach; None if there can be no more."""
        if len(self._flows) >= MOST:
            return None
        try:
            sock = self._connected(ends, datagram)
        except OSError:  # no way back, no more files: it is answered all the same, or lost
            return None
        flow = self._flows[ends] = _Flow(sock, self._loop.time())
        self._loop.add_reader(sock, self._go_on, ends, flow)
        self._loop.call_later(IDLE_S, self._look, ends, flow)
        return flow

    def _connected(self, ends: _Ends, datagram: Datagram) -> socket.socket:
        with netns.inside(self._host):
            sock = socket.socket(self._listening.family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tell_reached(sock)
            sock.bind((ends[2], self._listening.getsockname()[1]))
            sock.connect(datagram.sender)
        except OSError:
            sock.close()
            raise
        return sock

    def _go_on(self, ends: _Ends, flow: _Flow) -> None:
        """Answer what came to a flow's socket: of others, too, before it was connected."""
        flow.heard_s = self._loop.time()
        for datagram in waiting(flow.sock):
            if datagram.sender[:2] == ends[:2]:
                answer_with(flow.sock, self._answer, datagram)
            else:
                self._take(datagram)

    def _look(self, ends: _Ends, flow: _Flow) -> None:
        """End a flow that is silent, or look again when it may be."""
        if self._flows.get(ends) is not flow:
            return
        left_s = flow.heard_s + IDLE_S - self._loop.time()
        if left_s > 0:
            self._loop.call_later(left_s, self._look, ends, flow)
        else:
            self._end(ends)

    def _end(self, ends: _Ends) -> None:
        flow = self._flows.pop(ends)
        self._loop.remove_reader(flow.sock)
        flow.sock.close()
