"""Files of captured frames that Wireshark opens: pcapng (draft-ietf-opsawg-pcapng), pure.

One file holds the frames of several interfaces, each with its name; times are nanoseconds since
1970. Numbers are in this machine's byte order, as the format wants it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from enum import IntEnum

__all__ = ["Direction", "frame", "header", "statistics"]

_SECTION, _INTERFACE, _STATISTICS, _PACKET = 0x0A0D0D0A, 1, 5, 6
_BYTE_ORDER = 0x1A2B3C4D
_LENGTH_UNKNOWN = 0xFFFF_FFFF_FFFF_FFFF
_ETHERNET = 1
_END = (0, b"")
_NAME, _RESOLUTION = 2, 9
_FLAGS = 2
_RECEIVED, _DROPPED = 4, 5


class Direction(IntEnum):
    """Which way a frame went at an interface; the values are those of the format."""

    INBOUND = 1
    OUTBOUND = 2


def header(interfaces: Iterable[str]) -> bytes:
    """What a file begins with: interfaces are then known by their place, from 0."""
    section = struct.pack("=IHHQ", _BYTE_ORDER, 1, 0, _LENGTH_UNKNOWN)
    return _block(_SECTION, section) + b"".join(map(_interface, interfaces))


def frame(interface: int, at_ns: int, direction: Direction, data: bytes) -> bytes:
    """One frame, whole."""
    high, low = at_ns >> 32, at_ns & 0xFFFF_FFFF
    head = struct.pack("=IIIII", interface, high, low, len(data), len(data))
    flags = _options((_FLAGS, struct.pack("=I", direction)))
    return _block(_PACKET, head + _padded(data) + flags)


def statistics(interface: int, at_ns: int, received: int, dropped: int) -> bytes:
    """At the end: how many frames there were, and how many of them came too fast to be kept."""
    head = struct.pack("=III", interface, at_ns >> 32, at_ns & 0xFFFF_FFFF)
    counts = ((_RECEIVED, struct.pack("=Q", received)), (_DROPPED, struct.pack("=Q", dropped)))
    return _block(_STATISTICS, head + _options(*counts))


def _interface(name: str) -> bytes:
    head = struct.pack("=HHI", _ETHERNET, 0, 0)  # frames of any length
    return _block(_INTERFACE, head + _options((_NAME, name.encode()), (_RESOLUTION, b"\x09")))


def _block(kind: int, body: bytes) -> bytes:
    length = 12 + len(body)
    return struct.pack("=II", kind, length) + body + struct.pack("=I", length)


def _options(*pairs: tuple[int, bytes]) -> bytes:
    return b"".join(
        struct.pack("=HH", code, len(value)) + _padded(value) for code, value in (*pairs, _END)
    )


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
