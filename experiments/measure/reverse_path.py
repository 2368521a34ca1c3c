"""Reverse-path checks at the upstream of every PoP (RFC 3704), as rules of the lab's own switches.

The upstream of a PoP is its city's transit switch. A check is made of the switch's own routes by
the time: *strict* lets a source pass whose packets the switch would send back where they come from,
*loose* one to which it has any route at all. Labelled packets are let be, because a label stands
for a tunnel, from whose outer addresses it could be seen that they are the PoP's own.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from controller.core.priorities import ADMIT_NEVER
from controller.core.rules import Table
from topologies.plan import GATEWAY_MAC, Plan

__all__ = ["Check", "checking", "refused", "routes"]

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


def routes(switch: str) -> list[tuple[str, int]]:
    """Where a switch sends what while all links live, prefix and port, as it says itself.

    Raises CalledProcessError as ``checking``.
    """
    groups = map(_GROUP.search, _ofctl("dump-groups", switch))
    usual = {group[1]: group[2] for group in groups if group}
    table = map(_ROUTE.search, _ofctl("dump-flows", switch, f"table={Table.ROUTE.value}"))
    return [(x[1], int(x[3] if x[2] == "output" else usual[x[3]])) for x in table if x]


@contextmanager
def checking(plan: Plan, check: Check) -> Iterator[None]:
    """Check at every upstream within the block, by the routes as they are at its beginning.

    Caches of the switches follow a moment later. Raises CalledProcessError if a switch refuses.
    """
    for edge in plan.edges if check is not Check.NONE else ():
        upstream = plan.transit(edge.city).name
        port = plan.link_between(edge.name, upstream).near(upstream).port
        assert port is not None
        _check(upstream, port, strict=check is Check.STRICT)
    yield
    for edge in plan.edges:
        _ofctl("del-flows", plan.transit(edge.city).name, f"{_COOKIE}/-1")


def _check(upstream: str, port: int, *, strict: bool) -> None:
    """Of what comes from the PoP at this port let pass whatever there is a route to."""
    here = _FROM_A_POP.format(port=port)
    for prefix in {prefix for prefix, to in routes(upstream) if to == port or not strict}:
        on = f"actions=goto_table:{Table.ROUTE.value}"
        _ofctl("add-flow", upstream, f"{here},nw_src={prefix},priority={_PASS},{on}")
    _ofctl("add-flow", upstream, f"{here},priority={_REFUSE},actions=drop")


def refused(plan: Plan) -> dict[str, int]:
    """By PoP: the packets that its upstream has refused; it counts them up to a second late."""
    found = {}
    for edge in plan.edges:
        lines = _ofctl("dump-flows", plan.transit(edge.city).name, f"{_COOKIE}/-1")
        counts = (_PACKETS.search(line) for line in lines if f"priority={_REFUSE}," in line)
        found[edge.city] = sum(int(count.group(1)) for count in counts if count)
    return found


def _ofctl(verb: str, switch: str, *words: str) -> list[str]:
    where = f"unix:/run/openvswitch/{switch}.mgmt"
    command = ["ovs-ofctl", "-O", "OpenFlow13", verb, where, *words]
    return subprocess.check_output(command, text=True).splitlines()
