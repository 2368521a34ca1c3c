"""The lending controller's DHCP door, used by a DHCP client that is none of ours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from controller.dhcp import CLIENT_PORT, Option, PortParameters
from experiments.runs.testbed import Testbed
from tests.net import perfdhcp
from tests.net.perfdhcp import ACKNOWLEDGED, OFFERED, RENEWED, Exchange
from topologies.plan import HostPlan
from topologies.sources import load

pytestmark = [
    pytest.mark.net,
    pytest.mark.sandboxed,
    pytest.mark.skipif(
        not perfdhcp.is_here(), reason=f"no {perfdhcp.PROGRAM} here: `{perfdhcp.INSTALL}`"
    ),
]

EXCHANGES, RENEWALS_PER_S = 20, 1
PER_S = 4
"""With the renewals, nine messages a second: the door takes ten."""
SIZE = 6


@dataclass(frozen=True)
class Stranger:
    """perfdhcp on a server: one client, by the server's own MAC address unless told otherwise."""

    host: HostPlan

    def ask(
        self, *arguments: object, ports: PortParameters | None, mac: str | None = None
    ) -> dict[str, Exchange]:
        """From the port of clients to all; ``ports`` stand in every message."""
        given = ["-B", "-L", CLIENT_PORT, "-b", f"mac={mac or self.host.mac}", "-r", PER_S]
        if ports is not None:
            given += ["-o", f"{int(Option.PORT_PARAMETERS)},{ports.encode().hex()}"]
        return perfdhcp.run(self.host.name, *given, *arguments, server="255.255.255.255")

    def lease(self, lab: Testbed) -> dict[str, Any]:
        """What the book says that it holds: its identifier is its hardware address."""
        name = "0x01" + self.host.mac.replace(":", "")
        (found,) = [x for x in lab.controller_api.leases() if x["client_id"] == name]
        return found


def test_perfdhcp_borrows_and_renews_and_no_answer_is_missing(lab_folder: Path) -> None:
    with Testbed(load("triangle"), folder=lab_folder) as lab:
        lab.kill("agent")  # which has the port of clients
        stranger = Stranger(lab.plan.host("LHR-s1"))
        # It requests the set that it was told to, not the offered one: system ports, never lent.
        refused = stranger.ask("-n", 1, ports=PortParameters(SIZE, 0))
        assert refused[OFFERED].counts == (1, 1, 0)
        assert refused[ACKNOWLEDGED].counts == (1, 0, 1)
        lease = stranger.lease(lab)
        assert (lease["server"], lease["psid_bits"]) == ("LHR-s1", SIZE)

        before = lab.controller_api.status()["counts"] | {"health_answers": 0}
        own = PortParameters(SIZE, lease["psid"])
        done = stranger.ask("-n", EXCHANGES, "-f", RENEWALS_PER_S, ports=own)
        assert done[OFFERED].counts == (EXCHANGES, EXCHANGES, 0)
        assert done[ACKNOWLEDGED].counts == (EXCHANGES, EXCHANGES, 0)
        renewed = done[RENEWED].sent
        assert renewed > 0
        assert done[RENEWED].counts == (renewed, renewed, 0)

        taken = 2 * EXCHANGES + renewed
        after = lab.controller_api.status()["counts"] | {"health_answers": 0}
        assert after == before | {"packet_ins": before["packet_ins"] + taken}
        now = stranger.lease(lab)
        assert (now["number"], now["state"]) == (lease["number"], "lent")
        assert now["expires_in_s"] > lease["expires_in_s"]  # an offer became a lease
        audit = lab.controller_api.audit()
        assert audit["agrees"], audit


def test_an_ordinary_client_and_one_by_another_mac_get_no_answer(lab_folder: Path) -> None:
    with Testbed(load("triangle"), folder=lab_folder) as lab:
        lab.kill("agent")
        stranger = Stranger(lab.plan.host("LHR-s1"))
        leases = {x["number"] for x in lab.controller_api.leases()}
        ordinary = stranger.ask("-n", 1, ports=None)
        other = lab.plan.host("LHR-s2").mac
        forged = stranger.ask("-n", 1, ports=PortParameters(SIZE, 0), mac=other)
        assert ordinary[OFFERED].counts == forged[OFFERED].counts == (1, 0, 1)
        counts = lab.controller_api.status()["counts"]
        assert (counts["dhcp_ignored"], counts["dhcp_malformed"]) == (1, 1)
        assert {x["number"] for x in lab.controller_api.leases()} == leases
