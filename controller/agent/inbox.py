"""The lender's messages that reach one server's socket, each to the client that waits for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from controller.dhcp import SERVER_PORT, DhcpError, Kind, Message, parse
from topologies.plan import GATEWAY_ADDRESS

__all__ = ["LENDER", "MESSAGES", "Inbox"]

LOG = logging.getLogger("agent")
LENDER = (str(GATEWAY_ADDRESS), SERVER_PORT)
MESSAGES = 16
"""How many answers may wait for their client to read them; of more, the first ones."""


class Inbox(asyncio.DatagramProtocol):
    """Sorts by transaction id; what nobody waits for is dropped.

    A FORCERENEW has been waited for by nobody, and goes to ``forced``.
    """

    def __init__(self, forced: Callable[[Message], None]) -> None:
        self.dropped = 0
        self._forced = forced
        self._waiting: dict[int, asyncio.Queue[Message]] = {}

    @contextmanager
    def expecting(self, xid: int) -> Iterator[asyncio.Queue[Message]]:
        """The answers to a transaction, for as long as the block lasts."""
        answers = self._waiting[xid] = asyncio.Queue(MESSAGES)
        try:
            yield answers
        finally:
            del self._waiting[xid]

    def datagram_received(self, data: bytes, source: object) -> None:
        """Keep it if it is from the lender, a message, awaited, and there is room."""
        try:
            if source != LENDER:
                raise DhcpError(f"not from the lender but from {source}")
            message = parse(data)
            if message.kind is Kind.FORCERENEW:
                self._forced(message)
                return
            if message.xid not in self._waiting:
                raise DhcpError("nobody waits for it")
            self._waiting[message.xid].put_nowait(message)
        except (DhcpError, asyncio.QueueFull) as error:
            self.dropped += 1
            if self.dropped.bit_count() == 1:  # the 1st, 2nd, 4th, 8th ...
                cause = str(error) or "too many"
                LOG.warning("%d messages dropped, the last: %s", self.dropped, cause)
