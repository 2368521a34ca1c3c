"""UDP datagrams from many hosts at random times, open loop: nobody waits, nothing comes back.

The times are a Poisson process. With that a queue that is full is met by each packet as it is met
by all, so every sender loses the same share; packets in step would not.
"""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections.abc import Iterator, Mapping
from itertools import accumulate

from experiments.measure import arrivals
from experiments.measure.kernel import open_in
from topologies.family import Address

__all__ = ["DISCARD_PORT", "barrage", "poisson"]

DISCARD_PORT = 9
"""Nobody listens there (RFC 863 would throw away what comes)."""


def barrage(
    rates: Mapping[str, float],
    destination: Address,
    *,
    seconds: float,
    size: int,
    seed: int,
    port: int = DISCARD_PORT,
) -> int:
    """Send for so long, each host at its mean rate (datagrams a second); how many were sent.

    ``size`` is the payload in bytes, ``seed`` decides who sends when. What a host's own kernel
    refuses is not counted. Blocks for ``seconds``. Raises FileNotFoundError if a host does not
    exist.
    """
    payload, target, sent = bytes(size), (str(destination), port), 0
    with contextlib.ExitStack() as opening:
        sockets = {
            host: opening.enter_context(
                open_in(host, socket.SOCK_DGRAM, family=destination.version)
            )
            for host in rates
        }
        start = time.monotonic()
        for at, host in poisson(rates, seconds, seed):
            time.sleep(max(0.0, start + at - time.monotonic()))
            with contextlib.suppress(OSError):
                sockets[host].sendto(payload, target)
                sent += 1
        time.sleep(max(0.0, start + seconds - time.monotonic()))
    return sent


def poisson(rates: Mapping[str, float], seconds: float, seed: int) -> Iterator[tuple[float, str]]:
    """When who sends, seconds from the start: a Poisson process of each host's rate."""
    chance, hosts, upto = random.Random(seed), tuple(rates), tuple(accumulate(rates.values()))
    if not hosts:
        return
    for at in arrivals.within(seconds, arrivals.poisson(upto[-1], chance)):
        yield at, chance.choices(hosts, cum_weights=upto)[0]
