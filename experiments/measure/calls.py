"""Calls: connections that come as they please, stay a while and go, as in a telephone exchange.

A call that finds every port of its set taken is lost at once; nobody waits or tries again. A set
towards one destination is so Erlang's loss system M/G/n/n.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from experiments.measure.dial import Outcome, dial
from experiments.measure.kernel import Ports
from topologies.family import Address

__all__ = ["Call", "CallRow", "Caller", "arrivals", "place"]

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""So that no port lingers in TIME_WAIT."""

_LEAD_S = 0.2
"""Before the first call, so that all are scheduled by then."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: a host, from one port set of an address, to one destination."""

    host: str
    source: Address
    ports: Ports
    destination: Address
    port: int = 80


@dataclass(frozen=True, slots=True)
class Call:
    """A call of one of the callers: seconds after the start, and how long it stays."""

    caller: int
    at_s: float
    hold_s: float


@dataclass(frozen=True, slots=True)
class CallRow:
    """What came of a call; ``no port`` means that it was lost."""

    call: Call
    outcome: Outcome
    connect_ns: int | None


def arrivals(
    caller: int, per_s: float, hold_s: float, seconds: float, chance: random.Random
) -> list[Call]:
    """Calls of a Poisson process, with exponentially distributed stays of this mean."""
    found, at_s = [], chance.expovariate(per_s)
    while at_s < seconds:
        found.append(Call(caller, at_s, chance.expovariate(1 / hold_s)))
        at_s += chance.expovariate(per_s)
    return found


def place(
    callers: Sequence[Caller], calls: Sequence[Call], timeout_s: float = 5.0
) -> list[CallRow]:
    """Place every call at its time; rows in their order. Raises as ``dial``."""
    return asyncio.run(_place(callers, calls, timeout_s))


async def _place(
    callers: Sequence[Caller], calls: Sequence[Call], timeout_s: float
) -> list[CallRow]:
    loop = asyncio.get_running_loop()
    start = loop.time() + _LEAD_S

    async def one(call: Call) -> CallRow:
        await asyncio.sleep(start + call.at_s - loop.time())
        caller = callers[call.caller]
        dialled = await dial(
            caller.host,
            (caller.destination, caller.port),
            source=caller.source,
            ports=caller.ports,
            timeout_s=timeout_s,
        )
        if dialled.sock is not None:
            with contextlib.closing(dialled.sock):
                dialled.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                await asyncio.sleep(call.hold_s)
        return CallRow(call, dialled.outcome, dialled.connect_ns)

    return list(await asyncio.gather(*map(one, calls)))
