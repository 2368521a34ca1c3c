"""Every frame on every link with its kernel timestamp, as one hash.

A packet socket in each namespace of hosts and switches takes what arrives there, so each frame
counts once for each link that it crosses, when it leaves that link. Loopback is not a link.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterable
from dataclasses import dataclass

from experiments.measure.kernel import ETH_P_ALL, frames, open_tap, packet_counts

__all__ = ["Capture", "CaptureError", "Digest"]

BUFFER_BYTES = 256 << 20
DRAIN_S = 0.5

_LOOPBACK = "lo"
_SOL_PACKET = 263
_PACKET_IGNORE_OUTGOING = 23


class CaptureError(RuntimeError):
    """Frames were missed, so that the hash would say nothing."""


@dataclass(frozen=True, slots=True)
class Digest:
    """How many frames crossed the links, and the SHA-256 of them all."""

    frames: int
    sha256: str


class Capture:
    """Captures from when it is made until it is closed.

    What it does costs no virtual time. In real time it would disturb what it watches.
    """

    def __init__(self, namespaces: Iterable[str]) -> None:
        """Raises FileNotFoundError if a namespace does not exist."""
        self._over = threading.Event()
        with contextlib.ExitStack() as opening:
            self._taps = [opening.enter_context(_Tap(name)) for name in namespaces]
            self._resources = opening.pop_all()
        self._thread = threading.Thread(target=self._drain, name="capture", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop, and let go of the sockets."""
        self._stop()
        self._resources.close()

    def digest(self) -> Digest:
        """Stop, and sum up. Raises CaptureError if the kernel dropped frames on the way to us."""
        self._stop()
        total, frames = hashlib.sha256(), 0
        for tap in self._taps:
            tap.drain()
            tap.check()
            total.update(f"{tap.namespace} {tap.frames} {tap.hash.hexdigest()}\n".encode())
            frames += tap.frames
        return Digest(frames, total.hexdigest())

    def _stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _drain(self) -> None:
        while not self._over.wait(DRAIN_S):
            for tap in self._taps:
                tap.drain()


class _Tap:
    """The socket in one namespace."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.frames = 0
        self.hash = hashlib.sha256()
        self._socket = open_tap(namespace, BUFFER_BYTES, ETH_P_ALL)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)

    def __enter__(self) -> _Tap:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def drain(self) -> None:
        """Take in what has arrived."""
        for frame, stamp, sender in frames(self._socket):
            if sender[0] == _LOOPBACK:
                continue
            self.hash.update(stamp + sender[0].encode().ljust(16, b"\0") + frame)
            self.frames += 1

    def check(self) -> None:
        """Raise CaptureError if the kernel dropped frames because the buffer was full."""
        _, dropped = packet_counts(self._socket)
        if dropped:
            raise CaptureError(f"{dropped} frames in {self.namespace} came too fast to be kept.")
