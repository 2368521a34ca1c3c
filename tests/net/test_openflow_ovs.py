"""A real Open vSwitch gives back exactly the rules and groups that it was sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller import openflow
from controller.core.rules import (
    Bucket,
    Copy,
    Duty,
    Group,
    GroupKind,
    Hash,
    Output,
    OutputInPort,
    Program,
    Rule,
    SetBits,
    SetField,
    Table,
    ToController,
    ToGroup,
    cookie,
    match,
)
from tests.net.peer import connected

pytestmark = [pytest.mark.net, pytest.mark.sandboxed]

IPV4, ARP, TCP, UDP, ICMP = 0x800, 0x806, 6, 17, 1
MAC = 0x020A_0000_0001

ALL_KINDS = Program(
    rules=frozenset(
        {
            Rule(Table.ADMISSION, 0, ()),
            Rule(Table.ADMISSION, 65535, match(in_port=0xFEFF), goto=Table.ROUTE),
            Rule(Table.ADMISSION, 7, match(eth_dst=(0x0270 << 32, 0xFFFF << 32)), (Output(3),)),
            Rule(Table.ADMISSION, 8, match(eth_src=(1, 1)), (ToController(),)),
            Rule(
                Table.ADMISSION,
                9,
                match(
                    in_port=1,
                    eth_src=MAC,
                    eth_dst=MAC,
                    eth_type=IPV4,
                    ip_proto=TCP,
                    ipv4_src=(0xCB007100, 0xFFFFFF00),
                    ipv4_dst=(0x0A000001, 0xFF0000FF),
                    tcp_src=(0x0800, 0xF800),
                    tcp_dst=(0x0001, 0x0F0F),
                ),
                (SetField("eth_dst", MAC), Output(1), OutputInPort()),
                Table.SERVICE,
                cookie(Duty.ADMIT_LEASE, 0xFFFFFFFF),
            ),
            Rule(
                Table.SERVICE,
                10,
                match(eth_type=IPV4, ip_proto=UDP, udp_src=68, udp_dst=(0x8000, 0x8000)),
                (SetField("udp_dst", 9), SetField("ipv4_dst", 1), ToGroup(1)),
            ),
            Rule(
                Table.BORROWED,
                11,
                match(eth_type=IPV4, ip_proto=ICMP, icmpv4_type=3, icmpv4_code=4),
                (ToController(),),
            ),
            Rule(
                Table.ROUTE,
                12,
                match(
                    eth_type=ARP,
                    arp_op=1,
                    arp_spa=(0x0A000000, 0xFF000000),
                    arp_tpa=0xA9FE0101,
                    arp_sha=MAC,
                    arp_tha=(0, 1),
                ),
                (
                    Copy("eth_src", "eth_dst"),
                    SetField("eth_src", MAC),
                    SetField("arp_op", 2),
                    Copy("arp_sha", "arp_tha"),
                    Copy("arp_spa", "arp_tpa"),
                    SetField("arp_sha", MAC),
                    SetField("arp_spa", 0xA9FE0101),
                    OutputInPort(),
                ),
                cookie=cookie(Duty.ARP, 1),
            ),
            Rule(Table.ROUTE, 13, match(eth_type=IPV4), (ToGroup(2),)),
            Rule(Table.SERVICE, 14, match(eth_type=IPV4), (Hash(61),), goto=Table.BALANCE),
            Rule(Table.BALANCE, 15, match(reg0=7), (SetField("eth_src", MAC), Output(1))),
            Rule(Table.BALANCE, 16, match(reg0=7, in_port=2), (Output(1),)),
            Rule(Table.BALANCE, 16, match(reg0=(8, 8)), (Output(1),)),
            Rule(Table.ROUTE, 14, (), (SetBits("in_port", 0, 0xFFFFFFFF), Output(1))),
        }
    ),
    groups=frozenset(
        {
            Group(
                1,
                GroupKind.SELECT,
                (
                    Bucket((SetField("eth_dst", MAC), Output(1)), 1),
                    Bucket((SetField("eth_dst", MAC + 1), Output(2)), 300),
                    Bucket((Output(3),), 0),
                ),
            ),
            Group(
                2,
                GroupKind.FAST_FAILOVER,
                (
                    Bucket((SetBits("in_port", 0, 0xFFFFFFFF), Output(1)), 1, 1),
                    Bucket((SetBits("eth_dst", 0x5000, 0xFFF000), OutputInPort()), 1, 2),
                ),
            ),
            Group(3, GroupKind.SELECT, ()),
        }
    ),
)


def install(program: Program) -> list[bytes]:
    groups = [openflow.add_group(group, 10 + group.group_id) for group in program.groups]
    rules = [openflow.add_flow(rule, 100 + n) for n, rule in enumerate(program.rules)]
    return groups + rules


def test_every_kind_comes_back_as_it_went(tmp_path: Path) -> None:
    with connected(tmp_path) as peer:
        peer.send(openflow.bundle(install(ALL_KINDS), 1, 5) + openflow.barrier(6))
        peer.settle(6)
        assert peer.program() == ALL_KINDS


def test_changes_and_removals_arrive(tmp_path: Path) -> None:
    with connected(tmp_path) as peer:
        peer.send(openflow.bundle(install(ALL_KINDS), 1, 5) + openflow.barrier(6))
        peer.settle(6)
        old = Rule(Table.ROUTE, 13, match(eth_type=IPV4), (ToGroup(2),))
        new = Rule(
            Table.ROUTE, 13, match(eth_type=IPV4), (Output(4),), cookie=cookie(Duty.LABEL, 4)
        )
        group = Group(1, GroupKind.SELECT, (Bucket((Output(9),), 5),))
        gone = Rule(Table.ADMISSION, 65535, match(in_port=0xFEFF), goto=Table.ROUTE)
        steps = [
            openflow.modify_group(group, 21),
            openflow.add_flow(new, 22),
            openflow.delete_flow(gone, 23),
            openflow.delete_group(2, 24),
        ]
        peer.send(openflow.bundle(steps, 2, 20) + openflow.barrier(30))
        peer.settle(30)
        kept = {one for one in ALL_KINDS.groups if one.group_id == 3}
        assert peer.program() == Program((ALL_KINDS.rules - {old, gone}) | {new}, kept | {group})


def test_a_bundle_with_one_bad_part_changes_nothing(tmp_path: Path) -> None:
    with connected(tmp_path) as peer:
        good = Rule(Table.ROUTE, 1, match(eth_type=IPV4), (Output(1),))
        bad = Rule(Table.ROUTE, 2, match(eth_type=IPV4), (ToGroup(99),))
        steps = [openflow.add_flow(good, 41), openflow.add_flow(bad, 42)]
        peer.send(openflow.bundle(steps, 3, 40) + openflow.barrier(49))
        with pytest.raises(AssertionError, match="xid 4"):
            peer.settle(49)
        assert peer.program() == Program(frozenset())


def test_wiping_spares_what_is_not_ours(tmp_path: Path) -> None:
    with connected(tmp_path) as peer:
        foreign = Rule(Table.ROUTE, 1, match(eth_type=IPV4), (Output(1),), cookie=77)
        peer.send(openflow.bundle([*install(ALL_KINDS), openflow.add_flow(foreign, 9)], 1, 5))
        wipe = [openflow.delete_our_flows(51), openflow.delete_all_groups(51)]
        peer.send(openflow.bundle(wipe, 4, 50) + openflow.barrier(59))
        peer.settle(59)
        assert peer.program() == Program(frozenset())
        # Its key is free to be taken: an add replaces it, so the foreign rule must still be there.
        everything = bytearray(openflow.flows_request(1001))
        everything[-24:-8] = bytes(16)  # cookie and mask: any
        peer.send(bytes(everything))
        assert list(openflow.read_flows(peer.collect(1001))) == [foreign]
