"""Kea's DHCPv4 server under perfdhcp, over one cable, and what came of it, as JSON.

``python -m benchmarks.kea_inside RATE SECONDS``: an open loop, every exchange by a client of its
own. Kea is as it comes: one thread, leases in memory and appended to a file that nobody waits for.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from tests.links.bench import ip
from tests.net import perfdhcp
from topologies.emulation import netns
from topologies.emulation.processes import Program, start, until

FOLDER = Path("/run/kea")
KEA = "kea-dhcp4"
INSTALL = "setup/packages.sh kea-dhcp4-server kea-admin"
SERVER, CLIENTS = "kea", "clients"
ADDRESS = "10.0.0.1"
CLIENT_COUNT = 1_000_000
CONFIGURATION = {
    "interfaces-config": {"interfaces": ["eth0"], "dhcp-socket-type": "udp"},
    "lease-database": {
        "type": "memfile",
        "persist": True,
        "name": str(FOLDER / "leases.csv"),
        "lfc-interval": 0,
    },
    "valid-lifetime": 3600,
    "subnet4": [{"subnet": "10.0.0.0/8", "pools": [{"pool": "10.1.0.0-10.31.255.255"}]}],
    "loggers": [{"name": KEA, "severity": "WARN", "output_options": [{"output": "stderr"}]}],
}
LISTENING = ":0043 "
"""Port 67 in the kernel's list of UDP sockets."""


def missing() -> str | None:
    """The first program that this host lacks, None if all are here."""
    return next((name for name in (KEA, perfdhcp.PROGRAM) if shutil.which(name) is None), None)


def lay_cable() -> None:
    """A namespace for each side, and a cable between them."""
    for side in (SERVER, CLIENTS):
        netns.create(side)
    ip(f"link add name eth0 netns {SERVER} type veth peer name eth0 netns {CLIENTS}")
    for side, address in ((SERVER, ADDRESS), (CLIENTS, "10.0.0.2")):
        ip(f"address add {address}/8 dev eth0", "link set dev eth0 up", netns=side)


def listening() -> bool:
    """Whether the server has its port."""
    with netns.inside(SERVER):
        return LISTENING in Path("/proc/thread-self/net/udp").read_text()


def start_kea() -> Program:
    """The server, once it listens."""
    FOLDER.mkdir()
    file = FOLDER / "kea.json"
    file.write_text(json.dumps({"Dhcp4": CONFIGURATION}))
    # A copy: AppArmor lets the package's own program read and write in the host's folders only.
    program = shutil.copy(shutil.which(KEA) or KEA, FOLDER / KEA)
    command = ["ip", "netns", "exec", SERVER, str(program), "-c", str(file)]
    places = {"KEA_PIDFILE_DIR": str(FOLDER), "KEA_LOCKFILE_DIR": str(FOLDER)}
    kea = start(KEA, command, FOLDER, os.environ | places)

    def ready() -> bool:
        kea.check()
        return listening()

    until(ready, f"{KEA} to listen")
    return kea


def main() -> None:
    """Ask for so many exchanges a second.

    The mean is of both waits; what perfdhcp takes from OFFER to REQUEST is not in it.
    """
    rate, seconds = int(sys.argv[1]), int(sys.argv[2])
    lay_cable()
    kea = start_kea()
    asked = ("-r", rate, "-p", seconds, "-R", CLIENT_COUNT)
    done = perfdhcp.run(CLIENTS, *asked, server=ADDRESS)
    kea.stop()
    offered, acknowledged = done[perfdhcp.OFFERED], done[perfdhcp.ACKNOWLEDGED]
    found = {
        "per_s": acknowledged.received / seconds,
        "ack_mean_s": offered.mean_s + acknowledged.mean_s,
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
