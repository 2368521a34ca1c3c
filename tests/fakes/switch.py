"""An OpenFlow 1.3 switch made of Python: holds rules and groups, refuses what a switch would
refuse, and says what happens to a packet.

A packet is a mapping of field names (those of ``controller.core.rules``) to integers, without
``in_port``. A field ``slot`` stands for what the packet hashes to; without it, every slot is tried.
A field that a packet lacks is matched by no rule that asks for it. ``ip_ttl`` is its TTL or hop
limit; of a packet that lacks it hops are not counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

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
    Action,
    Copy,
    CountHop,
    Duty,
    Group,
    GroupKind,
    Hash,
    Match,
    Output,
    OutputInPort,
    Program,
    Rule,
    SetBits,
    SetField,
    Table,
    ToController,
    ToGroup,
    duty_of,
)

Packet = Mapping[str, int]
Shape = tuple[tuple[str, int], ...]

IPV4, IPV6, ARP = 0x0800, 0x86DD, 0x0806
HOPS = 64
PREREQUISITES: Mapping[str, Mapping[str, int]] = {
    "ipv4": {"eth_type": IPV4},
    "ipv6": {"eth_type": IPV6},
    "ip": {"eth_type": IPV4},
    "arp": {"eth_type": ARP},
    "icmpv4": {"eth_type": IPV4, "ip_proto": 1},
    "icmpv6": {"eth_type": IPV6, "ip_proto": 58},
    "tcp": {"ip_proto": 6},
    "udp": {"ip_proto": 17},
}
"""What a match must name before it may name a field that begins so (OpenFlow 1.3.5 table 11)."""


class RefusedError(Exception):
    """A switch would answer this change with an error."""


class AmbiguousError(AssertionError):
    """Two rules of one priority match the packet and do different things."""


@dataclass(frozen=True)
class Outcome:
    """What one switch did with one packet, in one of the worlds that its groups allow."""

    packet: Packet
    in_port: int
    trail: tuple[Rule, ...] = ()
    outputs: tuple[tuple[int, Packet], ...] = ()
    punted: tuple[Packet, ...] = ()
    exceeded: bool = False
    """Whether it was punted because its hops have run out: nothing more is done with it."""
    swallowed: int = 0
    """Outputs to the port that the packet came in by: a switch silently does not send those."""

    @property
    def duty(self) -> Duty | None:
        """The duty of the last rule that matched; None when no rule did."""
        return duty_of(self.trail[-1].cookie) if self.trail else None


@dataclass
class FakeSwitch:
    """One switch; ``ports`` are those that exist, ``dead`` those that a switch would call not live.

    An output to a dead port is an output all the same: what becomes of it is the link's affair.
    """

    name: str
    ports: frozenset[int]
    dead: set[int] = field(default_factory=set)
    rules: dict[tuple[Table, int, Match], Rule] = field(default_factory=dict)
    groups: dict[int, Group] = field(default_factory=dict)

    @property
    def program(self) -> Program:
        return Program(frozenset(self.rules.values()), frozenset(self.groups.values()))

    # -- changes

    def load(self, program: Program) -> None:
        """Fill an empty switch."""
        self.apply([AddGroup(group) for group in program.groups])
        self.apply([AddRule(rule) for rule in program.rules])

    def apply(self, changes: Iterable[Change]) -> None:
        """Carry out changes one by one; RefusedError at the first that is illegal."""
        for change in changes:
            self._apply(change)
        self.__dict__.pop("_index", None)
        self.__dict__.pop("_slots", None)

    def _apply(self, change: Change) -> None:
        match change:
            case AddRule(rule) | ModifyRule(rule):
                if (rule.key in self.rules) == isinstance(change, AddRule):
                    raise RefusedError(f"{self.name}: {change}")
                self._check_rule(rule)
                self.rules[rule.key] = rule
            case DeleteRule(rule):
                if self.rules.pop(rule.key, None) is None:
                    raise RefusedError(f"{self.name}: {change}")
            case AddGroup(group) | ModifyGroup(group):
                if (group.group_id in self.groups) == isinstance(change, AddGroup):
                    raise RefusedError(f"{self.name}: {change}")
                self._check_group(group)
                self.groups[group.group_id] = group
            case DeleteGroup(group):
                users = [r for r in self.rules.values() if ToGroup(group.group_id) in r.actions]
                if users or self.groups.pop(group.group_id, None) is None:
                    raise RefusedError(f"{self.name}: {change}, used by {users}")

    def _check_rule(self, rule: Rule) -> None:
        exact = {m.field: m.value for m in rule.match}
        if CountHop() in rule.actions and exact.get("eth_type") not in (IPV4, IPV6):
            raise RefusedError(f"{self.name}: counts hops of no IP packet: {rule}")
        for name in exact:
            needs = PREREQUISITES.get(name.split("_")[0], {}) if name != "ip_proto" else {}
            if any(exact.get(k) != v for k, v in needs.items()):
                raise RefusedError(f"{self.name}: {name} without {needs}: {rule}")
        if "ip_proto" in exact and exact.get("eth_type") not in (IPV4, IPV6):
            raise RefusedError(f"{self.name}: ip_proto without eth_type: {rule}")
        if rule.goto is not None and rule.goto <= rule.table:
            raise RefusedError(f"{self.name}: goes back: {rule}")
        if not 0 <= rule.priority <= 0xFFFF:
            raise RefusedError(f"{self.name}: priority: {rule}")
        self._check_actions(rule.actions)

    def _check_group(self, group: Group) -> None:
        if not group.buckets:
            raise RefusedError(f"{self.name}: empty group {group}")
        for bucket in group.buckets:
            if not 1 <= bucket.weight <= 0xFFFF:
                raise RefusedError(f"{self.name}: weight: {group}")
            self._check_actions(bucket.actions)
            watched = bucket.watch_port is not None
            if watched != (group.kind is GroupKind.FAST_FAILOVER):
                raise RefusedError(f"{self.name}: what is watched: {group}")

    def _check_actions(self, actions: tuple[Action, ...]) -> None:
        for action in actions:
            if isinstance(action, Output) and action.port not in self.ports:
                raise RefusedError(f"{self.name}: no port {action.port}")
            if isinstance(action, ToGroup) and action.group_id not in self.groups:
                raise RefusedError(f"{self.name}: no group {action.group_id}")

    # -- packets

    def receive(self, packet: Packet, in_port: int) -> list[Outcome]:
        """What happens to a packet: one outcome for each choice that select groups have."""
        return list(self._table(Outcome(dict(packet), in_port), Table.ADMISSION))

    def _table(self, outcome: Outcome, table: Table) -> Iterator[Outcome]:
        rule = self.lookup(table, outcome.packet, outcome.in_port)
        if rule is None:
            yield outcome
            return
        outcome = replace(outcome, trail=(*outcome.trail, rule))
        for result in self._actions(outcome, rule.actions):
            if rule.goto is None or result.exceeded:
                yield result
            else:
                yield from self._table(result, rule.goto)

    def lookup(self, table: Table, packet: Packet, in_port: int) -> Rule | None:
        """The rule that a packet hits in a table."""
        seen = {**packet, "in_port": in_port}
        hits: list[Rule] = []
        for shape, rules in self._index.get(table, {}).items():
            if all(name in seen for name, _ in shape):
                hits += rules.get(tuple(seen[name] & mask for name, mask in shape), [])
        if not hits:
            return None
        best = max(hits, key=lambda rule: rule.priority)
        for rule in hits:
            same = (rule.actions, rule.goto) == (best.actions, best.goto)
            if rule.priority == best.priority and not same:
                raise AmbiguousError(f"{self.name}: {best} and {rule} for {packet}")
        return best

    @cached_property
    def _index(self) -> dict[Table, dict[Shape, dict[tuple[int, ...], list[Rule]]]]:
        """Rules by table, by the fields and masks that they match, by the values."""
        index: dict[Table, dict[Shape, dict[tuple[int, ...], list[Rule]]]] = {}
        for rule in self.rules.values():
            shape = tuple((m.field, m.mask) for m in rule.match)
            values = tuple(m.value for m in rule.match)
            shapes = index.setdefault(rule.table, {})
            shapes.setdefault(shape, {}).setdefault(values, []).append(rule)
        return index

    @cached_property
    def _slots(self) -> tuple[int, ...]:
        """One slot of each kind: slots that all rules treat alike give equal outcomes."""
        of_slot: dict[int, set[object]] = {}
        for rule in self.rules.values():
            slots = [m.value for m in rule.match if m.field == "reg0"]
            others = tuple(m for m in rule.match if m.field != "reg0")
            for slot in slots:
                kind = (rule.table, rule.priority, others, rule.actions, rule.goto)
                of_slot.setdefault(slot, set()).add(kind)
        kinds = {frozenset(kind): slot for slot, kind in sorted(of_slot.items(), reverse=True)}
        return tuple(sorted(kinds.values()))

    def _actions(self, outcome: Outcome, actions: tuple[Action, ...]) -> Iterator[Outcome]:
        if not actions or outcome.exceeded:
            yield outcome
            return
        action, rest = actions[0], actions[1:]
        if isinstance(action, Hash):
            slots = [outcome.packet["slot"] % action.slots] if "slot" in outcome.packet else None
            for slot in slots or self._slots:
                hashed = replace(outcome, packet={**outcome.packet, "reg0": slot})
                yield from self._actions(hashed, rest)
        elif isinstance(action, ToGroup):
            for bucket in self._buckets(self.groups[action.group_id]):
                for inside in self._actions(outcome, bucket):
                    # A group works on a copy of the packet.
                    after = replace(inside, packet=outcome.packet, in_port=outcome.in_port)
                    yield from self._actions(after, rest)
        else:
            yield from self._actions(_act(outcome, action), rest)

    def _buckets(self, group: Group) -> list[tuple[Action, ...]]:
        """The choices of a group: of fast failover the first bucket that is live, or to drop."""
        if group.kind is GroupKind.SELECT:
            return [bucket.actions for bucket in group.buckets]
        live = (b.actions for b in group.buckets if b.watch_port not in self.dead)
        return [next(live, ())]


def _sent(packet: Packet) -> Packet:
    """A packet without what only the switch knew of it."""
    return {name: value for name, value in packet.items() if name != "reg0"}


def _act(outcome: Outcome, action: Action) -> Outcome:
    match action:
        case SetField(name, value):
            return replace(outcome, packet={**outcome.packet, name: value})
        case SetBits("in_port", value):
            return replace(outcome, in_port=value)
        case SetBits(name, value, mask):
            whole = outcome.packet[name] & ~mask | value
            return replace(outcome, packet={**outcome.packet, name: whole})
        case Copy(source, target):
            return replace(outcome, packet={**outcome.packet, target: outcome.packet[source]})
        case CountHop() if outcome.packet.get("ip_ttl", HOPS) <= 1:
            return replace(outcome, punted=(*outcome.punted, outcome.packet), exceeded=True)
        case CountHop() if "ip_ttl" in outcome.packet:
            left = outcome.packet["ip_ttl"] - 1
            return replace(outcome, packet={**outcome.packet, "ip_ttl": left})
        case CountHop():
            return outcome
        case ToController():
            return replace(outcome, punted=(*outcome.punted, outcome.packet))
        case OutputInPort():
            sent = _sent(outcome.packet)
            return replace(outcome, outputs=(*outcome.outputs, (outcome.in_port, sent)))
        case Output(port) if port == outcome.in_port:
            return replace(outcome, swallowed=outcome.swallowed + 1)
        case Output(port):
            return replace(outcome, outputs=(*outcome.outputs, (port, _sent(outcome.packet))))
    raise AssertionError(action)
