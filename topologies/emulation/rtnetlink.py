"""The few rtnetlink requests that wire and shape a lab, many in one system call.

A lab of a thousand hosts needs some ten thousand of them. Built as plain bytes and sent in
batches they cost microseconds each; see rtnetlink(7) and linux/rtnetlink.h for the layouts.
A request may name interfaces that do not exist yet: interface indices are chosen by us.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_network

from topologies.emulation.processes import PATIENCE_S
from topologies.family import Address, Prefix

LOOPBACK = 1
"""The index of ``lo`` in every namespace."""

_NEWLINK, _NEWADDR, _NEWROUTE, _DELROUTE, _NEWNEIGH = 16, 20, 24, 25, 28
_NEWQDISC, _DELQDISC, _GETQDISC = 36, 37, 38
_DONE, _DUMP = 3, 0x300
_KIND_MASK = 0x3FFF
_TRAFFIC_CONTROL = struct.Struct("=BxxxiIII")  # struct tcmsg
_ROOT, _HANDLE = 0xFFFFFFFF, 0x10000  # of a queueing discipline
_TCA_KIND, _TCA_OPTIONS, _TCA_STATS = 1, 2, 7
_STATS_BASIC, _STATS_QUEUE = 1, 3
_REQUEST, _ACK, _REPLACE, _EXCLUSIVE, _CREATE = 0x1, 0x4, 0x100, 0x200, 0x400
CREATE_NEW = _CREATE | _EXCLUSIVE
"""The flags of a request for what must not be there yet: FileExistsError if it is."""
_UP = 0x1  # IFF_UP
_SOL_NETLINK, _CAP_ACK, _EXT_ACK = 270, 10, 11
_SCOPE_HOST, _SCOPE_LINK, _SCOPE_UNIVERSE = 254, 253, 0
_TABLE_MAIN, _TABLE_LOCAL = 254, 255
_ROUTE_UNICAST, _ROUTE_LOCAL = 1, 2
_PROTOCOL_STATIC = 4
_ONLINK = 0x4
_NO_DAD = 0x2  # IFA_F_NODAD
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_PERMANENT = 0x80  # NUD_PERMANENT
_BATCH_BYTES = 8_192  # one answer takes the kernel about a kilobyte, however short it is


@dataclass(frozen=True, slots=True)
class Request:
    """One message without its header, and what it does in words, for errors."""

    kind: int
    flags: int
    body: bytes
    what: str


@dataclass(frozen=True, slots=True)
class Qdisc:
    """A queueing discipline as the kernel reports it; ``interface`` is an index."""

    interface: int
    kind: str
    is_root: bool
    options: bytes
    bytes: int = 0
    packets: int = 0
    queued: int = 0
    drops: int = 0


@dataclass(frozen=True, slots=True)
class CableEnd:
    """One end of a veth pair: its name, and where it goes and what it is if that matters.

    ``namespace`` is an open file descriptor of a network namespace, None for the present one.
    ``index`` asks for an interface index.
    """

    interface: str
    namespace: int | None = None
    mac: str | None = None
    index: int = 0


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute of a message."""
    length = 4 + len(payload)
    return struct.pack("=HH", length, kind) + payload + b"\0" * (-length % 4)


def attributes(data: bytes) -> dict[int, bytes]:
    """The payload of each attribute in a message, by kind."""
    found = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        found[kind & _KIND_MASK] = data[4:length]
        data = data[(length + 3) & ~3 :]
    return found


def _named(interface: str, index: int = 0, flags: int = 0) -> bytes:
    """The head of a link message; ``flags`` are those to set."""
    return _link(index, flags, flags) + _name(interface)


def _link(index: int, flags: int, change: int) -> bytes:
    return struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, flags, change)


def _name(interface: str) -> bytes:
    return attribute(3, interface.encode() + b"\0")


def _end(end: CableEnd) -> bytes:
    parts = [_named(end.interface, end.index)]
    if end.namespace is not None:
        parts.append(attribute(28, struct.pack("=I", end.namespace)))
    if end.mac is not None:
        parts.append(attribute(1, bytes.fromhex(end.mac.replace(":", ""))))
    return b"".join(parts)


def cable(a: CableEnd, b: CableEnd) -> Request:
    """Make a veth pair. Neither end is up: the kernel refuses that while the pair is made."""
    peer = attribute(1, _end(b))
    information = attribute(1, b"veth\0") + attribute(2, peer)
    body = _end(a) + attribute(18, information)
    return Request(_NEWLINK, CREATE_NEW, body, f"cable {a.interface} - {b.interface}")


def up(interface: str) -> Request:
    """Set an interface up."""
    return Request(_NEWLINK, 0, _named(interface, flags=_UP), f"{interface} up")


def down(interface: str) -> Request:
    """Set an interface down; the kernel forgets the routes through it."""
    body = _link(0, 0, _UP) + _name(interface)
    return Request(_NEWLINK, 0, body, f"{interface} down")


def root_qdisc(index: int, kind: str, options: bytes, what: str) -> Request:
    """Put a queueing discipline at the root of an interface, or change the one that is there."""
    head = _TRAFFIC_CONTROL.pack(socket.AF_UNSPEC, index, _HANDLE, _ROOT, 0)
    body = head + attribute(_TCA_KIND, kind.encode() + b"\0") + attribute(_TCA_OPTIONS, options)
    return Request(_NEWQDISC, _CREATE | _REPLACE, body, what)


def no_qdisc(index: int) -> Request:
    """Take the queueing discipline off the root of an interface."""
    head = _TRAFFIC_CONTROL.pack(socket.AF_UNSPEC, index, 0, _ROOT, 0)
    return Request(_DELQDISC, 0, head, f"queueing discipline off interface {index}")


def address(index: int, ip: Address, length: int | None = None) -> Request:
    """Give an interface an address; nobody is asked whether it is free.

    It is alone in its prefix, unless the prefix's ``length`` says otherwise.
    """
    bits = ip.max_prefixlen if length is None else length
    head = struct.pack("=BBBBI", _FAMILY[ip.version], bits, 0, _SCOPE_UNIVERSE, index)
    body = head + attribute(2, ip.packed) + attribute(1, ip.packed)
    if ip.version == 6:
        body += attribute(8, struct.pack("=I", _NO_DAD))
    return Request(_NEWADDR, CREATE_NEW, body, f"address {ip}")


def neighbour(index: int, ip: Address, mac: str) -> Request:
    """A permanent neighbour entry: no ARP or neighbour discovery is ever sent for it."""
    head = struct.pack("=BxxxiHBB", _FAMILY[ip.version], index, _PERMANENT, 0, 0)
    body = head + attribute(1, ip.packed) + attribute(2, bytes.fromhex(mac.replace(":", "")))
    return Request(_NEWNEIGH, _CREATE | _REPLACE, body, f"neighbour {ip}")


def default_route(index: int, gateway: Address) -> Request:
    """Everything goes to ``gateway``, which is on the link although no route says so."""
    head = _route(gateway, 0, _TABLE_MAIN, _SCOPE_UNIVERSE, _ROUTE_UNICAST, _ONLINK)
    body = head + attribute(5, gateway.packed) + attribute(4, struct.pack("=I", index))
    return Request(_NEWROUTE, _CREATE | _REPLACE, body, f"default route via {gateway}")


def link_route(index: int, ip: Address) -> Request:
    """``ip`` is a neighbour on the link."""
    head = _route(ip, ip.max_prefixlen, _TABLE_MAIN, _SCOPE_LINK, _ROUTE_UNICAST, 0)
    body = head + attribute(1, ip.packed) + attribute(4, struct.pack("=I", index))
    return Request(_NEWROUTE, _CREATE | _REPLACE, body, f"{ip} on the link")


def route(target: Prefix, gateway: Address, metric: int) -> Request:
    """A prefix goes to ``gateway``, a neighbour; of several routes the least metric counts.

    FRR takes the upper byte of the metric for its own distance, the others for a metric.
    """
    ip, length = target.network_address, target.prefixlen
    head = _route(ip, length, _TABLE_MAIN, _SCOPE_UNIVERSE, _ROUTE_UNICAST, 0)
    body = head + attribute(1, ip.packed) + attribute(5, gateway.packed)
    body += attribute(6, struct.pack("=I", metric))
    return Request(_NEWROUTE, _CREATE | _REPLACE, body, f"{target} via {gateway}")


def no_route(target: Prefix) -> Request:
    """The end of ``route``, whatever its gateway."""
    ip, length = target.network_address, target.prefixlen
    head = _route(ip, length, _TABLE_MAIN, _SCOPE_UNIVERSE, _ROUTE_UNICAST, 0)
    return Request(_DELROUTE, 0, head + attribute(1, ip.packed), f"no {target}")


def local_route(target: Address | Prefix) -> Request:
    """AnyIP: this host accepts an address, or a prefix, although no interface carries it."""
    return Request(_NEWROUTE, _CREATE | _REPLACE, _local(target), f"local {target}")


def no_local_route(target: Address | Prefix) -> Request:
    """The end of ``local_route``."""
    return Request(_DELROUTE, 0, _local(target), f"no local {target}")


def _local(target: Address | Prefix) -> bytes:
    prefix = ip_network(target)
    ip = prefix.network_address
    body = _route(ip, prefix.prefixlen, _TABLE_LOCAL, _SCOPE_HOST, _ROUTE_LOCAL, 0)
    return body + attribute(1, ip.packed) + attribute(4, struct.pack("=I", LOOPBACK))


def _route(ip: Address, length: int, table: int, scope: int, kind: int, flags: int) -> bytes:
    fields = (_FAMILY[ip.version], length, 0, 0, table, _PROTOCOL_STATIC, scope, kind, flags)
    return struct.pack("=BBBBBBBBI", *fields)


def indices() -> dict[str, int]:
    """The index of each interface in the present network namespace."""
    return {name: index for index, name in socket.if_nameindex()}


class Netlink:
    """A route netlink socket of the network namespace in which it is made."""

    def __init__(self) -> None:
        """Open the socket in the calling thread's present namespace."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.settimeout(PATIENCE_S)
        self._socket.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
        self._sequence = 0

    def __enter__(self) -> Netlink:
        """The socket itself."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close."""
        self._socket.close()

    def send(self, requests: Iterable[Request]) -> None:
        """Carry out all requests in order.

        Raises OSError naming the first request that the kernel refused, with its reason; those
        behind it in the same batch may have been carried out.
        """
        batch: list[Request] = []
        size = 0
        for request in requests:
            batch.append(request)
            size += 16 + len(request.body)
            if size > _BATCH_BYTES:
                self._exchange(batch)
                batch, size = [], 0
        self._exchange(batch)

    def qdiscs(self) -> list[Qdisc]:
        """Every queueing discipline of the namespace."""
        self._sequence += 1
        body = _TRAFFIC_CONTROL.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        length = 16 + len(body)
        header = struct.pack("=IHHII", length, _GETQDISC, _REQUEST | _DUMP, self._sequence, 0)
        self._socket.send(header + body)
        found: list[Qdisc] = []
        while True:
            for kind, message in _messages(self._socket.recv(65_536)):
                if kind == _DONE:
                    return found
                if kind == _NEWQDISC:
                    found.append(_qdisc(message))

    def _exchange(self, batch: list[Request]) -> None:
        if not batch:
            return
        first = self._sequence + 1
        data = bytearray()
        for request in batch:
            self._sequence += 1
            length = 16 + len(request.body)
            flags = _REQUEST | _ACK | request.flags
            data += struct.pack("=IHHII", length, request.kind, flags, self._sequence, 0)
            data += request.body
        self._socket.send(data)
        answered = 0
        while answered < len(batch):
            for sequence, error, reason in _acknowledgements(self._socket.recv(65_536)):
                answered += 1
                if error:
                    what = batch[sequence - first].what
                    raise OSError(error, f"{what}: {os.strerror(error)} {reason}".rstrip())


def _acknowledgements(data: bytes) -> Iterable[tuple[int, int, str]]:
    """(sequence, errno or 0, the kernel's explanation) of each message in an answer."""
    while data:
        length, _kind, _flags, sequence, _pid = struct.unpack_from("=IHHII", data)
        error = -struct.unpack_from("=i", data, 16)[0]
        yield sequence, error, _explanation(data[36:length])
        data = data[(length + 3) & ~3 :]


def _explanation(data: bytes) -> str:
    """The text in an extended acknowledgement (NLMSGERR_ATTR_MSG), if any."""
    return attributes(data).get(1, b"").rstrip(b"\0").decode()


def _messages(data: bytes) -> Iterable[tuple[int, bytes]]:
    """(kind, body) of each message in an answer."""
    while data:
        length, kind = struct.unpack_from("=IH", data)
        yield kind, data[16:length]
        data = data[(length + 3) & ~3 :]


def _qdisc(message: bytes) -> Qdisc:
    _, interface, _, parent, _ = _TRAFFIC_CONTROL.unpack_from(message)
    found = attributes(message[_TRAFFIC_CONTROL.size :])
    counted = attributes(found.get(_TCA_STATS, b""))
    total, packets = struct.unpack_from("=QI", counted.get(_STATS_BASIC, bytes(12)))
    queued, _, drops = struct.unpack_from("=III", counted.get(_STATS_QUEUE, bytes(12)))
    return Qdisc(
        interface=interface,
        kind=found[_TCA_KIND].rstrip(b"\0").decode(),
        is_root=parent == _ROOT,
        options=found.get(_TCA_OPTIONS, b""),
        bytes=total,
        packets=packets,
        queued=queued,
        drops=drops,
    )
