"""What a service that stands still for a while looks like to a workload, in closed form.

A request that reaches the server while it stands still is answered when it goes on. The kernel of
the server goes on meanwhile: it opens connections, and takes in what is sent on them.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count, cycle

from experiments.measure import arrivals, echo
from experiments.runs.spec import Spec
from experiments.verdict.oracle import Oracle
from topologies.plan import HostRole

MTU = 1500
ETHERNET, IPV4, TCP, TIMESTAMPS = 14, 20, 20, 12
"""Bytes of headers; links count Ethernet's without preamble and checksum (RFC 894), and Linux
puts timestamps (RFC 7323) into every segment.
"""


@dataclass(frozen=True, slots=True)
class Arm:
    """A workload. ``trips`` round trips pass until it is answered, of which the last one asks.

    What is ``answered_by_kernel`` needs no program at the server. In an ``open`` loop nobody waits
    for an answer to ask again.
    """

    name: str
    trips: int
    open: bool = True
    answered_by_kernel: bool = False


EVEN, POISSON, TRACE = Arm("even", trips=2), Arm("poisson", trips=2), Arm("trace", trips=2)
UDP = Arm("udp", trips=1)
CLOSED = Arm("closed", trips=1, open=False)
CONNECT = Arm("connect", trips=1, answered_by_kernel=True)
ARMS = (EVEN, POISSON, TRACE, UDP, CLOSED, CONNECT)
"""``even`` to ``trace`` fetch by HTTP, each on a connection of its own: a handshake, and a
question. ``closed`` keeps its connections.
"""

HTTP_ARMS = (EVEN, POISSON, TRACE)


@dataclass(frozen=True, slots=True)
class Stall:
    """From when until when services stood still, seconds since the arm began."""

    began_s: float
    ended_s: float


def latency_ms(arm: Arm, at_s: float, rtt_ms: float, stall: Stall) -> float:
    """How long a request takes that starts then: the model's RTTs, and what is left of the stall
    when it reaches the server.
    """
    idle_ms = arm.trips * rtt_ms
    reached_s = at_s + (arm.trips - 0.5) * rtt_ms / 1000
    if arm.answered_by_kernel or not stall.began_s <= reached_s < stall.ended_s:
        return idle_ms
    return idle_ms + (stall.ended_s - reached_s) * 1000


def rtts_ms(oracle: Oracle) -> dict[str, float]:
    """By client: the round trip to the nearest PoP."""
    found = {}
    for client in oracle.plan.hosts_of(HostRole.CLIENT):
        server = oracle.plan.servers_of(oracle.nearest_pops(client.name)[0])[0]
        found[client.name] = oracle.rtt_ms(client.name, server.name)
    return found


def times(spec: Spec, arm: Arm) -> Iterator[float]:
    """When the requests of an open loop over TCP are due: seconds from the start."""
    rate, seconds = spec.number("rate_per_s"), spec.number("seconds")
    if arm is POISSON:
        schedule = arrivals.poisson(rate, random.Random(f"workloads {spec.seed}"))
    elif arm is TRACE:
        schedule = arrivals.traced([gap / 1000 for gap in spec.numbers("trace_gaps_ms")])
    else:
        schedule = arrivals.even(rate)
    return arrivals.within(seconds, schedule)


def echoes(spec: Spec, clients: int) -> tuple[int, int]:
    """How many datagrams each client sends, and at which interval (ns)."""
    apart_s = clients / spec.number("rate_per_s")
    return math.ceil(spec.number("seconds") / apart_s), round(apart_s * 1e9)


def circles(spec: Spec, oracle: Oracle) -> list[str]:
    """The client of each connection of the closed loop."""
    clients = oracle.plan.hosts_of(HostRole.CLIENT)
    return [client.name for client in clients for _ in range(int(spec.number("connections")))]


def expected_ms(spec: Spec, rtt_ms: float) -> float:
    """How long after a request a connection of the closed loop means to send the next one."""
    return spec.number("think_ms") + rtt_ms


def stagger_s(spec: Spec, oracle: Oracle) -> float:
    """Between two connections that open: so that they share out one thinking time."""
    return spec.number("think_ms") / 1000 / len(circles(spec, oracle))


def meant(spec: Spec, oracle: Oracle, arm: Arm) -> Iterator[tuple[str, float]]:
    """Who is to ask when, whatever becomes of it: client and seconds from the start.

    Of the closed loop it is when each connection would ask if it were always answered at once.
    """
    clients = list(rtts_ms(oracle))
    if arm is UDP:
        for at_ns, number, _ in echo.schedule(len(clients), *echoes(spec, len(clients)), spec.seed):
            yield clients[number], at_ns / 1e9
        return
    if arm.open:
        yield from zip(cycle(clients), times(spec, arm), strict=False)
        return
    rtts, seconds = rtts_ms(oracle), spec.number("seconds")
    for number, client in enumerate(circles(spec, oracle)):
        rtt_ms = rtts[client]
        first_s = number * stagger_s(spec, oracle) + rtt_ms / 1000  # a handshake
        apart_s = expected_ms(spec, rtt_ms) / 1000
        turns = (first_s + turn * apart_s for turn in count())
        yield from ((client, at_s) for at_s in arrivals.within(seconds, turns))


def meant_latencies_ms(
    spec: Spec, oracle: Oracle, arm: Arm, stall: Stall, first_s: float | None
) -> list[float]:
    """How long each request of an arm takes if it is sent when it is meant to be, and served.

    The first one is sent at ``first_s``; None: when it is meant to be by the spec.
    """
    rtts, served = rtts_ms(oracle), replace(arm, answered_by_kernel=False)
    requests = list(meant(spec, oracle, arm))
    later_s = 0.0 if first_s is None else first_s - min(at_s for _, at_s in requests)
    return [latency_ms(served, at_s + later_s, rtts[client], stall) for client, at_s in requests]


def goodput_bit_s(rate_bit_s: float) -> float:
    """TCP's payload through a link that is always busy: the share of a full frame that it is."""
    return rate_bit_s * (MTU - IPV4 - TCP - TIMESTAMPS) / (MTU + ETHERNET)
