"""Reverse-path checks at the upstream of every PoP (RFC 3704), by its own routes.

*Strict* lets a source pass whose packets the upstream would send back where they come from, *loose*
one to which it has any route at all. The upstream of a PoP is its city's. A router's kernel knows
both checks; for a transit switch they are rules, made of its routes by the time. There labelled
packets are let be, because a label stands for a tunnel, from whose outer addresses it could be seen
that they are the PoP's own.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from controller.core.priorities import ADMIT_NEVER
from controller.core.rules import Table
from experiments.errors import UsageError
from topologies.emulation import netns
from topologies.plan import GATEWAY_MAC, End, Plan

__all__ = ["Check", "checking", "need_one_packet", "routes"]

_COOKIE = "cookie=0x77"
_FROM_A_POP = f"{_COOKIE},table={Table.ADMISSION.value},in_port={{port}},ip,dl_dst={GATEWAY_MAC}"
_PASS, _REFUSE = ADMIT_NEVER + 20, ADMIT_NEVER + 10
_ROUTE = re.compile(r"ip,(?:dl_dst=\S+,)?nw_dst=([\d./]+) actions=.*(output|group):(\d+)")
_GROUP = re.compile(r"group_id=(\d+),type=ff,.*?output:(\d+)")
_PACKETS = re.compile(r" n_packets=(\d+),")


class Check(StrEnum):
    """What an upstream asks of a source."""

    NONE = "none"
    LOOSE = "loose"
    STRICT = "strict"


SYN_AGAIN_S = 1.0
"""When Linux sends a SYN again (RFC 6298): who gives up before that has sent one packet."""


def need_one_packet(timeout_s: object) -> None:
    """Raise UsageError if who waits so long for an answer sends what was refused again."""
    assert isinstance(timeout_s, int | float)
    if not 0 < timeout_s < SYN_AGAIN_S:
        raise UsageError(
            f"After {SYN_AGAIN_S:g} s a packet that was refused is sent again: give up sooner than"
            f" that, not after {timeout_s:g} s."
        )


_KERNELS = {Check.NONE: "0", Check.STRICT: "1", Check.LOOSE: "2"}


def routes(switch: str) -> list[tuple[str, int]]:
    """Where a switch sends what while all links live, prefix and port, as it says itself.

    Raises CalledProcessError as ``checking``.
    """
    groups = map(_GROUP.search, _ofctl("dump-groups", switch))
    usual = {group[1]: group[2] for group in groups if group}
    table = map(_ROUTE.search, _ofctl("dump-flows", switch, f"table={Table.ROUTE.value}"))
    return [(x[1], int(x[3] if x[2] == "output" else usual[x[3]])) for x in table if x]


@contextmanager
def checking(plan: Plan, check: Check) -> Iterator[Callable[[], dict[str, int]]]:
    """Check at every upstream within the block; what is yielded tells what they have refused.

    By PoP, in packets. Switches check by their routes as they are at the block's beginning, and
    count up to a second late; their caches follow a moment later. Raises CalledProcessError if a
    switch refuses, OSError if a router does.
    """
    with (_in_routers if plan.routers else _in_switches)(plan, check) as refused:
        yield refused


def _upstreams(plan: Plan) -> Iterator[tuple[str, End]]:
    """Every PoP and the end of its uplink where its upstream checks."""
    for edge in plan.edges:
        upstream = plan.transit(edge.city).name
        yield edge.city, plan.link_between(edge.name, upstream).near(upstream)


@contextmanager
def _in_routers(plan: Plan, check: Check) -> Iterator[Callable[[], dict[str, int]]]:
    """By Linux, where 1 is strict and 2 is loose (ip-sysctl: rp_filter)."""
    ends = dict(_upstreams(plan))

    def count() -> dict[str, int]:
        return {pop: _refused_by_kernel(end.node) for pop, end in ends.items()}

    before = count()
    for end in ends.values():
        _set_filter(end, _KERNELS[check])
    try:
        yield lambda: {pop: now - before[pop] for pop, now in count().items()}
    finally:
        for end in ends.values():
            _set_filter(end, _KERNELS[Check.NONE])


def _set_filter(end: End, value: str) -> None:
    with netns.inside(end.node):
        Path(f"/proc/sys/net/ipv4/conf/{end.interface}/rp_filter").write_text(value)


def _refused_by_kernel(router: str) -> int:
    with netns.inside(router):
        names, values = (
            line.split()
            for line in Path("/proc/thread-self/net/netstat").read_text().splitlines()
            if line.startswith("TcpExt:")
        )
    return int(values[names.index("IPReversePathFilter")])


@contextmanager
def _in_switches(plan: Plan, check: Check) -> Iterator[Callable[[], dict[str, int]]]:
    for _, end in _upstreams(plan) if check is not Check.NONE else ():
        assert end.port is not None
        _check(end.node, end.port, strict=check is Check.STRICT)
    try:
        yield lambda: {pop: _refused_by_rules(end.node) for pop, end in _upstreams(plan)}
    finally:
        for _, end in _upstreams(plan):
            _ofctl("del-flows", end.node, f"{_COOKIE}/-1")


def _check(upstream: str, port: int, *, strict: bool) -> None:
    """Of what comes from the PoP at this port let pass whatever there is a route to."""
    here = _FROM_A_POP.format(port=port)
    for prefix in {prefix for prefix, to in routes(upstream) if to == port or not strict}:
        on = f"actions=goto_table:{Table.ROUTE.value}"
        _ofctl("add-flow", upstream, f"{here},nw_src={prefix},priority={_PASS},{on}")
    _ofctl("add-flow", upstream, f"{here},priority={_REFUSE},actions=drop")


def _refused_by_rules(upstream: str) -> int:
    lines = _ofctl("dump-flows", upstream, f"{_COOKIE}/-1")
    counts = (_PACKETS.search(line) for line in lines if f"priority={_REFUSE}," in line)
    return sum(int(count.group(1)) for count in counts if count)


def _ofctl(verb: str, switch: str, *words: str) -> list[str]:
    where = f"unix:/run/openvswitch/{switch}.mgmt"
    command = ["ovs-ofctl", "-O", "OpenFlow13", verb, where, *words]
    return subprocess.check_output(command, text=True).splitlines()
