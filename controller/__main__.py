"""Run the controller: ``python -m controller NETWORK.json --db leases.sqlite``.

Ryu's application manager runs in this process; there is no `ryu-manager` and no configuration
file. SIGTERM and SIGINT end it cleanly; switches keep forwarding meanwhile.
"""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import dataclass
from pathlib import Path

from controller import ryu_compat

LOG = logging.getLogger("controller")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to listen."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """``127.0.0.1:8080``. Raises ValueError."""
        host, colon, port = text.rpartition(":")
        if not (host and colon and port.isdecimal() and 0 < int(port) < 65536):
            raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
        return cls(host, int(port))


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return value


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m controller", description=__doc__)
    parser.add_argument("network", type=Path, help="the resolved network, JSON")
    parser.add_argument(
        "--db",
        required=True,
        metavar="STORE",
        help="the lease store, made if missing: a file, or etcd://HOST:PORT/PREFIX",
    )
    parser.add_argument("--openflow", type=Endpoint.parse, default=Endpoint("127.0.0.1", 6653))
    parser.add_argument("--rest", type=Endpoint.parse, default=Endpoint("127.0.0.1", 8080))
    parser.add_argument(
        "--namespaces",
        nargs="+",
        default=[],
        metavar="NAME",
        help="network namespaces in which switches reach the OpenFlow address too",
    )
    parser.add_argument("--lease-time", type=_seconds, default=120.0, metavar="S")
    parser.add_argument("--quarantine", type=_seconds, default=60.0, metavar="S")
    return parser.parse_args()


def main() -> int:
    """Run until a signal; 0 then, 1 if it cannot start."""
    arguments = _arguments()
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
    )
    logging.getLogger("ryu").setLevel(logging.WARNING)
    ryu_compat.prepare()
    from controller.core.lease import SECOND, BadEntryError, Terms
    from controller.process import run
    from controller.store import StoreError
    from topologies.explicit import read_json
    from topologies.plan import plan

    terms = Terms(int(arguments.lease_time * SECOND), int(arguments.quarantine * SECOND))
    try:
        network = read_json(arguments.network)
        run(
            plan(network),
            arguments.db,
            terms,
            (arguments.openflow.host, arguments.openflow.port),
            (arguments.rest.host, arguments.rest.port),
            arguments.namespaces,
        )
    except (OSError, StoreError, BadEntryError) as error:
        LOG.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
