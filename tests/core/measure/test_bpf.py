"""The judge's filters, run by a small BPF machine beside the same question asked in Python."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.packet import Raw

from experiments.measure import bpf
from experiments.measure.bpf import (
    Instruction,
    PortSet,
    attach,
    lent_to_any,
    lent_to_others,
    tcp_syns,
)

POOLS = [IPv4Network("203.0.113.0/24"), IPv4Network("198.18.0.0/15"), IPv4Network("192.0.2.8/32")]
ADDRESSES = st.one_of(
    st.sampled_from(POOLS).flatmap(
        lambda pool: st.integers(int(pool[0]), int(pool[-1])).map(IPv4Address)
    ),
    st.integers(1, 2**32 - 1).map(IPv4Address),
)
FEW_PORTS = st.sampled_from([0, 1, 2047, 2048, 4095, 4096, 32_768, 65_535])


@st.composite
def port_sets(draw: st.DrawFn) -> PortSet:
    first, last = sorted((draw(FEW_PORTS), draw(FEW_PORTS)))
    return PortSet(draw(st.sampled_from([pool[0] for pool in POOLS])), first, last)


def run(program: Sequence[Instruction], packet: bytes) -> int:
    """What the kernel would return: the bytes to keep, 0 for refuse (and on a short packet)."""
    at = accumulator = index = 0

    def load(offset: int, size: int) -> int:
        return int.from_bytes(packet[offset : offset + size], "big")

    while True:
        i = program[at]
        at += 1
        indexed = {bpf.LOAD_HALF_INDEXED: 2, bpf.LOAD_BYTE_INDEXED: 1}
        sizes = {bpf.LOAD_WORD: 4, bpf.LOAD_HALF: 2, bpf.LOAD_BYTE: 1, **indexed}
        if i.code in sizes:
            offset = i.k + (index if i.code in indexed else 0)
            if offset + sizes[i.code] > len(packet):
                return 0
            accumulator = load(offset, sizes[i.code])
        elif i.code == bpf.LOAD_HEADER_LENGTH:
            index = 4 * (packet[i.k] & 0x0F)
        elif i.code == bpf.AND:
            accumulator &= i.k
        elif i.code == bpf.JUMP:
            at += i.k
        elif i.code == bpf.RETURN:
            return i.k
        else:
            holds = {
                bpf.JUMP_EQUAL: accumulator == i.k,
                bpf.JUMP_NOT_LESS: accumulator >= i.k,
                bpf.JUMP_GREATER: accumulator > i.k,
                bpf.JUMP_ANY_BIT: bool(accumulator & i.k),
            }[i.code]
            at += i.jt if holds else i.jf


@given(
    st.lists(st.sampled_from(POOLS), max_size=3, unique=True),
    st.lists(port_sets(), max_size=5),
    ADDRESSES,
    FEW_PORTS,
    st.sampled_from([TCP, UDP, ICMP]),
    st.sampled_from([0, 0, 100]),
    st.integers(0, 10),
)
def test_filters_agree_with_the_question_in_python(pools, held, address, port, layer, frag, words):
    payload = ICMP() if layer is ICMP else layer(sport=80, dport=port)
    options = b"\x01" * (words * 4)
    packet = bytes(IP(dst=str(address), frag=frag, options=options or []) / payload)
    lent = layer is not ICMP and any(address in pool for pool in pools)
    mine = frag == 0 and any(ports.holds(address, port) for ports in held)
    assert bool(run(lent_to_any(pools), packet)) == lent
    assert bool(run(lent_to_others(pools, held), packet)) == (lent and not mine)


@given(
    st.sampled_from([TCP, UDP, ICMP]),
    st.integers(0, 255),
    st.sampled_from([0, 0, 100]),
    st.integers(0, 10),
)
def test_syns_are_told_from_all_other_packets(layer, flags, frag, words):
    payload = layer(flags=flags) if layer is TCP else layer()
    packet = bytes(IP(frag=frag, options=b"\x01" * (words * 4) or []) / payload)
    syn = layer is TCP and frag == 0 and flags & 0x12 == 0x02
    assert bool(run(tcp_syns(), packet)) == syn


def test_many_pools_and_sets_stay_within_the_reach_of_jumps():
    pools = [IPv4Network((i << 16, 16)) for i in range(2561, 2561 + 300)]
    held = [PortSet(IPv4Address(pools[-1][1]), i * 16, i * 16 + 7) for i in range(300)]
    program = lent_to_others(pools, held)
    assert all(i.jt < 256 and i.jf < 256 for i in program)
    for port, wrong in ((299 * 16, False), (299 * 16 + 8, True)):
        packet = bytes(IP(dst=str(pools[-1][1])) / UDP(dport=port))
        assert bool(run(program, packet)) == wrong


def test_the_kernel_takes_the_program_and_obeys_it():
    program = lent_to_any([IPv4Network("203.0.113.0/24")])
    right = bytes(IP(dst="203.0.113.9") / UDP(dport=7) / Raw(b"right"))
    wrong = bytes(IP(dst="198.51.100.1") / UDP(dport=7) / Raw(b"wrong"))
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with a, b:
        attach(b, program)
        b.settimeout(5)
        with contextlib.suppress(OSError):  # a Unix socket's sender is told of a refusal
            a.send(wrong)
        a.send(right)
        assert b.recv(200) == right[: len(right)]


def test_a_program_that_the_kernel_would_refuse_is_refused_with_a_mend():
    held = [PortSet(IPv4Address("203.0.113.1"), port, port) for port in range(1000)]
    program = lent_to_others(POOLS, held)
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with a, b, pytest.raises(ValueError, match="give fewer pools or port sets"):
        attach(b, program)


def test_struct_sock_filter_is_8_bytes():
    assert struct.calcsize("=HBBI") == 8
