"""DNS over TCP (RFC 7766): each message behind its length; many may be under way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["DnsStream"]

_LENGTH = 2


class DnsStream(asyncio.Protocol):
    """One connection; it is one of ``connections``. What gets no ``answer`` ends it."""

    def __init__(
        self, answer: Callable[[bytes], bytes | None], connections: set[asyncio.Transport]
    ) -> None:
        self._answer = answer
        self._connections = connections
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is one of them."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connections.add(transport)

    def connection_lost(self, error: Exception | None) -> None:
        """It is no longer one of them."""
        del error
        self._connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        """Take bytes in, and answer what is whole, in order."""
        self._buffer += data
        while not self._transport.is_closing():
            end = _LENGTH + int.from_bytes(self._buffer[:_LENGTH], "big")
            if len(self._buffer) < end:
                return
            message = bytes(self._buffer[_LENGTH:end])
            del self._buffer[:end]
            answered = self._answer(message)
            if answered is None:
                self._transport.close()
            else:
                self._transport.write(len(answered).to_bytes(_LENGTH, "big") + answered)

    def pause_writing(self) -> None:
        """Take no more questions while the client is slow."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        self._transport.resume_reading()
