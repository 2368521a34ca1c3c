"""The fake refuses what a switch refuses; tests that trust it stand on this."""

import pytest

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
    Bucket,
    Group,
    GroupKind,
    Match,
    Output,
    OutputInPort,
    Rule,
    SetField,
    Table,
    ToGroup,
    match,
)
from tests.fakes.switch import AmbiguousError, FakeSwitch, RefusedError

GROUP = Group(
    1, GroupKind.SELECT, (Bucket((Output(1),)), Bucket((SetField("eth_dst", 9), Output(2))))
)
RULE = Rule(Table.ADMISSION, 5, match(in_port=1), (Output(2),))


def _switch(*changes: Change) -> FakeSwitch:
    switch = FakeSwitch("s", frozenset({1, 2}))
    switch.apply(changes)
    return switch


@pytest.mark.parametrize(
    "illegal",
    [
        ModifyRule(RULE),
        DeleteRule(RULE),
        ModifyGroup(GROUP),
        DeleteGroup(GROUP),
        AddRule(Rule(Table.ROUTE, 1, match(), (Output(3),))),
        AddRule(Rule(Table.ROUTE, 1, match(), (ToGroup(1),))),
        AddRule(Rule(Table.ROUTE, 1, match(), goto=Table.SERVICE)),
        AddRule(Rule(Table.ROUTE, 1 << 16, match())),
        AddRule(Rule(Table.ROUTE, 1, match(ipv4_dst=1))),
        AddRule(Rule(Table.ROUTE, 1, match(eth_type=0x800, tcp_dst=1))),
        AddRule(Rule(Table.ROUTE, 1, match(eth_type=0x800, ip_proto=17, tcp_dst=1))),
        AddRule(Rule(Table.ROUTE, 1, match(ip_proto=6))),
        AddRule(Rule(Table.ROUTE, 1, match(eth_type=0x800, arp_op=1))),
        AddGroup(Group(2, GroupKind.SELECT, ())),
        AddGroup(Group(2, GroupKind.SELECT, (Bucket((Output(3),)),))),
        AddGroup(Group(2, GroupKind.SELECT, (Bucket((Output(1),), weight=0),))),
    ],
    ids=str,
)
def test_illegal_changes_are_refused(illegal: Change) -> None:
    with pytest.raises(RefusedError):
        _switch(illegal)


@pytest.mark.parametrize("twice", [AddRule(RULE), AddGroup(GROUP)], ids=str)
def test_what_is_there_cannot_be_added(twice: Change) -> None:
    with pytest.raises(RefusedError):
        _switch(twice, twice)


def test_a_group_in_use_cannot_go() -> None:
    user = Rule(Table.ROUTE, 1, match(), (ToGroup(1),))
    switch = _switch(AddGroup(GROUP), AddRule(user))
    with pytest.raises(RefusedError):
        switch.apply([DeleteGroup(GROUP)])
    switch.apply([DeleteRule(user), DeleteGroup(GROUP)])
    assert not switch.rules
    assert not switch.groups


def _rule(priority: int, what: Match, *actions: object, goto: Table | None = None) -> AddRule:
    return AddRule(Rule(Table.ADMISSION, priority, what, actions, goto))


def test_the_highest_priority_wins_and_masks_count() -> None:
    switch = _switch(
        _rule(1, match(), Output(1)),
        _rule(2, match(eth_dst=(0x10, 0xF0)), Output(2)),
    )
    (hit,) = switch.receive({"eth_dst": 0x1F}, 9)
    (miss,) = switch.receive({"eth_dst": 0x2F}, 9)
    assert hit.outputs == ((2, {"eth_dst": 0x1F}),)
    assert miss.outputs == ((1, {"eth_dst": 0x2F}),)


def test_a_field_that_the_packet_lacks_is_not_matched() -> None:
    switch = _switch(_rule(1, match(eth_type=0x800, ip_proto=6, tcp_dst=0), Output(1)))
    (outcome,) = switch.receive({"eth_type": 0x800, "ip_proto": 6}, 2)
    assert not outcome.trail


def test_two_equal_rules_that_differ_are_a_mistake() -> None:
    switch = _switch(_rule(1, match(in_port=1), Output(2)), _rule(1, match(eth_dst=5), Output(1)))
    with pytest.raises(AmbiguousError):
        switch.receive({"eth_dst": 5}, 1)


def test_nothing_goes_back_out_of_its_port_unless_told_so() -> None:
    (plain,) = _switch(_rule(1, match(), Output(1))).receive({}, 1)
    (told,) = _switch(_rule(1, match(), OutputInPort())).receive({}, 1)
    assert (plain.outputs, plain.swallowed) == ((), 1)
    assert told.outputs == ((1, {}),)


def test_a_select_group_is_one_outcome_per_bucket_on_a_copy() -> None:
    switch = _switch(AddGroup(GROUP), _rule(1, match(), ToGroup(1), Output(2)))
    one, two = switch.receive({"eth_dst": 1}, 7)
    assert one.outputs == ((1, {"eth_dst": 1}), (2, {"eth_dst": 1}))
    assert two.outputs == ((2, {"eth_dst": 9}), (2, {"eth_dst": 1}))
