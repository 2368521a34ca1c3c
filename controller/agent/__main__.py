"""Run the agents of a lab's servers until SIGTERM, then return what they hold."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from controller.agent.client import Want
from controller.agent.orders import obey
from controller.agent.server import Server
from controller.agent.status import Status
from controller.agent.usage import Place, Towards, Usage
from topologies.explicit import read_json
from topologies.plan import HostPlan, HostRole, plan

LOG = logging.getLogger("agent")


LOOK_S = 1.0
"""How often the ports in use are counted."""


async def watch(servers: Iterable[Server], usage: Usage) -> None:
    """Count what is in use for ever, and let servers borrow more before they run out."""
    while True:
        await asyncio.sleep(LOOK_S)
        used: Counter[Towards] = Counter()
        ports: Counter[Place] = Counter()
        for server in servers:
            mine, held = server.look()
            server.grow(time.monotonic(), mine)
            used.update(mine)
            ports.update(held)
        usage.look(time.time(), used, ports)


async def serve(
    hosts: Sequence[HostPlan],
    wants: Sequence[Want],
    status: Status,
    orders: Path | None = None,
    most: int = 1,
) -> None:
    """Borrow for all these servers until SIGTERM or SIGINT. Raises what ends a client."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    status.write()
    servers = {host.name: Server(host, status, most) for host in hosts}
    usage = Usage()
    for server in servers.values():
        await server.open()
    tasks = [server.borrow(want) for server in servers.values() for want in wants]
    tasks.append(asyncio.create_task(watch(servers.values(), usage)))
    if orders is not None:
        await asyncio.start_unix_server(partial(obey, servers, usage), orders)
    ended = await _first_to_end({asyncio.create_task(stop.wait()), *tasks})
    tasks[-1].cancel()
    await asyncio.gather(*(server.close() for server in servers.values()))
    ended.result()  # a client never ends by itself but by an error


async def _first_to_end(tasks: set[asyncio.Task[Any]]) -> asyncio.Task[Any]:
    """The task that ends first; one that is cancelled gives back what it held, and is no end."""
    while True:
        done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if not task.cancelled():
                return task


def main() -> int:
    """Run until a signal; 0 then, 1 on an error, 2 for a server that does not exist."""
    parser = argparse.ArgumentParser(prog="python -m controller.agent", description=__doc__)
    parser.add_argument("network", type=Path, help="the resolved network, JSON")
    parser.add_argument("--status", type=Path, help="where to write who holds what, JSON")
    parser.add_argument("--orders", type=Path, help="a Unix socket that takes wishes")
    parser.add_argument("--only", metavar="SERVER", help="run for this server alone")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-7s %(message)s")
    network = read_json(arguments.network)
    servers = plan(network).hosts_of(HostRole.SERVER)
    chosen = [server for server in servers if arguments.only in (None, server.name)]
    if not chosen:
        names = ", ".join(server.name for server in servers)
        parser.error(f"no server is called {arguments.only}; choose one of: {names}")
    wants = [Want(tag) for tag in network.borrow]
    try:
        asyncio.run(
            serve(chosen, wants, Status(arguments.status), arguments.orders, network.borrow_up_to)
        )
    except OSError as error:
        LOG.error("%s; run it inside the lab", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
