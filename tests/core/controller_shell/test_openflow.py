"""Our struct-level OpenFlow against Ryu's own classes, and there and back again."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ryu.ofproto import ofproto_v1_3 as ofp
from ryu.ofproto import ofproto_v1_3_parser as parser

from controller import openflow
from controller.core.rules import (
    FIELD_BITS,
    Action,
    Bucket,
    Copy,
    CountHop,
    Duty,
    FieldMatch,
    Group,
    GroupKind,
    Hash,
    Match,
    Output,
    OutputInPort,
    Rule,
    SetBits,
    SetField,
    Table,
    ToController,
    ToGroup,
    cookie,
    match,
)
from tests.fakes.ryu import DATAPATH, as_ryu_group, as_ryu_rule, ryu_bytes

EQUAL_WIDTHS = [
    (a, b) for a in FIELD_BITS for b in FIELD_BITS if a != b and FIELD_BITS[a] == FIELD_BITS[b]
]
SETTABLE = sorted(set(FIELD_BITS) - {"in_port", "eth_type"})


@st.composite
def field_matches(draw: st.DrawFn) -> FieldMatch:
    name = draw(st.sampled_from(sorted(FIELD_BITS)))
    full = (1 << FIELD_BITS[name]) - 1
    mask = draw(st.one_of(st.just(full), st.integers(1, full)))
    return FieldMatch(name, draw(st.integers(0, full)) & mask, mask)


matches: st.SearchStrategy[Match] = st.lists(
    field_matches(), max_size=8, unique_by=lambda part: part.field
).map(lambda parts: tuple(sorted(parts)))


@st.composite
def set_fields(draw: st.DrawFn) -> SetField:
    name = draw(st.sampled_from(SETTABLE))
    return SetField(name, draw(st.integers(0, (1 << FIELD_BITS[name]) - 1)))


@st.composite
def set_bits(draw: st.DrawFn) -> SetBits:
    name = draw(st.sampled_from(SETTABLE))
    start = draw(st.integers(0, FIELD_BITS[name] - 1))
    mask = (1 << draw(st.integers(1, min(64, FIELD_BITS[name] - start)))) - 1 << start
    return SetBits(name, draw(st.integers(0, mask)) & mask, mask)


ports = st.integers(1, 0xFF00)
actions: st.SearchStrategy[Action] = st.one_of(
    st.builds(Output, ports),
    st.just(OutputInPort()),
    st.just(ToController()),
    st.just(CountHop()),
    set_fields(),
    set_bits(),
    st.sampled_from(EQUAL_WIDTHS).map(lambda pair: Copy(*pair)),
    st.builds(Hash, st.integers(1, 65521)),
    st.builds(ToGroup, st.integers(0, 0xFFFFFF00)),
)
action_lists = st.lists(actions, max_size=5).map(tuple)
rules = st.builds(
    Rule,
    st.sampled_from(Table),
    st.integers(0, 0xFFFF),
    matches,
    action_lists,
    st.one_of(st.none(), st.sampled_from(Table)),
    st.builds(cookie, st.sampled_from(Duty), st.integers(0, 0xFFFFFFFF)),
)
watched = st.one_of(st.none(), ports)
group_ids = st.integers(0, 0xFFFFFF00)


def groups_of(kind: GroupKind, weights: st.SearchStrategy[int]) -> st.SearchStrategy[Group]:
    buckets = st.lists(st.builds(Bucket, action_lists, weights, watched), max_size=4).map(tuple)
    return st.builds(Group, group_ids, st.just(kind), buckets)


groups = st.one_of(
    groups_of(GroupKind.SELECT, st.integers(0, 0xFFFF)),
    groups_of(GroupKind.FAST_FAILOVER, st.just(1)),  # has no weights
)


@given(rules, st.integers(1, openflow.MAX_XID))
def test_a_rule_is_byte_for_byte_what_ryu_sends(rule: Rule, xid: int) -> None:
    assert openflow.add_flow(rule, xid) == ryu_bytes(as_ryu_rule(rule), xid)


@given(groups)
def test_a_group_is_byte_for_byte_what_ryu_sends(group: Group) -> None:
    assert openflow.add_group(group, 9) == ryu_bytes(as_ryu_group(group, ofp.OFPGC_ADD), 9)
    assert openflow.modify_group(group, 9) == ryu_bytes(as_ryu_group(group, ofp.OFPGC_MODIFY), 9)


def test_requests_are_byte_for_byte_what_ryu_sends() -> None:
    owner, mask = openflow.COOKIE_OWNER, openflow.COOKIE_OWNER_MASK
    flows = parser.OFPFlowStatsRequest(
        DATAPATH, 0, ofp.OFPTT_ALL, ofp.OFPP_ANY, ofp.OFPG_ANY, owner, mask, parser.OFPMatch()
    )
    assert openflow.flows_request(3) == ryu_bytes(flows, 3)
    assert openflow.groups_request(4) == ryu_bytes(parser.OFPGroupDescStatsRequest(DATAPATH, 0), 4)
    assert openflow.barrier(5) == ryu_bytes(parser.OFPBarrierRequest(DATAPATH), 5)
    for role in (ofp.OFPCR_ROLE_MASTER, ofp.OFPCR_ROLE_SLAVE):
        asked = parser.OFPRoleRequest(DATAPATH, role, 1 << 60)
        assert openflow.role_request(role, 1 << 60, 8) == ryu_bytes(asked, 8)
    asked = parser.OFPSetAsync(DATAPATH, [7, 0], [7, 7], [15, 0])
    assert openflow.everything_to_the_leader(9) == ryu_bytes(asked, 9)
    out = parser.OFPPacketOut(
        DATAPATH, ofp.OFP_NO_BUFFER, ofp.OFPP_CONTROLLER, [parser.OFPActionOutput(7, 0)], b"frame"
    )
    assert openflow.packet_out(7, b"frame", 6) == ryu_bytes(out, 6)


def test_a_bundle_is_byte_for_byte_what_ryu_sends() -> None:
    rule = Rule(Table.ROUTE, 5, match(eth_type=0x800), (Output(1),))
    flags = ofp.ONF_BF_ATOMIC | ofp.ONF_BF_ORDERED

    def control(kind: int) -> bytes:
        return ryu_bytes(parser.ONFBundleCtrlMsg(DATAPATH, 77, kind, flags, []), 100)

    # Ryu's class sets the inner xid itself, and only accepts a message that has none yet.
    added = parser.ONFBundleAddMsg(DATAPATH, 77, flags, as_ryu_rule(rule), [])
    expected = (
        control(ofp.ONF_BCT_OPEN_REQUEST)
        + ryu_bytes(added, 101)
        + control(ofp.ONF_BCT_CLOSE_REQUEST)
        + control(ofp.ONF_BCT_COMMIT_REQUEST)
    )
    assert openflow.bundle([openflow.add_flow(rule, 101)], 77, 100) == expected


def flow_entry(rule: Rule, packets: int = 0, size: int = 0) -> bytes:
    """The OFPMP_FLOW entry that a switch answers for a rule it got."""
    body = openflow.add_flow(rule, 0)[48:]  # match and instructions: the layouts agree
    head = struct.pack(
        "!HBxIIHHHH4xQQQ",
        48 + len(body),
        rule.table,
        1,
        2,
        rule.priority,
        0,
        0,
        0,
        rule.cookie,
        packets,
        size,
    )
    return head + body


@given(st.lists(rules, max_size=5))
def test_flows_come_back_as_they_went(sent: list[Rule]) -> None:
    body = b"".join(flow_entry(rule) for rule in sent)
    assert list(openflow.read_flows(body)) == sent


@given(st.lists(groups, max_size=5))
def test_groups_come_back_as_they_went(sent: list[Group]) -> None:
    body = b""
    for group in sent:
        made = openflow.add_group(group, 0)[16:]
        body += struct.pack("!HBxI", 8 + len(made), group.kind, group.group_id) + made
    assert list(openflow.read_groups(body)) == sent


def test_counters_are_by_duty() -> None:
    spoof = Rule(Table.ADMISSION, 1, (), cookie=cookie(Duty.SPOOF, 3))
    foreign = Rule(Table.ADMISSION, 2, (), cookie=0x1234)
    body = flow_entry(spoof, 5, 300) + flow_entry(foreign, 7, 700)
    assert list(openflow.count_flows(body)) == [openflow.FlowCount(Duty.SPOOF, 3, 5, 300)]


def test_what_we_cannot_express_is_refused() -> None:
    rule = as_ryu_rule(Rule(Table.ROUTE, 1, ()))
    rule.instructions = [parser.OFPInstructionMeter(1)]
    body = ryu_bytes(rule, 1)[48:]
    head = struct.pack("!HBxIIHHHH4xQQQ", 48 + len(body), 40, 0, 0, 1, 0, 0, 0, 0, 0, 0)
    with pytest.raises(openflow.UnknownEncodingError, match="instruction"):
        list(openflow.read_flows(head + body))


@pytest.mark.parametrize(("value", "mask"), [(0, 0b101), (0b10, 0b1), (0, 1 << 48)])
def test_bits_that_are_no_run_of_the_field_are_refused(value: int, mask: int) -> None:
    rule = Rule(Table.ROUTE, 5, (), (SetBits("eth_dst", value, mask),))
    with pytest.raises(ValueError, match="no run"):
        openflow.add_flow(rule, 1)


def test_a_delete_reaches_only_our_own() -> None:
    rule = Rule(Table.ROUTE, 5, match(eth_type=0x800), (Output(1),), cookie=cookie(Duty.ROUTE))
    raw = openflow.delete_flow(rule, 8)
    own, mask, table, command = struct.unpack_from("!QQBB", raw, 8)
    assert (own, mask) == (openflow.COOKIE_OWNER, openflow.COOKIE_OWNER_MASK)
    assert (table, command) == (Table.ROUTE, ofp.OFPFC_DELETE_STRICT)
