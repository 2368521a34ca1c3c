"""Rules to OpenFlow 1.3 bytes and back: the only module that knows the wire format.

Messages are packed with ``struct`` straight from the plain rules: Ryu's message classes need
about 220 us a rule, this about 10 us, and tests hold both to the same bytes. Numbers come from
Ryu's constants (OpenFlow Switch Specification 1.3.5, section 7; bundles: ONF extension 230).

The canonical form of a rule survives a real Open vSwitch: what `read_flows` gives back equals
what was sent. What is ours but cannot be expressed as a rule raises `UnknownEncodingError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from struct import Struct

from ryu.ofproto import ofproto_common as common
from ryu.ofproto import ofproto_v1_3 as ofp

from controller.core.reconcile import (
    AddGroup,
    AddRule,
    Change,
    DeleteGroup,
    DeleteRule,
    ModifyGroup,
    ModifyRule,
)
from controller.core.rules import (
    COOKIE_OWNER,
    COOKIE_OWNER_MASK,
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
    RuleKey,
    SetBits,
    SetField,
    Table,
    ToController,
    ToGroup,
    duty_of,
)

__all__ = [
    "FlowCount",
    "UnknownEncodingError",
    "add_flow",
    "add_group",
    "barrier",
    "bundle",
    "count_flows",
    "delete_all_groups",
    "delete_flow",
    "delete_group",
    "delete_our_flows",
    "encode",
    "everything_to_the_leader",
    "flows_request",
    "groups_request",
    "modify_group",
    "packet_out",
    "read_flows",
    "read_flows_or_words",
    "read_groups",
    "removed_key",
    "role_request",
]

MAX_XID = 0xFFFFFFFF
NICIRA_REG_MOVE, NICIRA_REG_LOAD = 6, 7  # NXAST_REG_MOVE, NXAST_REG_LOAD of nicira-ext.h
NICIRA_MULTIPATH = 10  # NXAST_MULTIPATH
_SYMMETRIC_L3L4_UDP = 3  # NX_HASH_FIELDS_SYMMETRIC_L3L4_UDP
_REGISTER0 = 0x00010004  # NXM_NX_REG0
_MASKED = 0x104  # a masked NXM header has this bit, and twice the length

_HEADER = Struct("!BBHI")
_EXPERIMENTER = Struct("!BBHIII")
_BUNDLE_CONTROL = Struct("!BBHIIIIHH")
_BUNDLE_ADD = Struct("!BBHIIII2xH")
_FLOW_MOD = Struct("!BBHIQQBBHHHIIIH2x")
_GROUP_MOD = Struct("!BBHIHBxI")
_BUCKET = Struct("!HHII4x")
_MULTIPART = Struct("!BBHIHH4x")
_FLOW_REQUEST = Struct("!B3xII4xQQ")
_FLOW_STATS = Struct("!HBxIIHHHH4xQQQ")
_FLOW_REMOVED = Struct("!QHBB")
_GROUP_DESC = Struct("!HBxI")
_PACKET_OUT = Struct("!BBHIIIH6x")
_ROLE = Struct("!BBHII4xQ")
_ASYNC = Struct("!BBHI6I")
_TYPE_LENGTH = Struct("!HH")
_OUTPUT = Struct("!HHIH6x")
_GROUP_ACTION = Struct("!HHI")
_COUNT_HOP = Struct("!HH4x")
_REG_MOVE = Struct("!HHIHHHHII")
_MULTIPATH = Struct("!HHIHHH2xHHI2xHI")
_REG_LOAD = Struct("!HHIHHIQ")
_APPLY = Struct("!HH4x")
_GOTO = Struct("!HHB3x")
_OXM = Struct("!I")

_ALL = 0xFFFFFFFF
_BUNDLE_FLAGS = ofp.ONF_BF_ATOMIC | ofp.ONF_BF_ORDERED
_PADDING = (b"", b"\0", b"\0" * 2, b"\0" * 3, b"\0" * 4, b"\0" * 5, b"\0" * 6, b"\0" * 7)


class UnknownEncodingError(ValueError):
    """A switch holds something of ours that this version cannot express as a rule."""


@dataclass(frozen=True, slots=True)
class _Field:
    """How one match field travels: its OXM headers, plain and masked, and width in bytes."""

    name: str
    plain: int
    masked: int
    size: int
    full: int


def _fields() -> dict[str, _Field]:
    found = {}
    for name, bits in FIELD_BITS.items():
        if name == "reg0":
            found[name] = _Field(name, _REGISTER0, _REGISTER0 + _MASKED, 4, (1 << bits) - 1)
            continue
        plain = getattr(ofp, f"OXM_OF_{name.upper()}")
        masked = getattr(ofp, f"OXM_OF_{name.upper()}_W")
        found[name] = _Field(name, plain, masked, -(-bits // 8), (1 << bits) - 1)
    return found


_FIELDS = _fields()
_BY_HEADER = {field.plain: field for field in _FIELDS.values()} | {
    field.masked: field for field in _FIELDS.values()
}


def _registers() -> dict[int, _Field]:
    """The headers that register moves and loads may name: Open vSwitch answers in NXM's numbers."""
    known = {f"{name}_nxm": field for name, field in _FIELDS.items()}
    found = {field.plain: field for field in _FIELDS.values()}
    for kind in ofp.oxm_types:
        if kind.name in known:
            field = known[kind.name]
            found[kind.num << 9 | field.size] = field
    return found


_REGISTERS = _registers()


def _pad(length: int) -> bytes:
    """Zeros up to the next multiple of eight."""
    return _PADDING[-length % 8]


# ---------------------------------------------------------------- match


def _encode_match(match: Match) -> bytes:
    """An OXM match with its padding; fields in the order of their numbers (prerequisites first)."""
    parts = []
    for part in match:
        field = _FIELDS[part.field]
        value = part.value.to_bytes(field.size, "big")
        if part.mask == field.full:
            parts.append((field.plain, _OXM.pack(field.plain) + value))
        else:
            mask = part.mask.to_bytes(field.size, "big")
            parts.append((field.plain, _OXM.pack(field.masked) + value + mask))
    parts.sort()
    body = b"".join([encoded for _, encoded in parts])
    length = 4 + len(body)
    return _TYPE_LENGTH.pack(ofp.OFPMT_OXM, length) + body + _pad(length)


def _decode_match(data: memoryview) -> tuple[Match, int]:
    """The match at the start of ``data`` and the bytes that it takes, padding included."""
    _, length = _TYPE_LENGTH.unpack_from(data)
    parts = []
    at = 4
    while at < length:
        (header,) = _OXM.unpack_from(data, at)
        field = _BY_HEADER.get(header)
        if field is None:
            raise UnknownEncodingError(f"match field {header:#010x} is not one of ours")
        value = int.from_bytes(data[at + 4 : at + 4 + field.size], "big")
        mask = field.full
        if header == field.masked:
            mask = int.from_bytes(data[at + 4 + field.size : at + 4 + 2 * field.size], "big")
        parts.append(FieldMatch(field.name, value, mask))
        at += 4 + (header & 0xFF)
    return tuple(sorted(parts)), length + (-length % 8)


# ---------------------------------------------------------------- actions


def _encode_action(action: Action) -> bytes:
    match action:
        case Output(port):
            return _OUTPUT.pack(ofp.OFPAT_OUTPUT, 16, port, 0)
        case OutputInPort():
            return _OUTPUT.pack(ofp.OFPAT_OUTPUT, 16, ofp.OFPP_IN_PORT, 0)
        case ToController():
            return _OUTPUT.pack(ofp.OFPAT_OUTPUT, 16, ofp.OFPP_CONTROLLER, ofp.OFPCML_NO_BUFFER)
        case ToGroup(group_id):
            return _GROUP_ACTION.pack(ofp.OFPAT_GROUP, 8, group_id)
        case SetField(name, value):
            field = _FIELDS[name]
            body = _OXM.pack(field.plain) + value.to_bytes(field.size, "big")
            length = 4 + len(body)
            padded = length + (-length % 8)
            return _TYPE_LENGTH.pack(ofp.OFPAT_SET_FIELD, padded) + body + _pad(length)
        case Hash(slots):
            return _encode_hash(slots)
        case SetBits(name, value, mask):
            return _encode_load(_FIELDS[name], value, mask)
        case CountHop():
            return _COUNT_HOP.pack(ofp.OFPAT_DEC_NW_TTL, _COUNT_HOP.size)
        case Copy(source, target):
            return _encode_copy(_FIELDS[source], _FIELDS[target])


def _encode_load(field: _Field, value: int, mask: int) -> bytes:
    start = (mask & -mask).bit_length() - 1
    ones = mask >> start
    if ones & ones + 1 or value & ~mask or mask & ~field.full:
        raise ValueError(f"set {field.name}: {value:#x} under {mask:#x} is no run of its bits")
    run = start << 6 | ones.bit_length() - 1
    vendor = common.NX_EXPERIMENTER_ID
    return _REG_LOAD.pack(
        ofp.OFPAT_EXPERIMENTER, 24, vendor, NICIRA_REG_LOAD, run, field.plain, value >> start
    )


def _encode_copy(source: _Field, target: _Field) -> bytes:
    if source.size != target.size:
        raise ValueError(f"copy {source.name} to {target.name}: the widths differ")
    return _REG_MOVE.pack(
        ofp.OFPAT_EXPERIMENTER,
        24,
        common.NX_EXPERIMENTER_ID,
        NICIRA_REG_MOVE,
        source.size * 8,
        0,
        0,
        source.plain,
        target.plain,
    )


def _encode_hash(slots: int) -> bytes:
    return _MULTIPATH.pack(
        ofp.OFPAT_EXPERIMENTER,
        _MULTIPATH.size,
        common.NX_EXPERIMENTER_ID,
        NICIRA_MULTIPATH,
        _SYMMETRIC_L3L4_UDP,
        0,  # basis
        0,  # NX_MP_ALG_MODULO_N
        slots - 1,
        0,  # no argument
        31,  # the whole register: offset 0, 32 bits
        _REGISTER0,
    )


def _decode_actions(data: memoryview) -> tuple[Action, ...]:
    found = []
    at = 0
    while at < len(data):
        kind, length = _TYPE_LENGTH.unpack_from(data, at)
        found.append(_decode_action(kind, data[at : at + length]))
        at += length
    return tuple(found)


def _decode_action(kind: int, data: memoryview) -> Action:
    if kind == ofp.OFPAT_OUTPUT:
        port = _OUTPUT.unpack_from(data)[2]
        if port == ofp.OFPP_IN_PORT:
            return OutputInPort()
        return ToController() if port == ofp.OFPP_CONTROLLER else Output(port)
    if kind == ofp.OFPAT_DEC_NW_TTL:
        return CountHop()
    if kind == ofp.OFPAT_GROUP:
        return ToGroup(_GROUP_ACTION.unpack_from(data)[2])
    if kind == ofp.OFPAT_SET_FIELD:
        field = _BY_HEADER.get(_OXM.unpack_from(data, 4)[0])
        if field is not None:
            return SetField(field.name, int.from_bytes(data[8 : 8 + field.size], "big"))
    if kind == ofp.OFPAT_EXPERIMENTER and (nicira := _decode_nicira(data)) is not None:
        return nicira
    raise UnknownEncodingError(f"action of type {kind} ({bytes(data).hex()}) is not one of ours")


def _decode_nicira(data: memoryview) -> Action | None:
    if len(data) == _MULTIPATH.size:
        hashed = Hash(_MULTIPATH.unpack(data)[7] + 1)
        return hashed if bytes(data) == _encode_hash(hashed.slots) else None
    if len(data) != _REG_MOVE.size:
        return None
    _, _, vendor, subtype, run, field, value = _REG_LOAD.unpack(data)
    if (vendor, subtype) == (common.NX_EXPERIMENTER_ID, NICIRA_REG_LOAD):
        start, bits, target = run >> 6, (run & 63) + 1, _REGISTERS.get(field)
        if target is not None:
            return SetBits(target.name, value << start, ((1 << bits) - 1) << start)
    _, _, vendor, subtype, bits, start, end, source, copied = _REG_MOVE.unpack(data)
    one, other = _REGISTERS.get(source), _REGISTERS.get(copied)
    whole = one is not None and bits == one.size * 8 and start == end == 0
    ours = (vendor, subtype) == (common.NX_EXPERIMENTER_ID, NICIRA_REG_MOVE)
    return Copy(one.name, other.name) if ours and whole and one and other else None


def _encode_instructions(rule: Rule) -> bytes:
    encoded = b""
    if rule.actions:
        actions = b"".join([_encode_action(action) for action in rule.actions])
        encoded = _APPLY.pack(ofp.OFPIT_APPLY_ACTIONS, 8 + len(actions)) + actions
    if rule.goto is not None:
        encoded += _GOTO.pack(ofp.OFPIT_GOTO_TABLE, 8, rule.goto)
    return encoded


def _decode_instructions(data: memoryview) -> tuple[tuple[Action, ...], Table | None]:
    actions: tuple[Action, ...] = ()
    goto = None
    at = 0
    while at < len(data):
        kind, length = _TYPE_LENGTH.unpack_from(data, at)
        if kind == ofp.OFPIT_APPLY_ACTIONS:
            actions = _decode_actions(data[at + 8 : at + length])
        elif kind == ofp.OFPIT_GOTO_TABLE:
            goto = _table(_GOTO.unpack_from(data, at)[2])
        else:
            raise UnknownEncodingError(f"instruction of type {kind} is not one of ours")
        at += length
    return actions, goto


def _table(number: int) -> Table:
    try:
        return Table(number)
    except ValueError as error:
        raise UnknownEncodingError(f"table {number} is not one of ours") from error


# ---------------------------------------------------------------- messages


def _flow_mod(
    xid: int,
    command: int,
    table: int,
    priority: int,
    cookie: int,
    mask: int,
    body: bytes,
    flags: int = 0,
) -> bytes:
    return (
        _FLOW_MOD.pack(
            ofp.OFP_VERSION,
            ofp.OFPT_FLOW_MOD,
            _FLOW_MOD.size + len(body),
            xid,
            cookie,
            mask,
            table,
            command,
            0,
            0,
            priority,
            ofp.OFP_NO_BUFFER,
            ofp.OFPP_ANY,
            ofp.OFPG_ANY,
            flags,
        )
        + body
    )


def add_flow(rule: Rule, xid: int) -> bytes:
    """OFPFC_ADD: put the rule in; one with the same key is replaced, its counters start anew.

    The switch tells when it goes, whoever takes it away (`removed_key`).
    """
    body = _encode_match(rule.match) + _encode_instructions(rule)
    flags = ofp.OFPFF_SEND_FLOW_REM
    return _flow_mod(xid, ofp.OFPFC_ADD, rule.table, rule.priority, rule.cookie, 0, body, flags)


def delete_flow(rule: Rule, xid: int) -> bytes:
    """OFPFC_DELETE_STRICT: take out the rule with this key, if it is ours."""
    return _flow_mod(
        xid,
        ofp.OFPFC_DELETE_STRICT,
        rule.table,
        rule.priority,
        COOKIE_OWNER,
        COOKIE_OWNER_MASK,
        _encode_match(rule.match),
    )


def delete_our_flows(xid: int) -> bytes:
    """OFPFC_DELETE of everything with our cookie, in every table."""
    match = _encode_match(())
    return _flow_mod(
        xid, ofp.OFPFC_DELETE, ofp.OFPTT_ALL, 0, COOKIE_OWNER, COOKIE_OWNER_MASK, match
    )


def _encode_buckets(group: Group) -> bytes:
    """Only select groups have weights; Open vSwitch refuses others that are not 0."""
    weighted = group.kind is GroupKind.SELECT
    return b"".join(
        [_encode_bucket(bucket, bucket.weight if weighted else 0) for bucket in group.buckets]
    )


def _encode_bucket(bucket: Bucket, weight: int) -> bytes:
    actions = b"".join([_encode_action(action) for action in bucket.actions])
    watch = ofp.OFPP_ANY if bucket.watch_port is None else bucket.watch_port
    length = _BUCKET.size + len(actions)
    return _BUCKET.pack(length, weight, watch, ofp.OFPG_ANY) + actions


def _group_mod(xid: int, command: int, kind: int, group_id: int, body: bytes = b"") -> bytes:
    return (
        _GROUP_MOD.pack(
            ofp.OFP_VERSION,
            ofp.OFPT_GROUP_MOD,
            _GROUP_MOD.size + len(body),
            xid,
            command,
            kind,
            group_id,
        )
        + body
    )


def add_group(group: Group, xid: int) -> bytes:
    """OFPGC_ADD; the switch refuses a group that is there already."""
    return _group_mod(xid, ofp.OFPGC_ADD, group.kind, group.group_id, _encode_buckets(group))


def modify_group(group: Group, xid: int) -> bytes:
    """OFPGC_MODIFY; the switch refuses a group that is not there."""
    return _group_mod(xid, ofp.OFPGC_MODIFY, group.kind, group.group_id, _encode_buckets(group))


def delete_all_groups(xid: int) -> bytes:
    """OFPGC_DELETE of every group."""
    return _group_mod(xid, ofp.OFPGC_DELETE, ofp.OFPGT_SELECT, ofp.OFPG_ALL)


def delete_group(group_id: int, xid: int) -> bytes:
    """OFPGC_DELETE; flows that point at the group go with it."""
    return _group_mod(xid, ofp.OFPGC_DELETE, ofp.OFPGT_SELECT, group_id)


def encode(change: Change, xid: int) -> bytes:
    """The message that carries out one change."""
    match change:
        case AddRule(rule) | ModifyRule(rule):
            return add_flow(rule, xid)
        case DeleteRule(rule):
            return delete_flow(rule, xid)
        case AddGroup(group):
            return add_group(group, xid)
        case ModifyGroup(group):
            return modify_group(group, xid)
        case DeleteGroup(group):
            return delete_group(group.group_id, xid)


def barrier(xid: int) -> bytes:
    """Everything before it is done when its reply comes."""
    return _HEADER.pack(ofp.OFP_VERSION, ofp.OFPT_BARRIER_REQUEST, _HEADER.size, xid)


def role_request(role: int, generation: int, xid: int) -> bytes:
    """Ask for a role, ``OFPCR_ROLE_MASTER`` or ``OFPCR_ROLE_SLAVE``; refused if a later generation
    has asked the switch before (section 6.3.6).
    """
    return _ROLE.pack(ofp.OFP_VERSION, ofp.OFPT_ROLE_REQUEST, _ROLE.size, xid, role, generation)


def everything_to_the_leader(xid: int) -> bytes:
    """OFPT_SET_ASYNC: all that a switch tells of itself goes to its master, of ports to slaves too.

    Beside what switches do anyhow, that is packets whose hops have run out (section 7.3.10).
    """
    packets = sum(1 << x for x in (ofp.OFPR_NO_MATCH, ofp.OFPR_ACTION, ofp.OFPR_INVALID_TTL))
    ports = sum(1 << x for x in (ofp.OFPPR_ADD, ofp.OFPPR_DELETE, ofp.OFPPR_MODIFY))
    removals = (ofp.OFPRR_IDLE_TIMEOUT, ofp.OFPRR_HARD_TIMEOUT, ofp.OFPRR_DELETE)
    removed = sum(1 << x for x in (*removals, ofp.OFPRR_GROUP_DELETE))
    kind, size = ofp.OFPT_SET_ASYNC, _ASYNC.size
    return _ASYNC.pack(ofp.OFP_VERSION, kind, size, xid, packets, 0, ports, ports, removed, 0)


def _bundle_control(xid: int, bundle_id: int, kind: int) -> bytes:
    return _BUNDLE_CONTROL.pack(
        ofp.OFP_VERSION,
        ofp.OFPT_EXPERIMENTER,
        _BUNDLE_CONTROL.size,
        xid,
        common.ONF_EXPERIMENTER_ID,
        ofp.ONF_ET_BUNDLE_CONTROL,
        bundle_id,
        kind,
        _BUNDLE_FLAGS,
    )


def _bundle_add(bundle_id: int, message: bytes) -> bytes:
    """The inner message's xid is the outer's: the extension demands it (section 3.3)."""
    (xid,) = _OXM.unpack_from(message, 4)
    return (
        _BUNDLE_ADD.pack(
            ofp.OFP_VERSION,
            ofp.OFPT_EXPERIMENTER,
            _BUNDLE_ADD.size + len(message),
            xid,
            common.ONF_EXPERIMENTER_ID,
            ofp.ONF_ET_BUNDLE_ADD_MESSAGE,
            bundle_id,
            _BUNDLE_FLAGS,
        )
        + message
    )


def bundle(messages: Iterable[bytes], bundle_id: int, xid: int) -> bytes:
    """One atomic, ordered bundle: open, the messages, close, commit.

    The three control messages carry ``xid``, so that a refusal of any of them is found again;
    the switch answers each, the last answer is the commit's.
    """
    parts = [_bundle_control(xid, bundle_id, ofp.ONF_BCT_OPEN_REQUEST)]
    parts += [_bundle_add(bundle_id, message) for message in messages]
    parts.append(_bundle_control(xid, bundle_id, ofp.ONF_BCT_CLOSE_REQUEST))
    parts.append(_bundle_control(xid, bundle_id, ofp.ONF_BCT_COMMIT_REQUEST))
    return b"".join(parts)


def packet_out(port: int | None, frame: bytes, xid: int) -> bytes:
    """Send a frame out of a port, or through the switch's tables."""
    port = ofp.OFPP_TABLE if port is None else port
    action = _encode_action(Output(port))
    return (
        _PACKET_OUT.pack(
            ofp.OFP_VERSION,
            ofp.OFPT_PACKET_OUT,
            _PACKET_OUT.size + len(action) + len(frame),
            xid,
            ofp.OFP_NO_BUFFER,
            ofp.OFPP_CONTROLLER,
            len(action),
        )
        + action
        + frame
    )


def _multipart(xid: int, kind: int, body: bytes = b"") -> bytes:
    return (
        _MULTIPART.pack(
            ofp.OFP_VERSION,
            ofp.OFPT_MULTIPART_REQUEST,
            _MULTIPART.size + len(body),
            xid,
            kind,
            0,
        )
        + body
    )


def flows_request(xid: int, duty: Duty | None = None, *, anybodys: bool = False) -> bytes:
    """Ask for every flow with our cookie, those of one duty, or other people's too."""
    mask = 0 if anybodys else COOKIE_OWNER_MASK
    wanted = COOKIE_OWNER & mask
    if duty is not None:
        wanted, mask = COOKIE_OWNER | duty << 32, COOKIE_OWNER_MASK | 0xFF << 32
    body = _FLOW_REQUEST.pack(ofp.OFPTT_ALL, ofp.OFPP_ANY, ofp.OFPG_ANY, wanted, mask)
    return _multipart(xid, ofp.OFPMP_FLOW, body + _encode_match(()))


def groups_request(xid: int) -> bytes:
    """Ask for the description of every group."""
    return _multipart(xid, ofp.OFPMP_GROUP_DESC)


# ---------------------------------------------------------------- replies


def _entries(body: bytes) -> Iterator[memoryview]:
    """Cut a multipart body into its entries; each begins with its own length."""
    view = memoryview(body)
    at = 0
    while at < len(view):
        length = view[at] << 8 | view[at + 1]
        yield view[at : at + length]
        at += length


def read_flows(body: bytes) -> Iterator[Rule]:
    """The rules in an OFPMP_FLOW reply's body. Raises UnknownEncodingError."""
    yield from map(_read_flow, _entries(body))


def read_flows_or_words(body: bytes) -> Iterator[Rule | str]:
    """The same of anybody's rules: what cannot be read as one of ours is told in words."""
    for entry in _entries(body):
        try:
            yield _read_flow(entry)
        except (UnknownEncodingError, ValueError) as error:
            table, cookie = (_FLOW_STATS.unpack_from(entry)[n] for n in (1, 8))
            yield f"table {table} cookie {cookie:#x}: {error}"


def _read_flow(entry: memoryview) -> Rule:
    head = _FLOW_STATS.unpack_from(entry)
    match, taken = _decode_match(entry[_FLOW_STATS.size :])
    actions, goto = _decode_instructions(entry[_FLOW_STATS.size + taken :])
    return Rule(_table(head[1]), head[4], match, actions, goto, head[8])


@dataclass(frozen=True, slots=True)
class FlowCount:
    """What one rule has counted; ``number`` is the one in its cookie."""

    duty: Duty
    number: int
    packets: int
    bytes: int


def removed_key(message: bytes) -> RuleKey | None:
    """The key of the rule that a flow-removed message is about; None if it is none of ours."""
    cookie, priority, _reason, table = _FLOW_REMOVED.unpack_from(message, 8)
    try:
        if duty_of(cookie) is None:
            return None
        return Table(table), priority, _decode_match(memoryview(message)[48:])[0]
    except (ValueError, UnknownEncodingError):
        return None


def count_flows(body: bytes) -> Iterator[FlowCount]:
    """The counters in an OFPMP_FLOW reply's body, rules undecoded (a twentieth of the work)."""
    for entry in _entries(body):
        head = _FLOW_STATS.unpack_from(entry)
        duty = duty_of(head[8])
        if duty is not None:
            yield FlowCount(duty, head[8] & 0xFFFFFFFF, head[9], head[10])


def read_groups(body: bytes) -> Iterator[Group]:
    """The groups in an OFPMP_GROUP_DESC reply's body. Raises UnknownEncodingError."""
    for entry in _entries(body):
        _, kind, group_id = _GROUP_DESC.unpack_from(entry)
        try:
            known = GroupKind(kind)
        except ValueError as error:
            raise UnknownEncodingError(
                f"group {group_id} of type {kind} is not one of ours"
            ) from error
        parts = _entries(bytes(entry[_GROUP_DESC.size :]))
        buckets = tuple(_read_bucket(part, known is GroupKind.SELECT) for part in parts)
        yield Group(group_id, known, buckets)


def _read_bucket(data: memoryview, weighted: bool) -> Bucket:
    _, weight, watch, _ = _BUCKET.unpack_from(data)
    port = None if watch == ofp.OFPP_ANY else watch
    return Bucket(_decode_actions(data[_BUCKET.size :]), weight if weighted else 1, port)
