"""Wishes while the agent runs: a JSON object a line on a Unix socket, answered by one.

``{"do": "borrow", "server": "LHR-s1", "tag": "gb", "client_id": "web", "psid_bits": 8}`` is
answered by the lease's entry when it is in use, ``{"do": "return", ...}`` when it is given back.
``{"do": "usage"}`` is answered by ``{"usage": [...]}``, the rows of ``Usage.rows``, ``{"do":
"metrics"}`` by ``{"metrics": TEXT}`` for Prometheus. What cannot be is answered by ``{"error":
...}``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from controller.agent.client import Want
from controller.agent.metrics import metrics
from controller.agent.server import Server
from controller.agent.usage import Usage
from controller.dhcp import PortParameters
from topologies.model import COMMON_TAG

__all__ = ["obey"]

PATIENCE_S = 20.0


async def obey(
    servers: Mapping[str, Server],
    usage: Usage,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    """Carry out one order."""
    try:
        answer = await _carry_out(servers, usage, json.loads(await reader.readline()))
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        answer = {"error": f"no order: {error}"}
    except RecursionError:
        answer = {"error": "no order: it is nested too deep"}
    except TimeoutError:
        answer = {"error": f"nothing was lent within {PATIENCE_S:g} s"}
    writer.write(json.dumps(answer).encode() + b"\n")
    await writer.drain()
    writer.close()


async def _carry_out(
    servers: Mapping[str, Server], usage: Usage, order: dict[str, Any]
) -> dict[str, Any]:
    if order["do"] == "usage":
        return {"usage": usage.rows()}
    if order["do"] == "metrics":
        return {"metrics": metrics(servers, usage)}
    name, bits = str(order["server"]), order.get("psid_bits")
    want = Want(
        str(order.get("tag") or COMMON_TAG),
        str(order.get("client_id") or ""),
        None if bits is None else PortParameters(int(bits), 0).psid_bits,
    )
    want.options()  # what DHCP cannot say is no wish
    server = servers.get(name)
    if server is None:
        return {"error": f"there is no server {name}"}
    if order["do"] == "return":
        done = await server.give_back(want)
        return {} if done else {"error": f"{name} has not borrowed that"}
    wanted = server.wants(want)
    server.borrow(want)
    try:
        async with asyncio.timeout(PATIENCE_S):
            held = await server.holding(want)
    except TimeoutError:
        if not wanted:  # else it is another's, who goes on asking
            await server.give_back(want)
        raise
    return held.describe(want)
