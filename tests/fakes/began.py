"""How the log of every lab begins."""

from __future__ import annotations

from typing import Any

from topologies.plan import Plan


def began(plan: Plan, at_ns: int) -> list[dict[str, Any]]:
    """A controller leads, and every switch has come, at a time (Unix, ns)."""
    told: list[dict[str, Any]] = [
        {"event": "SwitchSet", "switch": switch.name, "connected": True} for switch in plan.switches
    ]
    told.append({"event": "LeaderSet", "leader": "controller", "generation": 1})
    return [{"number": 0, "at_ns": at_ns, "monotonic_ns": 0} | one for one in told]
