"""From a network to everything that must be numbered: a pure function with golden files.

A plan fixes names, addresses, MAC addresses, datapath ids, port numbers and interface names,
so that the lab, the controller and the experiments agree without talking to each other.

Names. A city ``LHR`` has the transit switch ``tLHR``; its PoP has the edge switch ``eLHR`` and
the servers ``LHR-s1``...; its clients are ``LHR-c1``..., its origins ``LHR-o1``.... A host's
only interface is ``eth0`` in its own namespace; port n of a switch is ``tLHR-eth<n>``.

Addresses. City number i (from 1) owns the i-th equal part of 10.0.0.0/8 for its clients and
origins; PoP number i the i-th equal part of 172.16.0.0/12 for its servers' own addresses. Parts
are /16 as long as the numbers fit (10.3.0.1 is in city 3, 172.18.0.1 in PoP 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network

from topologies.model import Line, Network

GATEWAY_ADDRESS = IPv4Address("169.254.1.1")
"""Every host's default gateway: link-local, answered by the switch (no router exists)."""

GATEWAY_MAC = "02:00:00:00:00:01"
"""The gateway's MAC address on every host port."""


class HostRole(StrEnum):
    """What a host is for."""

    CLIENT = "client"
    SERVER = "server"
    ORIGIN = "origin"


class SwitchRole(StrEnum):
    """Where a switch stands."""

    TRANSIT = "transit"
    EDGE = "edge"


class LinkKind(StrEnum):
    """What a link connects."""

    ACCESS = "access"  # client or origin to transit
    SERVER = "server"  # server to edge: a cable, no delay
    UPLINK = "uplink"  # edge to transit
    TRANSIT = "transit"  # city to city
    BACKBONE = "backbone"  # PoP to PoP, private


@dataclass(frozen=True, slots=True)
class HostPlan:
    """One host: a network namespace with one interface, ``eth0``."""

    name: str
    role: HostRole
    city: str
    address: IPv4Address
    mac: str
    switch: str
    port: int


@dataclass(frozen=True, slots=True)
class SwitchPlan:
    """One OpenFlow switch. ``number`` counts PoPs (edge) or cities (transit) from 1.

    ``prefix`` covers every host's own address behind it.
    """

    name: str
    role: SwitchRole
    city: str
    dpid: int
    number: int
    prefix: IPv4Network


@dataclass(frozen=True, slots=True)
class End:
    """One end of a link: ``port`` is an OpenFlow port number, None on a host."""

    node: str
    interface: str
    port: int | None


@dataclass(frozen=True, slots=True)
class LinkPlan:
    """One link; ``number`` counts from 1 and names the emulator's inner interfaces."""

    number: int
    kind: LinkKind
    a: End
    b: End
    line: Line


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything numbered. Order is the network's order, so equal networks give equal plans."""

    network: Network
    switches: tuple[SwitchPlan, ...]
    hosts: tuple[HostPlan, ...]
    links: tuple[LinkPlan, ...]
