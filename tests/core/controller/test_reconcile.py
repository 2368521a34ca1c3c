from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.reconcile import AddRule, DeleteRule, ModifyRule, changes
from controller.core.rules import (
    Bucket,
    Duty,
    Group,
    GroupKind,
    Output,
    Program,
    Rule,
    Table,
    ToGroup,
    cookie,
    match,
)
from tests.fakes.switch import FakeSwitch

PORTS = frozenset({1, 2, 3})
FOREIGN = 0x1234
OUTPUTS = st.sampled_from(sorted(PORTS)).map(Output)
GROUPS = st.dictionaries(
    st.integers(1, 3),
    st.lists(st.builds(Bucket, st.tuples(OUTPUTS), st.integers(1, 3)), min_size=1, max_size=2),
    max_size=3,
).map(lambda found: frozenset(Group(n, GroupKind.SELECT, tuple(b)) for n, b in found.items()))


@st.composite
def programs(draw: st.DrawFn, *, foreign: bool = False) -> Program:
    """Any program that a switch takes, with few keys so that two of them share some."""
    groups = draw(GROUPS)
    act = OUTPUTS | st.sampled_from([ToGroup(g.group_id) for g in groups]) if groups else OUTPUTS
    cookies = [cookie(Duty.ADMIT), cookie(Duty.ROUTE, 7), *([FOREIGN] if foreign else [])]
    rules = st.builds(
        Rule,
        table=st.sampled_from([Table.ADMISSION, Table.ROUTE]),
        priority=st.integers(1, 2),
        match=st.builds(match, in_port=st.integers(1, 3)),
        actions=st.lists(act, max_size=2).map(tuple),
        cookie=st.sampled_from(cookies),
        goto=st.none(),
    )
    found = draw(st.lists(rules, max_size=10, unique_by=lambda rule: rule.key))
    return Program(frozenset(found), groups)


def _ours(program: Program) -> set[Rule]:
    return {rule for rule in program.rules if rule.cookie != FOREIGN}


@given(programs(), programs(foreign=True))
@settings(max_examples=50)
def test_any_program_becomes_the_desired_one(desired: Program, installed: Program) -> None:
    used = {action for rule in installed.rules - _ours(installed) for action in rule.actions}
    gone = {g.group_id for g in installed.groups} - {g.group_id for g in desired.groups}
    if used & {ToGroup(n) for n in gone}:
        return  # a foreign rule uses a group of ours that goes: nobody can want that
    switch = FakeSwitch("s", PORTS)
    switch.load(installed)
    steps = changes(desired, installed)
    switch.apply(steps)
    assert _ours(switch.program) == desired.rules
    assert switch.program.groups == desired.groups
    wanted = {rule.key for rule in desired.rules}
    foreign = {r for r in installed.rules - _ours(installed) if r.key not in wanted}
    assert switch.program.rules - desired.rules == foreign
    assert changes(desired, switch.program) == ()


@given(programs(), programs())
@settings(max_examples=30)
def test_it_touches_nothing_that_is_right(desired: Program, installed: Program) -> None:
    right = desired.rules & installed.rules
    for step in changes(desired, installed):
        if isinstance(step, AddRule | ModifyRule | DeleteRule):
            assert step.rule not in right
        else:
            assert step.group not in desired.groups & installed.groups


@given(programs(), programs())
@settings(max_examples=20)
def test_the_order_is_the_same_every_time(desired: Program, installed: Program) -> None:
    again = [
        Program(frozenset(sorted(p.rules, key=repr)), frozenset(sorted(p.groups, key=repr)))
        for p in (desired, installed)
    ]
    assert changes(*again) == changes(desired, installed)


def test_another_cookie_alone_is_a_change() -> None:
    rule = Rule(Table.ROUTE, 1, match(), cookie=cookie(Duty.ROUTE, 1))
    other = Rule(Table.ROUTE, 1, match(), cookie=cookie(Duty.ROUTE, 2))
    assert changes(Program(frozenset({rule})), Program(frozenset({other}))) == (ModifyRule(rule),)
