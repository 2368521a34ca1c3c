"""The DHCP server's side of lending, as pure functions: message -> wish -> reply.

A DISCOVER already borrows, for `OFFER_NS` only, and a REQUEST turns that into the full lease.
So two servers are never offered the same ports, an offer survives a crash of the controller, and
the switches get their rules while the client is still considering the offer. An offer that is
not taken up lapses like any lease.

Sources: RFC 2131 section 4.3 (server behaviour), RFC 7618 section 6 (shared
addresses), RFC 3004 (user class), RFC 3203 (FORCERENEW).
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

from controller.core.lease import SECOND, Lease
from controller.dhcp import (
    NOWHERE,
    DhcpError,
    Kind,
    Message,
    Option,
    PortParameters,
    names,
)
from topologies.model import COMMON_TAG
from topologies.plan import GATEWAY_ADDRESS

__all__ = [
    "MESSAGES_AT_ONCE",
    "MESSAGES_PER_S",
    "OFFER_NS",
    "GiveBack",
    "Ignore",
    "Keep",
    "Lend",
    "Wish",
    "ack",
    "destination",
    "force_renew",
    "nak",
    "offer",
    "understand",
]

EVERYONE = IPv4Address("255.255.255.255")

OFFER_NS = 10 * SECOND
"""How long an offer is held."""


MESSAGES_PER_S, MESSAGES_AT_ONCE = 10.0, 20.0
"""Messages of one server that are looked at: in the long run, and after a pause."""


@dataclass(frozen=True, slots=True)
class Lend:
    """DISCOVER: wants a port set; answered by an OFFER, or by nothing when there is none.

    The tag is the user class, the size is that of the port parameters, if they name one.
    """

    tag: str = COMMON_TAG
    client_id: str = ""
    psid_bits: int | None = None


@dataclass(frozen=True, slots=True)
class Keep:
    """REQUEST, whether of an offer, after a reboot, or to renew: answered by ACK or NAK."""

    address: IPv4Address
    ports: PortParameters
    client_id: str = ""


@dataclass(frozen=True, slots=True)
class GiveBack:
    """RELEASE or DECLINE: not answered."""

    address: IPv4Address
    ports: PortParameters
    client_id: str = ""


@dataclass(frozen=True, slots=True)
class Ignore:
    """Not for us; ``cause`` is for the log."""

    cause: str


Wish = Lend | Keep | GiveBack | Ignore


def understand(message: Message, mac: bytes) -> Wish:
    """What a message asks for; ``mac`` is that of the server behind the port it came from.

    Raises DhcpError for a message that cannot be acted upon (to be counted and dropped).
    """
    if message.mac != mac:
        raise DhcpError(f"chaddr {message.mac.hex(':')} is not the port's own {mac.hex(':')}")
    named = message.address(Option.SERVER_ID)
    if named not in (None, GATEWAY_ADDRESS):
        return Ignore(f"meant for the server {named}")
    ports = message.port_parameters
    match message.kind:
        case Kind.DISCOVER:
            wanted = message.option(Option.PARAMETERS) or b""
            if ports is None and Option.PORT_PARAMETERS not in wanted:
                return Ignore("the client does not ask for option 159, it would use every port")
            bits = None if ports is None else ports.psid_bits or None
            return Lend(message.user_class or COMMON_TAG, message.client_id, bits)
        case Kind.REQUEST:
            address = message.address(Option.REQUESTED_ADDRESS) or message.ciaddr
            if ports is None or ports.offset:
                raise DhcpError("REQUEST without port parameters of offset 0")
            return Keep(address, ports, message.client_id)
        case Kind.RELEASE | Kind.DECLINE:
            address = message.address(Option.REQUESTED_ADDRESS) or message.ciaddr
            if ports is None:
                raise DhcpError(f"{message.kind.name} without port parameters")
            return GiveBack(address, ports, message.client_id)
        case _:
            return Ignore(f"{message.kind.name} is not served")


def _lease_reply(kind: Kind, request: Message, lease: Lease, seconds: int) -> Message:
    ports = PortParameters(lease.psid_bits, lease.psid)
    options = (
        (Option.SERVER_ID, GATEWAY_ADDRESS.packed),
        (Option.LEASE_TIME, seconds.to_bytes(4, "big")),
        *_timers(seconds),
        (Option.PORT_PARAMETERS, ports.encode()),
    )
    return Message(
        kind,
        request.xid,
        request.mac,
        (*((int(code), value) for code, value in options), *_named(request)),
        ciaddr=request.ciaddr if kind is Kind.ACK else NOWHERE,
        yiaddr=lease.address,
        giaddr=request.giaddr,
        broadcast=request.broadcast,
    )


def _timers(seconds: int) -> tuple[tuple[int, bytes], ...]:
    """When to renew and to rebind: half and seven eighths of the lease (RFC 2131 section 4.4.5).

    The first comes before the second, so of times too short for that nothing is said.
    """
    renew, rebind = seconds // 2, seconds * 7 // 8
    if not renew < rebind:
        return ()
    return (
        (int(Option.RENEWAL_TIME), renew.to_bytes(4, "big")),
        (int(Option.REBINDING_TIME), rebind.to_bytes(4, "big")),
    )


def _named(request: Message) -> tuple[tuple[int, bytes], ...]:
    """The client identifier, which every answer repeats (RFC 6842 section 3)."""
    value = request.option(Option.CLIENT_ID)
    return () if value is None else ((int(Option.CLIENT_ID), value),)


def offer(request: Message, lease: Lease, lifetime_ns: int) -> Message:
    """The OFFER of a lease; the client gets ``lifetime_ns`` if it takes it."""
    return _lease_reply(Kind.OFFER, request, lease, lifetime_ns // SECOND)


def ack(request: Message, lease: Lease, now_ns: int) -> Message:
    """The ACK: the lease is the client's until it ends; whole seconds, rounded down."""
    seconds = max(0, lease.until_ns - now_ns) // SECOND
    return _lease_reply(Kind.ACK, request, lease, seconds)


def nak(request: Message, cause: str) -> Message:
    """The NAK: the client must stop using it and start over."""
    options = (
        (int(Option.SERVER_ID), GATEWAY_ADDRESS.packed),
        (int(Option.MESSAGE), cause.encode("ascii", "replace")[:255]),
    )
    whole = (*options, *_named(request))
    return Message(Kind.NAK, request.xid, request.mac, whole, giaddr=request.giaddr, broadcast=True)


def force_renew(lease: Lease, mac: bytes) -> Message:
    """The FORCERENEW by which a server hears that a lease has come to it, or gone from it.

    It names the lease as a REQUEST would that asks for it. RFC 3203 wants it authenticated, because
    elsewhere anybody could send it: here the switch lets nothing but the lender's through.
    """
    options = (
        (int(Option.SERVER_ID), GATEWAY_ADDRESS.packed),
        (int(Option.REQUESTED_ADDRESS), lease.address.packed),
        (int(Option.PORT_PARAMETERS), PortParameters(lease.psid_bits, lease.psid).encode()),
    )
    whole = (*options, *names(lease.tag, lease.client_id))
    return Message(Kind.FORCERENEW, lease.number & 0xFFFFFFFF, mac, whole)


def destination(reply: Message, source: IPv4Address) -> IPv4Address:
    """Where a reply goes, to whom asked from ``source`` (RFC 2131 section 4.1).

    To all if the client may have no address yet, or has just lost it. What a relay passed on goes
    back to where it came from.
    """
    if reply.giaddr == NOWHERE:
        lost = reply.kind is Kind.NAK
        if lost or source.is_unspecified or (reply.broadcast and reply.ciaddr == NOWHERE):
            return EVERYONE
    return source
