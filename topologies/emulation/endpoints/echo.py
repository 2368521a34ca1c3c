"""UDP echo (RFC 862)."""

from __future__ import annotations

__all__ = ["ECHO_PORT", "echo"]

ECHO_PORT = 7


def echo(data: bytes, port: int) -> bytes | None:
    """The same again; nothing to the echo port: two servers would answer each other for ever."""
    return None if port == ECHO_PORT else data
