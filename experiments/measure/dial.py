"""Open TCP connections from inside hosts: a source, a port set, a deadline, a clear outcome."""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal, TypeVar

from experiments.measure.kernel import Ports, bind_source, check_port, open_in
from topologies.family import Address

__all__ = ["Dialled", "Outcome", "dial", "failure", "paced"]

Outcome = Literal["ok", "timeout", "refused", "reset", "unreachable", "no port", "no address"]
"""``no port``: every port of the set is taken for this destination. ``no address``: the source
is not the host's, so its own kernel would not use it."""

_OUTCOMES: dict[int, Outcome] = {
    errno.ETIMEDOUT: "timeout",
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.ECONNABORTED: "reset",
    errno.EPIPE: "reset",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.ENETDOWN: "unreachable",
    errno.EACCES: "unreachable",
    errno.EPERM: "unreachable",
    errno.EADDRNOTAVAIL: "no port",
    errno.EADDRINUSE: "no port",
}

Attempt = TypeVar("Attempt")
Row = TypeVar("Row")


def failure(error: OSError) -> Outcome:
    """The outcome that an error of connect, send or receive stands for.

    Raises the error itself where it is none of a network's (a bug, no descriptors left).
    """
    if isinstance(error, TimeoutError):
        return "timeout"
    outcome = _OUTCOMES.get(error.errno or 0)
    if outcome is None:
        raise error
    return outcome


@dataclass(slots=True)
class Dialled:
    """A connection attempt. ``sock`` is open if and only if ``outcome`` is ``ok``."""

    outcome: Outcome
    connect_ns: int | None = None
    local: tuple[Address, int] | None = None
    sock: socket.socket | None = None


async def dial(
    host: str,
    destination: tuple[Address, int],
    *,
    source: Address | None,
    ports: Ports | None,
    timeout_s: float,
) -> Dialled:
    """Connect from a host. ``connect_ns`` is from connect() until this process knows.

    Raises FileNotFoundError if the host does not exist; RuntimeError if the kernel took a
    port outside ``ports``.
    """
    sock = open_in(host, socket.SOCK_STREAM, family=destination[0].version)
    try:
        try:
            bind_source(sock, source, ports)
        except OSError as error:
            sock.close()
            missing = error.errno == errno.EADDRNOTAVAIL
            return Dialled("no address" if missing else failure(error))
        return await _connect(sock, destination, ports, timeout_s)
    except BaseException:
        sock.close()
        raise


async def _connect(
    sock: socket.socket, destination: tuple[Address, int], ports: Ports | None, timeout_s: float
) -> Dialled:
    loop = asyncio.get_running_loop()
    target = (str(destination[0]), destination[1])
    start = time.monotonic_ns()
    try:
        async with asyncio.timeout(timeout_s):
            await loop.sock_connect(sock, target)
    except OSError as error:
        outcome, local = failure(error), _local(sock, ports)
        sock.close()
        return Dialled(outcome, local=local)
    connect_ns = time.monotonic_ns() - start
    return Dialled("ok", connect_ns, _local(sock, ports), sock)


def _local(sock: socket.socket, ports: Ports | None) -> tuple[Address, int] | None:
    """Whence the connection came; None where the kernel had given it no port."""
    address, port, *_ = sock.getsockname()
    if not port:
        return None
    return ip_address(address), check_port(sock, ports)


async def paced(
    attempts: Sequence[Attempt],
    act: Callable[[int, Attempt], Awaitable[Row]],
    *,
    at_once: int,
    spacing_s: float,
) -> list[Row]:
    """Run ``act(index, attempt)`` for all; rows in the order of ``attempts``.

    Attempt i starts no earlier than ``i * spacing_s``, and never more than ``at_once`` run.
    The first exception ends them all.
    """
    gate = asyncio.Semaphore(at_once)
    start = time.monotonic()

    async def one(index: int, attempt: Attempt) -> Row:
        await asyncio.sleep(start + index * spacing_s - time.monotonic())
        async with gate:
            return await act(index, attempt)

    return await asyncio.gather(*(one(*item) for item in enumerate(attempts)))
