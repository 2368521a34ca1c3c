"""IPv6 twins of IPv4 addresses and prefixes."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topologies.family import FAMILIES, address, prefix
from topologies.plan import plan
from topologies.sources import load


@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_a_twin_is_in_the_twin_of_its_prefix_and_in_no_other(ip: IPv4Address, length: int) -> None:
    network = IPv4Network((ip, length), strict=False)
    assert address(ip, 4) is ip
    assert address(ip, 6) in prefix(network, 6)
    assert prefix(network, 6).num_addresses == network.num_addresses
    assert prefix(network, 4) == network
    outside = IPv4Address(int(ip) ^ 1 << (32 - length)) if length else None
    assert outside is None or address(outside, 6) not in prefix(network, 6)


def test_an_embedded_address_is_that_of_the_rfc() -> None:
    """RFC 6052 section 2.4, with a /96: the last four bytes are the IPv4 address's."""
    assert address(IPv4Address("192.0.2.33"), 6) == IPv6Address("2001:db8::192.0.2.33")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_host_lies_in_the_prefix_of_its_switch(family: int) -> None:
    p = plan(load("europe"))
    for host in p.hosts:
        for switch in p.switches:
            inside = host.at(family) in switch.covers(family)  # type: ignore[arg-type]
            assert inside == (switch.name == host.switch)
    assert len({host.at(family) for host in p.hosts}) == len(p.hosts)  # type: ignore[arg-type]
