"""Rules and groups as Ryu's own classes, to compare with."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ryu.ofproto import ofproto_v1_3 as ofp
from ryu.ofproto import ofproto_v1_3_parser as parser

from controller.core.rules import (
    FIELD_BITS,
    Action,
    Copy,
    CountHop,
    Group,
    GroupKind,
    Hash,
    Match,
    Output,
    OutputInPort,
    Rule,
    SetBits,
    SetField,
    ToController,
    ToGroup,
)

DATAPATH: Any = SimpleNamespace(ofproto=ofp, ofproto_parser=parser)


def as_ryu_match(given_match: Match) -> Any:
    fields = {}
    for part in given_match:
        size = -(-FIELD_BITS[part.field] // 8)
        full = (1 << FIELD_BITS[part.field]) - 1
        info = ofp.oxm_get_field_info_by_name(part.field)[1]
        value = info.to_user(part.value.to_bytes(size, "big"))
        mask = info.to_user(part.mask.to_bytes(size, "big"))
        fields[part.field] = value if part.mask == full else (value, mask)
    return parser.OFPMatch(**fields)


def as_ryu_action(action: Action) -> Any:
    match action:
        case Output(port):
            return parser.OFPActionOutput(port, 0)
        case OutputInPort():
            return parser.OFPActionOutput(ofp.OFPP_IN_PORT, 0)
        case ToController():
            return parser.OFPActionOutput(ofp.OFPP_CONTROLLER, ofp.OFPCML_NO_BUFFER)
        case SetField(name, value):
            info = ofp.oxm_get_field_info_by_name(name)[1]
            user = info.to_user(value.to_bytes(-(-FIELD_BITS[name] // 8), "big"))
            return parser.OFPActionSetField(**{name: user})
        case SetBits(name, value, mask):
            start = (mask & -mask).bit_length() - 1
            run = start << 6 | mask.bit_count() - 1
            return parser.NXActionRegLoad(run, name, value >> start)
        case CountHop():
            return parser.OFPActionDecNwTtl()
        case Copy(source, target):
            return parser.NXActionRegMove(source, target, FIELD_BITS[source])
        case Hash(slots):
            return parser.NXActionMultipath(
                fields=3,  # NX_HASH_FIELDS_SYMMETRIC_L3L4_UDP
                basis=0,
                algorithm=0,  # NX_MP_ALG_MODULO_N
                max_link=slots - 1,
                arg=0,
                ofs_nbits=31,
                dst="reg0",
            )
        case ToGroup(group_id):
            return parser.OFPActionGroup(group_id)


def as_ryu_rule(rule: Rule) -> Any:
    instructions = []
    if rule.actions:
        acts = [as_ryu_action(action) for action in rule.actions]
        instructions.append(parser.OFPInstructionActions(ofp.OFPIT_APPLY_ACTIONS, acts))
    if rule.goto is not None:
        instructions.append(parser.OFPInstructionGotoTable(rule.goto))
    return parser.OFPFlowMod(
        DATAPATH,
        cookie=rule.cookie,
        table_id=rule.table,
        priority=rule.priority,
        match=as_ryu_match(rule.match),
        instructions=instructions,
        out_port=ofp.OFPP_ANY,
        out_group=ofp.OFPG_ANY,
        flags=ofp.OFPFF_SEND_FLOW_REM,
    )


def as_ryu_group(group: Group, command: int) -> Any:
    made = [
        parser.OFPBucket(
            bucket.weight if group.kind is GroupKind.SELECT else 0,
            ofp.OFPP_ANY if bucket.watch_port is None else bucket.watch_port,
            ofp.OFPG_ANY,
            [as_ryu_action(action) for action in bucket.actions],
        )
        for bucket in group.buckets
    ]
    return parser.OFPGroupMod(DATAPATH, command, group.kind, group.group_id, made)


def ryu_bytes(message: Any, xid: int) -> bytes:
    message.set_xid(xid)
    message.serialize()
    return bytes(message.buf)
