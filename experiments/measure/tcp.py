"""TCP connects from chosen addresses and port sets, one row each."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from experiments.measure.dial import Outcome, dial, paced
from experiments.measure.kernel import Ports, handshake_rtt_ns
from topologies.family import Address

__all__ = ["ConnectRow", "TcpAttempt", "connect", "connect_one"]

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class TcpAttempt:
    """Which host connects where. ``ports`` is the source port set, first and last."""

    host: str
    destination: Address
    port: int = 80
    source: Address | None = None
    ports: Ports | None = None


@dataclass(frozen=True, slots=True)
class ConnectRow:
    """One connect; ``attempt`` is its place in the list of attempts.

    ``connect_ns`` is what this process saw, its own wake-up included; ``handshake_rtt_ns`` is
    the kernel's measure of the same handshake, in steps of 1000 ns. Both are None if it
    failed. ``local_port`` is None where the kernel gave none.
    """

    attempt: int
    host: str
    source: Address | None
    destination: Address
    port: int
    outcome: Outcome
    local_address: Address | None
    local_port: int | None
    connect_ns: int | None
    handshake_rtt_ns: int | None


def connect(
    attempts: Sequence[TcpAttempt],
    *,
    timeout_s: float = 3.0,
    at_once: int = 256,
    spacing_s: float = 0.001,
    hold: bool = False,
) -> list[ConnectRow]:
    """Connect for each attempt; rows in the same order.

    ``hold`` keeps every connection open until the last attempt has ended, so that ports stay
    taken. Connections end with a reset, so that none of their ports lingers in TIME_WAIT.

    Raises FileNotFoundError if a host does not exist; RuntimeError if the kernel took a port
    outside ``ports`` (its sysctl does not hold the range).
    """
    with contextlib.ExitStack() as held:

        async def one(index: int, attempt: TcpAttempt) -> ConnectRow:
            return await connect_one(index, attempt, timeout_s, held if hold else None)

        return asyncio.run(paced(attempts, one, at_once=at_once, spacing_s=spacing_s))


async def connect_one(
    index: int, attempt: TcpAttempt, timeout_s: float, held: contextlib.ExitStack | None = None
) -> ConnectRow:
    """Connect once, for which ``index`` stands; the connection ends at once, or with ``held``.

    Raises as ``connect``.
    """
    dialled = await dial(
        attempt.host,
        (attempt.destination, attempt.port),
        source=attempt.source,
        ports=attempt.ports,
        timeout_s=timeout_s,
    )
    rtt_ns = None
    if dialled.sock is not None:
        rtt_ns = handshake_rtt_ns(dialled.sock)
        dialled.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        if held is not None:
            held.enter_context(dialled.sock)
        else:
            dialled.sock.close()
    address, port = dialled.local or (None, None)
    return ConnectRow(
        index,
        attempt.host,
        attempt.source,
        attempt.destination,
        attempt.port,
        dialled.outcome,
        address,
        port,
        dialled.connect_ns,
        rtt_ns,
    )
