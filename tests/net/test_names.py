"""Many service addresses on a real lab."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from experiments.runs.testbed import Testbed
from topologies.model import Network
from topologies.plan import HostRole
from topologies.sources import load

pytestmark = [pytest.mark.net, pytest.mark.sandboxed]

PREFIX = IPv4Network("198.51.100.0/24")


def network() -> Network:
    return replace(load("triangle"), service_prefixes=(PREFIX,))


def run(host: str, *command: str) -> str:
    whole = ["ip", "netns", "exec", host, *command]
    done = subprocess.run(whole, capture_output=True, text=True, timeout=20, check=False)
    return done.stdout + done.stderr


def test_every_address_of_a_prefix_is_served(lab_folder: Path) -> None:
    with Testbed(network(), folder=lab_folder) as lab:
        for client in lab.plan.hosts_of(HostRole.CLIENT):
            for family in (4, 6):
                for number in (0, 1, 77, 254, 255):
                    service = lab.plan.services(family)[number]
                    url = f"http://[{service}]" if family == 6 else f"http://{service}"
                    page = run(client.name, "curl", "-sSg", "-m", "5", f"{url}/trace")
                    assert f"pop={client.city}\n" in page
                    assert f"host={service}\n" in page
