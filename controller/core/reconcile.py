"""From what a switch holds to what it should hold, by the smallest set of changes.

The order is safe even where the changes are not applied as one atomic bundle: a group is there
before a rule uses it, and is gone only after the last rule that did.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from controller.core.rules import COOKIE_OWNER, COOKIE_OWNER_MASK, Group, Program, Rule


@dataclass(frozen=True, slots=True)
class AddGroup:
    """Make a group that is not there."""

    group: Group


@dataclass(frozen=True, slots=True)
class ModifyGroup:
    """Give a group other buckets."""

    group: Group


@dataclass(frozen=True, slots=True)
class DeleteGroup:
    """Remove a group; the rule set must not refer to it any more."""

    group: Group


@dataclass(frozen=True, slots=True)
class AddRule:
    """Add a rule whose key is not there."""

    rule: Rule


@dataclass(frozen=True, slots=True)
class ModifyRule:
    """Give the rule with this key other actions, goto or cookie (by an overwriting add)."""

    rule: Rule


@dataclass(frozen=True, slots=True)
class DeleteRule:
    """Remove the rule with this key (strict)."""

    rule: Rule


Change = AddGroup | ModifyGroup | AddRule | ModifyRule | DeleteRule | DeleteGroup


def changes(desired: Program, installed: Program) -> tuple[Change, ...]:
    """What turns ``installed`` into ``desired``, in a safe and deterministic order.

    Rules with a foreign cookie are left alone, unless one sits on a key that we need: then it
    is overwritten, because a switch has one rule per key. Groups carry no cookie: all of a
    switch's groups are taken for ours.
    """
    rules = {rule.key: rule for rule in installed.rules}
    groups = {group.group_id: group for group in installed.groups}
    wanted_keys = {rule.key for rule in desired.rules}
    wanted_ids = {group.group_id for group in desired.groups}
    result: list[Change] = []
    for group in sorted(desired.groups, key=_by_id):
        if group.group_id not in groups:
            result.append(AddGroup(group))
        elif groups[group.group_id] != group:
            result.append(ModifyGroup(group))
    for rule in _in_order(desired.rules):
        if rule.key not in rules:
            result.append(AddRule(rule))
        elif rules[rule.key] != rule:
            result.append(ModifyRule(rule))
    for rule in _in_order(installed.rules):
        if rule.key not in wanted_keys and _is_ours(rule):
            result.append(DeleteRule(rule))
    for group in sorted(installed.groups, key=_by_id):
        if group.group_id not in wanted_ids:
            result.append(DeleteGroup(group))
    return tuple(result)


def _is_ours(rule: Rule) -> bool:
    return rule.cookie & COOKIE_OWNER_MASK == COOKIE_OWNER


def _by_id(group: Group) -> int:
    return group.group_id


def _in_order(rules: Iterable[Rule]) -> list[Rule]:
    return sorted(rules, key=lambda rule: rule.key)
