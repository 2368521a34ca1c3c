from hypothesis import given
from hypothesis import strategies as st

from controller.core.events import HealthSeen
from controller.core.health import FALL, GRACE, RISE, Watch
from controller.core.world import World
from topologies.plan import HostRole, plan
from topologies.sources import load

WORLD = World(plan(load("triangle")))
ONE, OTHER, *_ = (server.name for server in WORLD.plan.hosts_of(HostRole.SERVER))


def _rounds(answers: list[bool], world: World = WORLD) -> list[tuple[HealthSeen, ...]]:
    """What is said after each round, of a server that answers so; another always does."""
    watch, found = Watch(), []
    for answered in answers:
        watch.answer(OTHER)
        if answered:
            watch.answer(ONE)
        said = watch.round(world, [ONE])
        world = world.after(*said)
        found.append(said)
    return found


def test_a_server_is_out_after_two_misses_and_back_after_two_answers() -> None:
    said = _rounds([True, False, True, False, False, False, True, False, True, True, True])
    out, back = (HealthSeen(ONE, answers=False),), (HealthSeen(ONE, answers=True),)
    assert said == [(), (), (), (), out, (), (), (), (), back, ()]


def test_one_that_has_never_answered_has_longer() -> None:
    said = _rounds([False] * (GRACE + 1))
    assert [bool(x) for x in said] == [False] * (GRACE - 1) + [True, False]


def test_one_that_was_silent_before_a_restart_comes_back() -> None:
    assert _rounds([True, True], WORLD.after(HealthSeen(ONE, False)))[1] == (HealthSeen(ONE, True),)


def test_where_nobody_has_ever_answered_nobody_is_judged() -> None:
    watch = Watch()
    assert [watch.round(WORLD, [ONE, OTHER]) for _ in range(GRACE * 2)] == [()] * (GRACE * 2)


def test_one_that_is_not_asked_is_not_judged() -> None:
    watch = Watch()
    watch.answer(ONE)
    assert watch.round(WORLD, [ONE, OTHER]) == ()
    for _ in range(FALL * 3):
        assert watch.round(WORLD, []) == ()
    assert watch.round(WORLD, [ONE]) == ()


@given(st.lists(st.booleans(), max_size=40))
def test_words_alternate_and_follow_the_last_answers(answers: list[bool]) -> None:
    said = [(n, event) for n, events in enumerate(_rounds(answers)) for event in events]
    states = [event.answers for _, event in said]
    assert states == [bool(n % 2) for n in range(len(states))]
    for n, event in said:
        need = RISE if event.answers else FALL
        assert answers[max(0, n + 1 - need) : n + 1] == [event.answers] * need


def test_a_silent_server_takes_no_new_flows_and_a_word_by_hand_is_another_matter() -> None:
    silent = WORLD.after(HealthSeen(ONE, answers=False))
    assert (silent.weight(ONE), silent.weight(OTHER)) == (0, 1)
    assert silent.after(HealthSeen(ONE, answers=True)).silent == frozenset()
