"""Work inside a network namespace without starting a process for it.

A socket belongs to the namespace in which it was made, so one program can hold sockets in
hundreds of hosts. ``setns`` acts on the calling thread only; the block must not yield to an
event loop, and it always returns the thread to where it was.
"""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

NETNS_FOLDER = Path("/run/netns")
"""Where `ip netns` looks; inside a sandbox it is a private tmpfs."""

CLONE_NEWNET = 0x40000000
MS_BIND = 0x1000

Entering = AbstractContextManager[None]
"""What ``inside`` gives: a block in a namespace."""

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def path(name: str) -> Path:
    """The file that stands for the namespace called ``name``."""
    return NETNS_FOLDER / name


@contextmanager
def inside(name: str) -> Iterator[None]:
    """Run the block in the network namespace called ``name``, or at that path.

    Raises FileNotFoundError if there is none, OSError if the kernel refuses.
    """
    with open("/proc/thread-self/ns/net") as here, open(path(name)) as there:
        _check(_libc.setns(there.fileno(), CLONE_NEWNET), f"setns {name}")
        try:
            yield
        finally:
            _check(_libc.setns(here.fileno(), CLONE_NEWNET), "setns back")


def open_socket(name: str, family: int, kind: int, protocol: int = 0) -> socket.socket:
    """A non-blocking socket of the namespace called ``name``. Raises as ``inside``."""
    with inside(name):
        return socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)


def leave() -> None:
    """Move the calling thread into a fresh network namespace, which ends with the thread.

    Raises OSError if the kernel refuses.
    """
    _check(_libc.unshare(CLONE_NEWNET), "unshare the network")


def create(name: str) -> None:
    """Make a network namespace called ``name``, visible to `ip netns exec`.

    Raises FileExistsError if the name is taken.
    """
    NETNS_FOLDER.mkdir(parents=True, exist_ok=True)
    target = path(name)
    target.touch(exist_ok=False)
    with open("/proc/thread-self/ns/net") as here:
        leave()
        try:
            source = b"/proc/thread-self/ns/net"
            _check(_libc.mount(source, os.fsencode(target), None, MS_BIND, None), "bind namespace")
        finally:
            _check(_libc.setns(here.fileno(), CLONE_NEWNET), "setns back")
