"""Serve a network's hosts until SIGTERM: ``python -m topologies.emulation.endpoints``."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from topologies.emulation.endpoints.service import raise_file_limit, serve
from topologies.explicit import read_json
from topologies.plan import HostPlan, plan


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; 0 then, 1 if a socket cannot be had, 2 on a bad network."""
    parser = argparse.ArgumentParser(
        prog="python -m topologies.emulation.endpoints",
        description="HTTP, UDP echo and CONNECT proxies in every host of a running lab.",
    )
    parser.add_argument("network", type=Path, metavar="NETWORK.json")
    parser.add_argument("--ready-file", type=Path, help="is made when every socket listens")
    options = parser.parse_args(arguments)
    try:
        hosts = plan(read_json(options.network)).hosts
    except (OSError, ValueError, LookupError, TypeError) as error:
        print(f"{options.network} is no resolved network: {error}", file=sys.stderr)  # noqa: T201
        return 2
    raise_file_limit()
    try:
        asyncio.run(_run(hosts, options.ready_file))
    except OSError as error:
        print(f"cannot serve the hosts: {error}; is the lab up?", file=sys.stderr)  # noqa: T201
        return 1
    return 0


async def _run(hosts: Sequence[HostPlan], ready_file: Path | None) -> None:
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    await serve(hosts, over, lambda: ready_file.touch() if ready_file else None)


if __name__ == "__main__":
    sys.exit(main())
