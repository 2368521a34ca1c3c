"""Run the controller: ``python -m controller NETWORK.json --db leases.sqlite``.

Ryu's application manager runs in this process; there is no `ryu-manager` and no configuration
file. SIGTERM and SIGINT end it cleanly; switches keep forwarding meanwhile.

Of several controllers with one store one leads, and the others stand by: each has a name and
endpoints of its own. When the leader ends, or stands still, another takes over.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from controller import ryu_compat

LOG = logging.getLogger("controller")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to listen."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine, or this namespace, reaches it."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

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


def _lease_time(text: str) -> float:
    value = _seconds(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} s is too short: DHCP counts whole seconds")
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
    parser.add_argument("--name", default="controller", help="among those that share the store")
    parser.add_argument("--openflow", type=Endpoint.parse, default=Endpoint("127.0.0.1", 6653))
    parser.add_argument("--rest", type=Endpoint.parse, default=Endpoint("127.0.0.1", 8080))
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="answer over HTTP only who knows the token in it; needed to listen beyond loopback",
    )
    parser.add_argument(
        "--namespaces",
        nargs="+",
        default=[],
        metavar="NAME",
        help="network namespaces in which switches reach the OpenFlow address too",
    )
    parser.add_argument("--lease-time", type=_lease_time, default=120.0, metavar="S")
    parser.add_argument("--quarantine", type=_seconds, default=60.0, metavar="S")
    arguments = parser.parse_args()
    if arguments.token_file is None and not arguments.rest.is_loopback:
        parser.error(
            f"--rest {arguments.rest.host}: whoever reaches this could take every lease away; "
            "give --token-file, or an address of loopback"
        )
    return arguments


def main() -> int:
    """Run until a signal; 0 then, 1 if it cannot start. Who is deposed begins anew."""
    arguments = _arguments()
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
    )
    logging.getLogger("ryu").setLevel(logging.WARNING)
    ryu_compat.prepare()
    from controller.core.lease import SECOND, Terms
    from controller.process import Setup, run
    from controller.rest.token import read_token
    from controller.store import StoreError
    from topologies.explicit import read_json
    from topologies.plan import plan

    terms = Terms(int(arguments.lease_time * SECOND), int(arguments.quarantine * SECOND))
    try:
        token = None if arguments.token_file is None else read_token(arguments.token_file)
        setup = Setup(
            arguments.name,
            plan(read_json(arguments.network)),
            arguments.db,
            terms,
            (arguments.openflow.host, arguments.openflow.port),
            (arguments.rest.host, arguments.rest.port),
            arguments.namespaces,
            token,
        )
        was_deposed = run(setup)
    except (OSError, ValueError, StoreError) as error:
        LOG.error("%s", error)
        return 1
    if was_deposed:
        LOG.warning("another controller leads by now: this one begins anew, as a standby")
        os.execv(sys.executable, sys.orig_argv)
    return 0


if __name__ == "__main__":
    sys.exit(main())
