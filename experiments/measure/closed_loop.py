"""Closed loop with keep-alive: each connection asks again when it is answered, and has thought."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from experiments.measure.dial import Outcome, dial, failure
from experiments.measure.exchange import ask
from topologies.family import Address

__all__ = ["Turn", "circle", "corrected"]

TurnOutcome = Outcome | Literal["bad answer"]

_HTTP = 80


@dataclass(frozen=True, slots=True)
class Turn:
    """One request of a connection: ``sequence`` counts from 0, ``sent_ns`` is monotonic.

    ``rtt_ns`` is from sending it to the end of its answer; None if none came, and then it is the
    connection's last one.
    """

    connection: int
    host: str
    sequence: int
    sent_ns: int
    outcome: TurnOutcome
    rtt_ns: int | None = None


def circle(
    hosts: Sequence[str],
    destination: Address,
    over: threading.Event,
    *,
    think_s: float,
    stagger_s: float,
    timeout_s: float,
) -> list[Turn]:
    """A connection from each of ``hosts``, which asks, waits, thinks, and asks again until over.

    Connections open ``stagger_s`` after one another. The rows are by connection and sequence; one
    that could not be opened has a row for its outcome. Raises FileNotFoundError if a host does
    not exist.
    """

    async def all_of_them() -> list[Turn]:
        begin_s = time.monotonic()
        found = await asyncio.gather(
            *(
                _one(number, host, (destination, _HTTP), over, begin_s + number * stagger_s,
                     think_s, timeout_s)
                for number, host in enumerate(hosts)
            )
        )  # fmt: skip
        return [turn for turns in found for turn in turns]

    return asyncio.run(all_of_them())


async def _one(
    number: int,
    host: str,
    target: tuple[Address, int],
    over: threading.Event,
    begin_s: float,
    think_s: float,
    timeout_s: float,
) -> list[Turn]:
    await asyncio.sleep(begin_s - time.monotonic())
    opened_ns = time.monotonic_ns()
    found = await dial(host, target, source=None, ports=None, timeout_s=timeout_s)
    if found.sock is None:
        return [Turn(number, host, 0, opened_ns, found.outcome)]
    turns: list[Turn] = []
    with found.sock as sock:
        while not over.is_set():
            turns.append(await _turn(number, host, len(turns), sock, timeout_s))
            if turns[-1].outcome != "ok":
                break
            await asyncio.sleep(think_s)
    return turns


async def _turn(
    number: int, host: str, sequence: int, sock: socket.socket, timeout_s: float
) -> Turn:
    sent_ns = time.monotonic_ns()

    def became(outcome: TurnOutcome, rtt_ns: int | None = None) -> Turn:
        return Turn(number, host, sequence, sent_ns, outcome, rtt_ns)

    try:
        async with asyncio.timeout(timeout_s):
            await ask(sock)
    except ValueError:
        return became("bad answer")
    except OSError as error:
        return became(failure(error))
    return became("ok", time.monotonic_ns() - sent_ns)


def corrected(value: float, expected: float) -> Iterator[float]:
    """A closed loop's time, and those of the requests that it kept back, by HdrHistogram's rule.

    Who waits for ``value`` where a request was ``expected`` to follow the last one so much later
    has sent none meanwhile: they would have waited ``expected`` less each
    (``recordValueWithExpectedInterval``). Both are of one unit.
    """
    yield value
    while expected > 0 and (value := value - expected) >= expected:
        yield value
