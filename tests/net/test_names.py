"""Many service addresses, and names for them, on a real lab."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import dns.message
import dns.query
import dns.rcode
import dns.resolver
import pytest

from experiments.runs.testbed import Testbed
from topologies.emulation import netns
from topologies.model import Names, Network
from topologies.plan import HostRole
from topologies.sources import load

pytestmark = [pytest.mark.net, pytest.mark.sandboxed]

PREFIX = IPv4Network("198.51.100.0/24")


def network(names: Names = Names.RANDOM) -> Network:
    return replace(load("triangle"), service_prefixes=(PREFIX,), names=names)


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


def test_names_have_addresses_that_serve_them(lab_folder: Path) -> None:
    with Testbed(network(), folder=lab_folder) as lab:
        client = lab.plan.host("LHR-c1")
        resolver = dns.resolver.Resolver(configure=False)
        for family, kind in ((4, "A"), (6, "AAAA")):
            resolver.nameservers = [str(lab.plan.services(family)[77])]
            with netns.inside(client.name):
                for tcp in (False, True):
                    found = {
                        resolver.resolve("www.poplab.test", kind, tcp=tcp)[0].address
                        for _ in range(20)
                    }
                    assert found <= set(map(str, lab.plan.services(family)))
                    assert len(found) > 10
                with pytest.raises(dns.resolver.NXDOMAIN):
                    resolver.resolve("_dmarc.poplab.test", kind)
                with pytest.raises(dns.resolver.NoAnswer):
                    resolver.resolve("www.poplab.test", "MX")
                query = dns.message.make_query("example.com", kind)
                refused = dns.query.udp(query, resolver.nameservers[0], timeout=5)
                assert refused.rcode() == dns.rcode.REFUSED

        assert f"{PREFIX[0]}"[:11] in run(client.name, "getent", "ahostsv4", "a.poplab.test")
        page = run(client.name, "curl", "-sS4", "-m", "5", "http://shop.poplab.test/trace")
        assert f"pop={client.city}\n" in page
        assert "host=198.51.100." in page

        lab.serve("LHR-s1", up=False)
        lab.serve("LHR-s1", up=True)
        assert "host=" in run(client.name, "curl", "-sS4", "-m", "5", "http://x.poplab.test/trace")


def test_static_names_are_the_same_at_every_pop(lab_folder: Path) -> None:
    with Testbed(network(Names.STATIC), folder=lab_folder) as lab:
        for name in ("a.poplab.test", "b.poplab.test"):
            told = {
                run(client.name, "getent", "ahostsv4", name).split()[0]
                for client in lab.plan.hosts_of(HostRole.CLIENT)
            }
            assert len(told) == 1
