"""A lab whose book is full of leases, and what one more change costs, as JSON.

``python -m benchmarks.changes_inside LEASES``
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from dataclasses import replace
from ipaddress import IPv4Network
from itertools import islice
from pathlib import Path

from controller.core.events import LeaseChanged
from controller.core.lease import SECOND, Lease, LeaseState
from controller.store import Record, open_store
from experiments.runs.testbed import Testbed
from topologies.model import Pool
from topologies.plan import HostRole, plan
from topologies.sources import load

FOLDER = Path("/run/bench")
TRIES = 40
BULK = Pool(IPv4Network("203.0.0.0/19"), tag="bulk")
NETWORK = load("triangle")
NETWORK = replace(NETWORK, pools=(*NETWORK.pools, BULK))


class Filled(Testbed):
    """A testbed whose store knows many leases before its controller starts."""

    leases_before = 0

    def start_controllers(self) -> None:
        """Fill the store, then as usual."""
        store = open_store(self.store)
        store.commit(
            Record(number, time.time_ns(), 0, LeaseChanged(lease))
            for number, lease in enumerate(leases(self.leases_before), 1)
        )
        store.close()
        super().start_controllers()


def leases(count: int) -> list[Lease]:
    """So many live leases, each address full, the servers in turn; draining, so that they last."""
    servers = plan(NETWORK).hosts_of(HostRole.SERVER)
    places = (
        (at, address, psid)
        for at, address in enumerate(BULK.prefix)
        for psid in range(1, 1 << NETWORK.port_set_bits)
    )
    sets = (
        Lease(
            address=address,
            psid=psid,
            psid_bits=NETWORK.port_set_bits,
            state=LeaseState.DRAINING,
            server=server.name,
            pop=server.city,
            tag=BULK.tag,
            home=server.city,
            client_id="",
            number=number,
            since_ns=time.time_ns(),
            until_ns=time.time_ns() + 86_400 * SECOND,
        )
        for number, (at, address, psid) in enumerate(places, 1)
        for server in [servers[at % len(servers)]]
    )
    return list(islice(sets, count))


def main() -> None:
    """Time a weight, a lease that ends, and a question that changes nothing."""
    Filled.leases_before = int(sys.argv[1])
    with Filled(NETWORK, folder=FOLDER) as lab:
        api, ended = lab.controller_api, leases(TRIES)
        rules = sum(switch["rules"] for switch in api.status()["switches"].values())
        found: dict[str, list[float]] = {"ask_s": [], "weight_s": [], "revoke_s": []}
        for number in range(TRIES):
            weight = {"event": "WeightSet", "server": "LHR-s1", "weight": 2 + number % 2}
            for name, act in (
                ("ask_s", api.world),
                ("weight_s", lambda weight=weight: api.happen(weight)),
                ("revoke_s", lambda at=ended[number].key: api.change_lease("revoke", *at)),
            ):
                began = time.perf_counter()
                act()
                found[name].append(time.perf_counter() - began)
        began = time.perf_counter()
        agrees = api.audit()["agrees"]
        audit_s = time.perf_counter() - began
    medians = {name: statistics.median(times) for name, times in found.items()}
    more = {"rules": rules, "audit_s": audit_s, "agrees": agrees}
    sys.stdout.write(json.dumps(more | medians) + "\n")


if __name__ == "__main__":
    main()
