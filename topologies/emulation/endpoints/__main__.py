"""Serve a network's hosts until SIGTERM: ``python -m topologies.emulation.endpoints``."""

from __future__ import annotations

import argparse
import asyncio
import errno
import signal
import sys
from collections.abc import Sequence
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path

from topologies.emulation.endpoints.service import Services, raise_file_limit
from topologies.explicit import read_json
from topologies.model import Names
from topologies.plan import plan


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; 0 then, 1 if a socket cannot be had, 2 on a bad network."""
    parser = argparse.ArgumentParser(
        prog="python -m topologies.emulation.endpoints",
        description="HTTP, UDP echo and DNS in the hosts of a running lab.",
    )
    parser.add_argument("network", type=Path, metavar="NETWORK.json")
    parser.add_argument("--ready-file", type=Path, help="is made when every socket listens")
    parser.add_argument("--orders", type=Path, help="a Unix socket that takes `stop HOST`, ...")
    parser.add_argument("--seed", type=int, default=0, help="picks what is random in answers")
    options = parser.parse_args(arguments)
    try:
        network = plan(read_json(options.network))
    except (OSError, ValueError, LookupError, TypeError) as error:
        print(f"{options.network} is no resolved network: {error}", file=sys.stderr)  # noqa: T201
        return 2
    raise_file_limit()
    try:
        services = Services(network, options.seed)
        asyncio.run(_run(services, options.ready_file, options.orders))
    except OSError as error:
        print(f"cannot serve the hosts: {error}; is the lab up?", file=sys.stderr)  # noqa: T201
        return 1
    return 0


async def _run(services: Services, ready_file: Path | None, orders: Path | None) -> None:
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    try:
        await services.start_all()
        if orders is not None:
            await asyncio.start_unix_server(partial(_obey, services), orders)
        if ready_file is not None:
            ready_file.touch()
        await over.wait()
    finally:
        services.stop_all()


async def _obey(
    services: Services, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Carry out an order: ``start HOST``, ``stop HOST``, ``bind HOW PREFIX PREFIX ...``.

    The answer is ``ok`` or a sentence.
    """
    verb, _, name = (await reader.readline()).decode().strip().partition(" ")
    try:
        if verb == "bind":
            how, *among = name.split()
            services.bind(Names(how), [IPv4Network(prefix) for prefix in among])
        elif verb == "start":
            await services.start(name)
        else:
            services.stop(name)
        answer = "ok"
    except ValueError as error:
        answer = f"names cannot be bound: {error}"
    except KeyError:
        answer = f"{name} serves nothing" if verb == "stop" else f"there is no host {name}"
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        answer = f"{name} serves already" if taken else f"{name} cannot serve: {error}"
    writer.write(f"{answer}\n".encode())
    await writer.drain()
    writer.close()


if __name__ == "__main__":
    sys.exit(main())
