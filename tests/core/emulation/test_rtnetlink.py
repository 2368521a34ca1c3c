"""Our rtnetlink bytes against pyroute2's decoder, an independent reading of the same format."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv4Network, IPv6Address

from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from topologies.emulation import rtnetlink
from topologies.emulation.rtnetlink import CableEnd, Request


def decoded(kind: type, request: Request) -> object:
    header = struct.pack("=IHHII", 16 + len(request.body), request.kind, 0, 1, 0)
    message = kind(header + request.body)
    message.decode()
    return message


def test_cable_names_both_ends_and_places_them() -> None:
    request = rtnetlink.cable(
        CableEnd("tLHR-eth1"), CableEnd("eth0", namespace=7, mac="02:0a:0a:01:00:01", index=2)
    )
    message = decoded(ifinfmsg, request)
    assert message.get_attr("IFLA_IFNAME") == "tLHR-eth1"
    assert message.get_attr("IFLA_NET_NS_FD") is None
    information = message.get_attr("IFLA_LINKINFO")
    assert information.get_attr("IFLA_INFO_KIND") == "veth"
    peer = information.get_attr("IFLA_INFO_DATA").get_attr("VETH_INFO_PEER")
    assert peer["index"] == 2
    assert peer["flags"] == 0
    assert peer.get_attr("IFLA_IFNAME") == "eth0"
    assert peer.get_attr("IFLA_ADDRESS") == "02:0a:0a:01:00:01"


def test_up_sets_exactly_the_up_flag() -> None:
    message = decoded(ifinfmsg, rtnetlink.up("eth0"))
    assert (message["flags"], message["change"]) == (1, 1)
    assert message.get_attr("IFLA_IFNAME") == "eth0"


def test_address_is_a_host_address() -> None:
    message = decoded(ifaddrmsg, rtnetlink.address(2, IPv4Address("10.3.0.1")))
    assert (message["prefixlen"], message["index"]) == (32, 2)
    assert message.get_attr("IFA_LOCAL") == "10.3.0.1"


def test_default_route_is_on_link() -> None:
    message = decoded(rtmsg, rtnetlink.default_route(2, IPv4Address("169.254.1.1")))
    assert (message["dst_len"], message["type"], message["flags"]) == (0, 1, 4)
    assert message.get_attr("RTA_GATEWAY") == "169.254.1.1"
    assert message.get_attr("RTA_OIF") == 2


def test_local_route_is_any_ip() -> None:
    message = decoded(rtmsg, rtnetlink.local_route(IPv4Address("198.51.100.1")))
    assert (message["dst_len"], message["type"], message["table"]) == (32, 2, 255)
    assert message.get_attr("RTA_DST") == "198.51.100.1"
    assert message.get_attr("RTA_OIF") == rtnetlink.LOOPBACK


def test_local_route_of_a_prefix() -> None:
    message = decoded(rtmsg, rtnetlink.local_route(IPv4Network("198.51.100.0/24")))
    assert (message["dst_len"], message.get_attr("RTA_DST")) == (24, "198.51.100.0")


def test_neighbour_never_expires() -> None:
    request = rtnetlink.neighbour(2, IPv4Address("169.254.1.1"), "02:00:00:00:00:01")
    message = decoded(ndmsg, request)
    assert message["state"] == 0x80
    assert message.get_attr("NDA_DST") == "169.254.1.1"
    assert message.get_attr("NDA_LLADDR") == "02:00:00:00:00:01"


def test_ipv6_is_said_in_its_own_family_and_nobody_is_asked() -> None:
    ip = IPv6Address("2001:db8::a01:1")
    message = decoded(ifaddrmsg, rtnetlink.address(2, ip))
    assert (message["family"], message["prefixlen"]) == (10, 128)
    assert message.get_attr("IFA_LOCAL") == str(ip)
    assert message.get_attr("IFA_FLAGS") == 2  # no duplicate address detection
    route = decoded(rtmsg, rtnetlink.default_route(2, IPv6Address("fe80::1")))
    assert (route["family"], route["dst_len"], route["flags"]) == (10, 0, 4)
    assert route.get_attr("RTA_GATEWAY") == "fe80::1"
    local = decoded(rtmsg, rtnetlink.local_route(ip))
    assert (local["family"], local["dst_len"], local["type"]) == (10, 128, 2)
    assert local.get_attr("RTA_DST") == str(ip)
    entry = decoded(ndmsg, rtnetlink.neighbour(2, IPv6Address("fe80::1"), "02:00:00:00:00:01"))
    assert (entry["family"], entry["state"]) == (10, 0x80)
    assert entry.get_attr("NDA_DST") == "fe80::1"
