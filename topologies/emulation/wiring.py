"""Namespaces, cables and addresses of a lab, by netlink: no process is started for any of them.

An emulated link has two cables, one at each end, whose inner ends meet in the namespace LINKS
where the link emulator reads and writes them. A link that does nothing is one cable.
"""

from __future__ import annotations

import array
import ctypes
import fcntl
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from topologies.emulation import netns
from topologies.emulation.processes import LabError
from topologies.model import Line
from topologies.plan import GATEWAY_ADDRESS, GATEWAY_MAC, End, HostPlan, HostRole, LinkPlan, Plan

LINKS = "links"
"""The namespace of the link emulator."""

PERMANENT = 0x80  # NUD_PERMANENT
RT_SCOPE_HOST = 254
RT_TABLE_LOCAL = 255
LOOPBACK = 1  # the index of lo in every namespace

_SIOCETHTOOL = 0x8946
_OFFLOADS = {"tx": 0x17, "sg": 0x19, "tso": 0x1F, "gso": 0x24}  # ETHTOOL_S*


def is_emulated(link: LinkPlan) -> bool:
    """Whether a link does anything to packets, so that the emulator must carry it."""
    return link.line != Line()


def wire(plan: Plan) -> None:
    """Make every namespace and cable of the plan and configure the hosts.

    Raises LabError naming what the kernel refused.
    """
    for name in (LINKS, *(host.name for host in plan.hosts)):
        netns.create(name)
        with netns.inside(name):
            _disable_ipv6()
    _disable_ipv6()
    with _netlink("the switches' namespace") as switches:
        for link in plan.links:
            _cables(switches, plan, link)
        _raise_all(switches)
    with netns.inside(LINKS), _netlink(LINKS) as inner:
        _raise_all(inner)
    for host in plan.hosts:
        with netns.inside(host.name), _netlink(host.name) as own:
            _configure(own, plan, host)


def raise_loopback() -> None:
    """Bring 127.0.0.1 to life in the present namespace."""
    with _netlink("the switches' namespace") as handle:
        handle.link("set", index=LOOPBACK, state="up")


@contextmanager
def _netlink(where: str) -> Iterator[IPRoute]:
    """A netlink socket of the present namespace; kernel refusals become LabError."""
    handle = IPRoute()
    try:
        yield handle
    except NetlinkError as error:
        raise LabError(f"The kernel refused a step of the wiring in {where}: {error}") from error
    finally:
        handle.close()


def _disable_ipv6() -> None:
    """Keep router solicitations and listener reports off the emulated links."""
    for scope in ("all", "default"):
        setting = Path(f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6")
        if setting.exists():
            setting.write_text("1")


def _cables(switches: IPRoute, plan: Plan, link: LinkPlan) -> None:
    if not is_emulated(link):
        a, b = _end(plan, link.a), _end(plan, link.b)
        switches.link("add", kind="veth", **b, peer=a)
        return
    for end, inner in zip((link.a, link.b), link.inner, strict=True):
        outer = _end(plan, end)
        peer = {"ifname": inner, "net_ns_fd": str(netns.path(LINKS))}
        switches.link("add", kind="veth", **outer, peer=peer)


def _end(plan: Plan, end: End) -> dict[str, str]:
    """One end of a cable: in the host's namespace, or here among the switches."""
    if end.port is not None:
        return {"ifname": end.interface}
    namespace, mac = str(netns.path(end.node)), plan.host(end.node).mac
    return {"ifname": end.interface, "net_ns_fd": namespace, "address": mac}


def _raise_all(handle: IPRoute) -> None:
    for link in handle.get_links():
        handle.link("set", index=link["index"], state="up")


def _configure(own: IPRoute, plan: Plan, host: HostPlan) -> None:
    """Address, default route and gateway of a host; a server also owns the service addresses."""
    own.link("set", index=LOOPBACK, state="up")
    interface = own.link_lookup(ifname="eth0")[0]
    disable_offloads("eth0")
    own.link("set", index=interface, state="up")
    own.addr("add", index=interface, address=str(host.address), prefixlen=32)
    gateway = str(GATEWAY_ADDRESS)
    own.neigh("add", dst=gateway, lladdr=GATEWAY_MAC, ifindex=interface, state=PERMANENT)
    # RTNH_F_ONLINK: the gateway is a name for the switch, no route leads to it
    own.route("add", dst="default", gateway=gateway, oif=interface, flags=["onlink"])
    if host.role is HostRole.SERVER:
        add_local_addresses(own, (str(address) for address in plan.network.services))


def is_configured(host: HostPlan) -> bool:
    """Whether the host has its address and a default route."""
    with netns.inside(host.name), _netlink(host.name) as own:
        addresses = {entry.get_attr("IFA_ADDRESS") for entry in own.get_addr(family=socket.AF_INET)}
        routes = own.get_default_routes(family=socket.AF_INET)
        return str(host.address) in addresses and bool(tuple(routes))


def add_local_addresses(handle: IPRoute, addresses: Iterable[str]) -> None:
    """AnyIP: accept an address that no interface carries, on every server that serves it."""
    for address in addresses:
        handle.route(
            "replace",
            dst=f"{address}/32",
            type="local",
            scope=RT_SCOPE_HOST,
            table=RT_TABLE_LOCAL,
            oif=LOOPBACK,
        )


def disable_offloads(interface: str) -> None:
    """Make the kernel finish packets before an interface sends them.

    The switch's userspace datapath cannot complete checksums or cut large segments, and TCP
    would stall without any error.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        for what, command in _OFFLOADS.items():
            request = array.array("B", struct.pack("II", command, 0))
            pointer = ctypes.c_void_p(request.buffer_info()[0])
            packed = struct.pack("16sP8x", interface.encode(), pointer.value or 0)
            try:
                fcntl.ioctl(handle, _SIOCETHTOOL, packed)
            except OSError as error:
                raise LabError(f"Cannot switch {what} off on {interface}: {error}") from error
