"""Classic BPF programs for packet sockets: pure, so that they can be run and tested as data.

A program sees the packet from its IP header on (an AF_PACKET socket of type SOCK_DGRAM).
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from experiments.measure.packets import TCP, UDP

__all__ = [
    "MAX_INSTRUCTIONS",
    "Instruction",
    "PortSet",
    "attach",
    "lent_to_any",
    "lent_to_others",
    "tcp_syns",
]

MAX_INSTRUCTIONS = 4096

LOAD_WORD = 0x20  # ld [k]
LOAD_HALF = 0x28  # ldh [k]
LOAD_BYTE = 0x30  # ldb [k]
LOAD_HALF_INDEXED = 0x48  # ldh [x + k]
LOAD_BYTE_INDEXED = 0x50  # ldb [x + k]
LOAD_HEADER_LENGTH = 0xB1  # ldxb 4 * ([k] & 0xf)
AND = 0x54
JUMP = 0x05
JUMP_EQUAL = 0x15
JUMP_NOT_LESS = 0x35
JUMP_GREATER = 0x25
JUMP_ANY_BIT = 0x45
RETURN = 0x06

_SYN, _ACK = 0x02, 0x10

_ATTACH_FILTER = 26
_SNAPSHOT = 128
"""Bytes kept of a packet: an IP header with options, and the ports."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One BPF instruction: ``jt`` and ``jf`` skip that many instructions."""

    code: int
    k: int = 0
    jt: int = 0
    jf: int = 0


@dataclass(frozen=True, slots=True)
class PortSet:
    """Ports of one address, first and last, both in it."""

    address: IPv4Address
    first: int
    last: int

    def holds(self, address: IPv4Address, port: int) -> bool:
        """Whether a packet to this address and port belongs to the set's holder."""
        return address == self.address and self.first <= port <= self.last


def lent_to_any(pools: Sequence[IPv4Network]) -> list[Instruction]:
    """Accept TCP and UDP packets whose destination is in a pool; refuse all else."""
    return _in_pools(pools, [Instruction(RETURN, _SNAPSHOT)])


def lent_to_others(pools: Sequence[IPv4Network], held: Sequence[PortSet]) -> list[Instruction]:
    """Accept as ``lent_to_any``, except packets to (address, port) of a set in ``held``.

    A fragment that shows no port is accepted: nobody can know whose it is.
    """
    body = [
        Instruction(LOAD_HALF, 6),
        Instruction(JUMP_ANY_BIT, 0x1FFF, 0, 1),
        Instruction(RETURN, _SNAPSHOT),
        Instruction(LOAD_HEADER_LENGTH, 0),
    ]
    for ports in held:
        body += [
            Instruction(LOAD_WORD, 16),
            Instruction(JUMP_EQUAL, int(ports.address), 0, 4),
            Instruction(LOAD_HALF_INDEXED, 2),
            Instruction(JUMP_NOT_LESS, ports.first, 0, 2),
            Instruction(JUMP_GREATER, ports.last, 1, 0),
            Instruction(RETURN, 0),
        ]
    return _in_pools(pools, [*body, Instruction(RETURN, _SNAPSHOT)])


def tcp_syns() -> list[Instruction]:
    """Accept TCP segments that ask for a connection: SYN without ACK (RFC 9293)."""
    return [
        Instruction(LOAD_BYTE, 9),
        Instruction(JUMP_EQUAL, TCP, 0, 6),
        Instruction(LOAD_HALF, 6),
        Instruction(JUMP_ANY_BIT, 0x1FFF, 4, 0),
        Instruction(LOAD_HEADER_LENGTH, 0),
        Instruction(LOAD_BYTE_INDEXED, 13),
        Instruction(AND, _SYN | _ACK),
        Instruction(JUMP_EQUAL, _SYN, 1, 0),
        Instruction(RETURN, 0),
        Instruction(RETURN, _SNAPSHOT),
    ]


def udp() -> list[Instruction]:
    """Accept UDP datagrams."""
    return [
        Instruction(LOAD_BYTE, 9),
        Instruction(JUMP_EQUAL, UDP, 0, 1),
        Instruction(RETURN, _SNAPSHOT),
        Instruction(RETURN, 0),
    ]


def _in_pools(pools: Sequence[IPv4Network], body: list[Instruction]) -> list[Instruction]:
    """Run ``body`` for TCP and UDP packets to a pool, refuse the rest."""
    program = [
        Instruction(LOAD_BYTE, 9),
        Instruction(JUMP_EQUAL, TCP, 2, 0),
        Instruction(JUMP_EQUAL, UDP, 1, 0),
        Instruction(RETURN, 0),
    ]
    # A conditional jump reaches 255 instructions, so each test ends in a far jump of its own.
    each = 4
    for index, pool in enumerate(pools):
        to_body = (len(pools) - index - 1) * each + 1
        program += [
            Instruction(LOAD_WORD, 16),
            Instruction(AND, int(pool.netmask)),
            Instruction(JUMP_EQUAL, int(pool.network_address), 0, 1),
            Instruction(JUMP, to_body),
        ]
    return [*program, Instruction(RETURN, 0), *body]


def attach(sock: socket.socket, program: Sequence[Instruction]) -> None:
    """Filter a socket's packets, replacing an earlier filter at once (SO_ATTACH_FILTER).

    Raises ValueError if the program is longer than the kernel takes.
    """
    if len(program) > MAX_INSTRUCTIONS:
        raise ValueError(
            f"a filter of {len(program)} instructions is over the kernel's {MAX_INSTRUCTIONS}: "
            "give fewer pools or port sets to one server"
        )
    code = b"".join(struct.pack("=HBBI", i.code, i.jt, i.jf, i.k) for i in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    head = struct.pack("@HP", len(program), ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, head)
