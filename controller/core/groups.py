"""The numbers of groups: a range for each kind.

A fast-failover group is named by what is in it (ports, targets), so that rules which need the same
one share it, and none ever gets other buckets while rules use it.
"""

from __future__ import annotations

from enum import IntEnum

SERVICE_GROUP = 1
"""The group of an edge switch that spreads service traffic over its servers."""

_KIND_SHIFT, _FIRST_SHIFT = 26, 13


class Repair(IntEnum):
    """What a fast-failover group does when the next link is dead."""

    DETOUR = 1  # to the same target by another port: named by both ports
    STAND_IN = 2  # to another PoP: named by the port and the PoP's number
    PREFIX = 3  # label for the city of a prefix: named by the port and the city's number
    EGRESS = 4  # out of a PoP by another one's uplink


def number(kind: Repair, first: int = 0, second: int = 0) -> int:
    """The number of a group; its name has two parts of 13 bits."""
    return kind << _KIND_SHIFT | first << _FIRST_SHIFT | second


def kind_of(group_id: int) -> Repair | None:
    """What a group is for; None for the group of services."""
    kind = group_id >> _KIND_SHIFT
    return Repair(kind) if kind else None
