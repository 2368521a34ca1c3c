"""What a page may ask the lab beside its state: the way of a packet, and all that was done."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from experiments.control import scenario, trace
from experiments.control.client import GoneError, Remote
from experiments.control.words import link_name
from experiments.errors import TrialError
from experiments.live.acts import BadActError
from experiments.live.hands import RefusedActError
from experiments.live.state import MAPPED
from topologies.plan import Plan

__all__ = ["Questions", "asked", "told"]

ASKED = {"host": str, "destination": str, "protocol": str, "port": int}
"""What a page says of a packet, and what it is."""

MOST_PORT = 65535


class Questions:
    """Asks the lab, and tells it as the page shows it."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    async def way(self, plan: Plan, data: Any) -> dict[str, Any]:
        """The way of a packet and of its answer. Raises BadActError, RefusedActError."""
        return told(plan, await self._call("explain", **asked(data)))

    async def scenario(self) -> str:
        """What was done to the lab, as the text of a scenario file. Raises RefusedActError."""
        return scenario.dump(scenario.of_log(await self._call("events")))

    async def _call(self, word: str, **params: Any) -> Any:
        try:
            return await asyncio.to_thread(self._remote.call, word, **params)
        except GoneError:
            raise RefusedActError("The lab has ended.") from None
        except TrialError as error:
            raise RefusedActError(str(error)) from None


def asked(data: Any) -> Mapping[str, Any]:
    """The packet in a JSON value, as the word ``explain`` takes it. Raises BadActError."""
    if not isinstance(data, dict) or data.keys() != ASKED.keys():
        raise BadActError(f"Of a packet say {', '.join(ASKED)}.")
    wrong = [name for name, kind in ASKED.items() if type(data[name]) is not kind]
    if wrong or not 0 < data["port"] <= MOST_PORT:
        raise BadActError(f"A packet has texts, and a port from 1 to {MOST_PORT}.")
    return data


def told(plan: Plan, found: Mapping[str, Any]) -> dict[str, Any]:
    """Lines as ``poplab explain`` prints them, both ways' links of the map, and who said what."""
    ways = {name: list(links(plan, found.get(name, ()))) for name in ("there", "back")}
    return {"lines": list(trace.lines(found)), "links": ways, "said": list(trace.said(found))}


def links(plan: Plan, hops: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The links of the map that a way takes."""
    switches = {switch.name for switch in plan.switches} | {x.name for x in plan.routers}
    for hop in hops:
        if hop["to"] in switches:
            link = plan.link_between(hop["switch"], hop["to"])
            if link.kind in MAPPED:
                yield link_name(link)
