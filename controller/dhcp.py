"""DHCPv4 messages (RFC 2131, RFC 2132) with shared addresses (RFC 7618), as bytes and back.

Pure: no socket, no Ryu; the controller and the lending agent both use it. Parsing is strict:
what is not exactly a DHCP message raises `DhcpError` saying what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address
from struct import Struct

from topologies.model import COMMON_TAG

__all__ = [
    "CLIENT_PORT",
    "LONGEST_NAME",
    "SERVER_PORT",
    "DhcpError",
    "Kind",
    "Message",
    "Option",
    "PortParameters",
    "build",
    "client_identifier",
    "is_name",
    "parse",
    "user_class",
]

SERVER_PORT = 67
CLIENT_PORT = 68

_FIXED = Struct("!BBBBIHH4s4s4s4s16s64s128s4s")
_MAGIC = b"\x63\x82\x53\x63"
_ETHERNET = 1
_BROADCAST = 0x8000
_MINIMUM = 300  # BOOTP relays of old drop anything shorter (RFC 1542 section 2.1)
NOWHERE = IPv4Address(0)


class DhcpError(ValueError):
    """Bytes that are not a DHCP message; the text says why."""


class Kind(IntEnum):
    """Message types (RFC 2132 section 9.6, RFC 3203)."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    DECLINE = 4
    ACK = 5
    NAK = 6
    RELEASE = 7
    INFORM = 8
    FORCERENEW = 9


class Option(IntEnum):
    """The options that are used here (RFC 2132, RFC 3004, RFC 7618)."""

    PAD = 0
    REQUESTED_ADDRESS = 50
    LEASE_TIME = 51
    OVERLOAD = 52
    KIND = 53
    SERVER_ID = 54
    PARAMETERS = 55
    MESSAGE = 56
    RENEWAL_TIME = 58
    REBINDING_TIME = 59
    CLIENT_ID = 61
    USER_CLASS = 77
    PORT_PARAMETERS = 159
    END = 255


@dataclass(frozen=True, slots=True)
class PortParameters:
    """OPTION_V4_PORTPARAMS, code 159 (RFC 7618 section 9): which ports of the address.

    ``psid_bits`` 0 means the whole address. With offset 0, the only one lent here, the set is
    one aligned run of ports (RFC 7597 section 5.1).
    """

    psid_bits: int
    psid: int
    offset: int = 0

    def __post_init__(self) -> None:
        if min(self.psid_bits, self.offset) < 0 or self.offset + self.psid_bits > 16:
            raise DhcpError(
                f"port parameters: offset {self.offset} and PSID length {self.psid_bits} "
                "do not fit a 16-bit port"
            )
        if not 0 <= self.psid < 1 << self.psid_bits:
            raise DhcpError(f"port parameters: PSID {self.psid} needs more bits")

    @property
    def first_port(self) -> int:
        """The lowest port of the set, for offset 0."""
        return self.psid << (16 - self.psid_bits)

    @property
    def last_port(self) -> int:
        """The highest port of the set, for offset 0."""
        return self.first_port + (1 << (16 - self.psid_bits)) - 1

    def encode(self) -> bytes:
        """The option's four bytes; the PSID is left-aligned in its sixteen bits."""
        aligned = self.psid << (16 - self.psid_bits)
        return bytes((self.offset, self.psid_bits)) + aligned.to_bytes(2, "big")

    @classmethod
    def decode(cls, data: bytes) -> PortParameters:
        """Read the option's four bytes. Raises DhcpError."""
        if len(data) != 4:
            raise DhcpError(f"option 159 has {len(data)} bytes, not 4")
        offset, bits = data[0], data[1]
        aligned = int.from_bytes(data[2:], "big")
        if bits > 16 or aligned & ((1 << (16 - bits)) - 1):
            raise DhcpError(f"option 159: {aligned:#06x} is no PSID of {bits} bits")
        return cls(bits, aligned >> (16 - bits), offset)


@dataclass(frozen=True, slots=True)
class Message:
    """A DHCP message on Ethernet. ``options`` keeps the order; type (53) stands in ``kind``.

    ``kind`` decides the direction (``op``): OFFER, ACK, NAK and FORCERENEW are replies, the rest
    requests.
    """

    kind: Kind
    xid: int
    mac: bytes
    options: tuple[tuple[int, bytes], ...] = ()
    ciaddr: IPv4Address = NOWHERE
    yiaddr: IPv4Address = NOWHERE
    siaddr: IPv4Address = NOWHERE
    giaddr: IPv4Address = NOWHERE
    secs: int = 0
    broadcast: bool = False

    def option(self, code: int) -> bytes | None:
        """The option's value, None if it is not there."""
        for known, value in self.options:
            if known == code:
                return value
        return None

    def address(self, code: int) -> IPv4Address | None:
        """An option that is one address. Raises DhcpError."""
        value = self.option(code)
        if value is None:
            return None
        if len(value) != 4:
            raise DhcpError(f"option {code} has {len(value)} bytes, not an address")
        return IPv4Address(value)

    def seconds(self, code: int) -> int | None:
        """An option that is a time in seconds. Raises DhcpError."""
        value = self.option(code)
        if value is None:
            return None
        if len(value) != 4:
            raise DhcpError(f"option {code} has {len(value)} bytes, not a time")
        return int.from_bytes(value, "big")

    @property
    def client_id(self) -> str:
        """Option 61: the client's own name, or 0x and in hexadecimal what is none; "" without it.

        Raises DhcpError.
        """
        value = self.option(Option.CLIENT_ID)
        return "" if value is None else _name_of(value)

    @property
    def user_class(self) -> str | None:
        """Option 77, if it has one class and that is a word; None without it. Raises DhcpError."""
        value = self.option(Option.USER_CLASS)
        if value is None:
            return None
        if len(value) < 2 or value[0] != len(value) - 1 or len(value) > 1 + LONGEST_NAME:
            raise DhcpError("option 77 is not one user class (RFC 3004)")
        name = value[1:].decode("ascii", "replace")
        if not is_name(name):
            raise DhcpError("option 77 is no word")
        return name

    @property
    def port_parameters(self) -> PortParameters | None:
        """Option 159. Raises DhcpError."""
        value = self.option(Option.PORT_PARAMETERS)
        return None if value is None else PortParameters.decode(value)


LONGEST_NAME = 64
"""Bytes of a client identifier or a tag."""


_BYTES = "0x"
"""How what stands for a client identifier begins that is no name."""


def is_name(text: str) -> bool:
    """Whether a client identifier or a tag can be so."""
    return len(text) <= LONGEST_NAME and text.isascii() and text.isprintable()


def _name_of(identifier: bytes) -> str:
    """What a client is called that says so in option 61. Raises DhcpError."""
    if not 2 <= len(identifier) <= 1 + LONGEST_NAME:
        raise DhcpError(f"option 61 has {len(identifier)} bytes, not 2 to {1 + LONGEST_NAME}")
    name = identifier[1:].decode("ascii", "replace")
    plain = identifier[0] == 0 and is_name(name) and not name.startswith(_BYTES)
    return name if plain else _BYTES + identifier.hex()


def client_identifier(name: str) -> bytes:
    """Option 61 for a name that is no hardware address (RFC 2132 section 9.14).

    Of what `Message.client_id` says it makes the bytes that were there. Raises ValueError for what
    that would never say.
    """
    try:
        bare = name.removeprefix(_BYTES)
        found = b"\0" + name.encode() if bare == name else bytes.fromhex(bare)
        if _name_of(found) == name:
            return found
    except ValueError:
        pass
    raise ValueError(f"{name!r} is no client identifier: 1 to {LONGEST_NAME} printable characters")


def user_class(tag: str) -> bytes:
    """Option 77 with one class (RFC 3004 section 4). Raises ValueError for what is no word."""
    if not tag or not is_name(tag):
        raise ValueError(f"{tag!r} is no tag: 1 to {LONGEST_NAME} printable characters")
    return bytes((len(tag),)) + tag.encode()


def names(tag: str, client_id: str) -> list[tuple[int, bytes]]:
    """The options that name a lease; what is usual is not said. Raises ValueError."""
    given = []
    if client_id:
        given.append((int(Option.CLIENT_ID), client_identifier(client_id)))
    if tag != COMMON_TAG:
        given.append((int(Option.USER_CLASS), user_class(tag)))
    return given


REPLIES = frozenset({Kind.OFFER, Kind.ACK, Kind.NAK, Kind.FORCERENEW})


def build(message: Message) -> bytes:
    """The UDP payload. Values over 255 bytes are split (RFC 3396)."""
    parts = [
        _FIXED.pack(
            2 if message.kind in REPLIES else 1,
            _ETHERNET,
            6,
            0,
            message.xid,
            message.secs,
            _BROADCAST if message.broadcast else 0,
            message.ciaddr.packed,
            message.yiaddr.packed,
            message.siaddr.packed,
            message.giaddr.packed,
            message.mac,
            b"",
            b"",
            _MAGIC,
        ),
        bytes((Option.KIND, 1, message.kind)),
    ]
    for code, value in message.options:
        for start in range(0, len(value) or 1, 255):
            piece = value[start : start + 255]
            parts.append(bytes((code, len(piece))) + piece)
    parts.append(bytes((Option.END,)))
    return b"".join(parts).ljust(_MINIMUM, b"\0")


def parse(data: bytes) -> Message:
    """Read a UDP payload. Raises DhcpError."""
    if len(data) < _FIXED.size:
        raise DhcpError(f"{len(data)} bytes are too few: {_FIXED.size} at least")
    fixed = _FIXED.unpack_from(data)
    op, hardware, hardware_length = fixed[:3]
    if fixed[-1] != _MAGIC:
        raise DhcpError(f"magic cookie is {fixed[-1].hex()}, not {_MAGIC.hex()}")
    if (hardware, hardware_length) != (_ETHERNET, 6):
        raise DhcpError(f"hardware type {hardware} of {hardware_length} bytes, not Ethernet")
    options = dict(_joined(data))
    kind = _kind(options.pop(Option.KIND, None))
    if op != (2 if kind in REPLIES else 1):
        raise DhcpError(f"op {op} does not go with {kind.name}")
    if Option.OVERLOAD in options:
        raise DhcpError("option overload (52): options in sname and file are not read")
    return Message(
        kind=kind,
        xid=fixed[4],
        mac=fixed[11][:6],
        options=tuple(options.items()),
        ciaddr=IPv4Address(fixed[7]),
        yiaddr=IPv4Address(fixed[8]),
        siaddr=IPv4Address(fixed[9]),
        giaddr=IPv4Address(fixed[10]),
        secs=fixed[5],
        broadcast=bool(fixed[6] & _BROADCAST),
    )


def _kind(value: bytes | None) -> Kind:
    if value is None or len(value) != 1:
        raise DhcpError("no message type (option 53), or not of one byte")
    try:
        return Kind(value[0])
    except ValueError as error:
        raise DhcpError(f"unknown message type {value[0]}") from error


def _joined(data: bytes) -> dict[int, bytes]:
    """Options by code, in order; one that comes again continues the first (RFC 3396)."""
    found: dict[int, bytes] = {}
    for code, value in _walk(data):
        found[code] = found.get(code, b"") + value
    return found


def _walk(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = _FIXED.size
    while at < len(data):
        code = data[at]
        if code == Option.PAD:
            at += 1
            continue
        if code == Option.END:
            return
        if at + 2 > len(data) or at + 2 + data[at + 1] > len(data):
            raise DhcpError(f"option {code} runs over the end")
        end = at + 2 + data[at + 1]
        yield code, data[at + 2 : end]
        at = end
    raise DhcpError("no end option (255)")
