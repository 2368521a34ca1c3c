"""Namespaces, cables and addresses of a lab, by netlink: no process is started for any of them.

An emulated link has two cables, one at each end, whose inner ends meet in the namespace LINKS
where the link emulator reads and writes them. A link that does nothing is one cable.
"""

from __future__ import annotations

import array
import ctypes
import fcntl
import os
import re
import socket
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from topologies.emulation import netns, rtnetlink
from topologies.emulation.options import DatapathChoice
from topologies.emulation.processes import LabError
from topologies.emulation.rtnetlink import CableEnd, Netlink, Request
from topologies.family import FAMILIES, Family
from topologies.model import Line
from topologies.plan import (
    GATEWAY_ADDRESS,
    GATEWAY_ADDRESS6,
    GATEWAY_MAC,
    HANDED_ON_ADDRESS,
    HANDED_ON_ADDRESS6,
    HANDED_ON_MAC,
    End,
    HostPlan,
    HostRole,
    LinkPlan,
    Plan,
    router_mac,
)

LINKS = "links"
"""The namespace of the link emulator."""

MAX_SWITCH_NAMESPACES = 64
"""More switches than this share namespaces, and so a switch daemon, in equal groups."""

SwitchNamespaces = Mapping[str, str]
"""The namespace of each switch."""

ETH0 = 2
"""The index of every host's only interface: the first after lo."""

_SIOCETHTOOL = 0x8946
_OFFLOADS = {"tx": 0x17, "sg": 0x19, "tso": 0x1F, "gso": 0x24}  # ETHTOOL_S*


def is_emulated(link: LinkPlan) -> bool:
    """Whether a link does anything to packets, so that the emulator must carry it."""
    return link.line != Line()


def switch_namespaces(plan: Plan, datapath: DatapathChoice) -> SwitchNamespaces:
    """The namespace of each switch: its own, or that of the first switch of its group.

    In user space all ports of a namespace are polled by one daemon in turn, so a packet waits
    longer the more switches share it: about 30 us for each of them. The kernel's datapath
    forwards without the daemon, so one is enough for all.
    """
    names = [switch.name for switch in plan.switches]
    most = 1 if datapath == "kernel" else MAX_SWITCH_NAMESPACES
    size = -(-len(names) // most)
    return {name: names[index - index % size] for index, name in enumerate(names)}


def namespace_of(of_switch: SwitchNamespaces, node: str) -> str:
    """Where a node's interfaces are: switches may share one, all else has its own."""
    return of_switch.get(node, node)


def raise_loopback() -> None:
    """Bring 127.0.0.1 to life in the present namespace."""
    with Netlink() as here:
        here.send([rtnetlink.up("lo")])


def make_namespaces(plan: Plan, of_switch: SwitchNamespaces) -> None:
    """Make a namespace for each host, each switch or group of switches, and LINKS."""
    hosts = {host.name for host in plan.hosts}
    for name in _namespaces(plan, of_switch):
        netns.create(name)
        with netns.inside(name):
            _set_ipv6(QUIET_IPV6 if name in hosts else NO_IPV6)
            raise_loopback()


def _namespaces(plan: Plan, of_switch: SwitchNamespaces) -> tuple[str, ...]:
    switches = dict.fromkeys((*of_switch.values(), *(router.name for router in plan.routers)))
    return (LINKS, *switches, *(host.name for host in plan.hosts))


def wire(plan: Plan, of_switch: SwitchNamespaces, inner: bool) -> None:
    """Make every cable of the plan and configure the hosts; the namespaces exist.

    ``inner`` says that the link emulator meets cables in LINKS; otherwise it works on the outer
    ends of a single cable. Raises LabError naming what the kernel refused.
    """
    with open_namespaces(_namespaces(plan, of_switch)) as namespaces, Netlink() as here:
        _carry_out(here, _cables(plan, of_switch, namespaces, inner), "between namespaces")
    for namespace, interfaces in _interfaces(plan, of_switch, inner).items():
        with netns.inside(namespace), Netlink() as own:
            _carry_out(own, map(rtnetlink.up, interfaces), f"in {namespace}")
    for host in plan.hosts:
        with netns.inside(host.name), Netlink() as own:
            _carry_out(own, _settings(plan, host), f"in {host.name}")
            disable_offloads("eth0")


def _carry_out(handle: Netlink, requests: Iterable[Request], where: str) -> None:
    try:
        handle.send(requests)
    except OSError as error:
        raise LabError(f"The kernel refused a step of the wiring {where}: {error}") from error


def _interfaces(plan: Plan, of_switch: SwitchNamespaces, inner: bool) -> Mapping[str, list[str]]:
    """The interfaces of each namespace that is not a host's."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for link in plan.links:
        for end in (link.a, link.b):
            if end.port is not None:
                found[namespace_of(of_switch, end.node)].append(end.interface)
        if inner and is_emulated(link):
            found[LINKS].extend(link.inner)
    return found


@contextmanager
def open_namespaces(names: Iterable[str]) -> Iterator[Mapping[str, int]]:
    """An open file descriptor for each namespace."""
    with ExitStack() as stack:
        opened = {}
        for name in names:
            opened[name] = os.open(netns.path(name), os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, opened[name])
        yield opened


NO_IPV6 = {"disable_ipv6": "1"}
"""Of a namespace that only passes frames on."""

QUIET_IPV6 = {
    "accept_ra": "0",
    "addr_gen_mode": "1",  # no link-local address
    "dad_transmits": "0",
    "keep_addr_on_down": "1",
    "router_solicitations": "0",
}
"""Of a host: it has the addresses that it is given, and asks nobody about them."""


def _set_ipv6(settings: Mapping[str, str]) -> None:
    """How the interfaces of the present namespace, those to come too, treat IPv6."""
    for scope in ("all", "default"):
        for name, value in settings.items():
            setting = Path(f"/proc/sys/net/ipv6/conf/{scope}/{name}")
            if setting.exists():
                setting.write_text(value)


def _cables(
    plan: Plan, of_switch: SwitchNamespaces, namespaces: Mapping[str, int], inner: bool
) -> Iterator[Request]:
    """One cable for a plain link, two for one whose emulator stands in the middle."""
    routers = {router.name for router in plan.routers}

    def cable_end(link: LinkPlan, end: End) -> CableEnd:
        there = namespaces[namespace_of(of_switch, end.node)]
        if end.port is None:
            return CableEnd(end.interface, there, plan.host(end.node).mac, ETH0)
        return CableEnd(
            end.interface, there, router_mac(link, end) if end.node in routers else None
        )

    for link in plan.links:
        if inner and is_emulated(link):
            for end, name in zip((link.a, link.b), link.inner, strict=True):
                yield rtnetlink.cable(cable_end(link, end), CableEnd(name, namespaces[LINKS]))
        else:
            yield rtnetlink.cable(cable_end(link, link.a), cable_end(link, link.b))


def _settings(plan: Plan, host: HostPlan) -> Iterator[Request]:
    """Addresses and default routes of a host; a server also owns the service prefixes."""
    yield rtnetlink.up("eth0")
    for family in families():
        yield rtnetlink.address(ETH0, host.at(family))
    yield from _way_out(host)
    if host.role is HostRole.SERVER:
        for family in families():
            yield from map(rtnetlink.local_route, plan.service_prefixes(family))


def families() -> tuple[Family, ...]:
    """The families that this kernel has: there are some without IPv6."""
    return FAMILIES if Path("/proc/sys/net/ipv6").exists() else FAMILIES[:1]


def _way_out(host: HostPlan) -> Iterator[Request]:
    """What the kernel forgets when a host's interface goes down."""
    for gateway in (GATEWAY_ADDRESS, GATEWAY_ADDRESS6)[: len(families())]:
        yield rtnetlink.neighbour(ETH0, gateway, GATEWAY_MAC)
        yield rtnetlink.default_route(ETH0, gateway)
    if host.role is not HostRole.SERVER:
        return
    for gateway in (HANDED_ON_ADDRESS, HANDED_ON_ADDRESS6)[: len(families())]:
        yield rtnetlink.neighbour(ETH0, gateway, HANDED_ON_MAC)
        yield rtnetlink.link_route(ETH0, gateway)


def restore(host: HostPlan) -> None:
    """Give a host whose interface may have been down its way out again."""
    with netns.inside(host.name), Netlink() as own:
        _carry_out(own, [rtnetlink.up("eth0"), *_way_out(host)], f"in {host.name}")


def set_port(of_switch: SwitchNamespaces, link: LinkPlan, up: bool) -> None:
    """Set a plain cable's end at a switch up or down; the other end sees its carrier change."""
    end = link.b if link.a.port is None else link.a
    change = rtnetlink.up if up else rtnetlink.down
    with netns.inside(namespace_of(of_switch, end.node)), Netlink() as own:
        _carry_out(own, [change(end.interface)], f"at {end.node}")


def is_configured(host: HostPlan) -> bool:
    """Whether the host has its address and its default route, asked of the kernel."""
    with netns.inside(host.name):
        addresses = Path("/proc/thread-self/net/fib_trie").read_text()
        routes = Path("/proc/thread-self/net/route").read_text().splitlines()[1:]
    has_default = any(route.split()[:2] == ["eth0", "00000000"] for route in routes)
    has_address = re.search(rf"-- {re.escape(str(host.address))}\s+/32 host LOCAL", addresses)
    return has_default and has_address is not None


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
