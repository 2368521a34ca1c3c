"""The buddy allocator of one address, against blocks counted the slow way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.core import ports
from controller.core.ports import UNIT, UNTOUCHED, WHOLE, WHOLE_ORDER

TAKEN = st.lists(
    st.integers(0, WHOLE_ORDER - 1).flatmap(
        lambda order: st.tuples(st.just(order), st.integers(0, (4096 >> order) - 1))
    ),
    max_size=12,
)


def free_without(taken: list[tuple[int, int]]) -> int:
    free = UNTOUCHED
    for order, number in taken:
        free &= ~ports.block((number << order) * UNIT, order)
    return free


def is_free(free: int, start: int, order: int) -> bool:
    return all(free >> n & 1 for n in range(start, start + (1 << order)))


@given(TAKEN)
def test_blocks_are_the_largest_aligned_ones_and_cover_what_is_free(
    taken: list[tuple[int, int]],
) -> None:
    free = free_without(taken)
    covered = 0
    for order, starts in enumerate(ports.blocks(free)):
        for start in range(0, 4096, 1 << order):
            larger = start & ~(1 << order)
            expected = is_free(free, start, order) and not (
                order < WHOLE_ORDER and is_free(free, larger, order + 1)
            )
            assert bool(starts >> start & 1) == expected
            if expected:
                assert not covered & ports.block(start * UNIT, order)
                covered |= ports.block(start * UNIT, order)
    assert covered == free


@given(TAKEN, st.integers(0, WHOLE_ORDER - 1))
def test_the_best_fit_is_free_aligned_and_in_the_smallest_block(
    taken: list[tuple[int, int]], order: int
) -> None:
    free = free_without(taken)
    found = ports.best_fit(free, order)
    fitting = [n for n, starts in enumerate(ports.blocks(free)) if starts and n >= order]
    assert (found is None) == (not fitting)
    if found is not None:
        assert found % (UNIT << order) == 0
        assert is_free(free, found // UNIT, order)
        assert ports.blocks(free)[min(fitting)] >> found // UNIT & 1
    assert ports.profile(free) == sum(
        1 << n for n, starts in enumerate(ports.blocks(free)) if starts
    )


@pytest.mark.parametrize("order", range(WHOLE_ORDER))
def test_an_address_is_lent_down_to_the_last_port_that_is_no_system_port(order: int) -> None:
    free, found = UNTOUCHED, []
    while (first := ports.best_fit(free, order)) is not None:
        found.append(first)
        free &= ~ports.block(first, order)
    size = UNIT << order
    assert found == list(range(max(1024, size), 65536, size))


def test_a_whole_address_is_lent_only_untouched() -> None:
    assert ports.best_fit(UNTOUCHED, WHOLE_ORDER) == 0
    assert ports.best_fit(UNTOUCHED & ~ports.block(2048, 0), WHOLE_ORDER) is None
    assert ports.block(0, WHOLE_ORDER) == WHOLE
