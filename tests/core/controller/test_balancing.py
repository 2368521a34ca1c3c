"""Spreads: how even they are, and how many slots move, against the published figures."""

from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.balancing import SCHEMES, SIZES, Slots, maglev, modulo, rendezvous, size

WEIGHTS = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=3), st.integers(1, 9), min_size=1
)


def _servers(count: int) -> dict[str, int]:
    return {f"LHR-s{n}": 1 for n in range(1, count + 1)}


def _moved(before: Slots, after: Slots, gone: str) -> float:
    """The share of the other servers' slots that have another server afterwards."""
    kept = [(old, new) for old, new in zip(before, after, strict=True) if old != gone]
    return sum(old != new for old, new in kept) / len(kept)


def _without(weights: Mapping[str, int], gone: str) -> dict[str, int]:
    return {name: weight for name, weight in weights.items() if name != gone}


@given(WEIGHTS, st.sampled_from(sorted(SCHEMES)), st.sampled_from(SIZES[:3]))
def test_every_slot_has_a_server_that_serves(
    weights: dict[str, int], scheme: str, slots: int
) -> None:
    spread = SCHEMES[next(key for key in SCHEMES if key == scheme)](weights, slots)
    assert len(spread) == slots
    assert set(spread) <= set(weights)


@given(st.dictionaries(st.text("abcd", min_size=1), st.integers(1, 5), min_size=1, max_size=8))
@settings(max_examples=40)
def test_maglev_gives_each_its_share(weights: dict[str, int]) -> None:
    """Within one turn of every server: as long as its weight, as the heaviest counts."""
    slots, total = 1021, sum(weights.values())
    for name, count in Counter(maglev(weights, slots)).items():
        assert count == pytest.approx(slots * weights[name] / total, abs=len(weights) + 1)


# Figures: Eisenbud et al., NSDI 2016, and their method worked out for other sizes
@pytest.mark.parametrize(
    ("servers", "slots", "per_cent", "off"),
    [(8, 251, 4.7, 3), (8, 1021, 2.2, 1.5), (8, 65521, 0.18, 0.2), (31, 65521, 0.39, 0.2)],
)
def test_few_slots_move_by_maglev(servers: int, slots: int, per_cent: float, off: float) -> None:
    weights = _servers(servers)
    before = maglev(weights, slots)
    some = list(weights)[:: max(1, servers // 4)]
    shares = [_moved(before, maglev(_without(weights, gone), slots), gone) for gone in some]
    assert 100 * sum(shares) / len(shares) == pytest.approx(per_cent, abs=off)


@pytest.mark.parametrize("servers", [2, 8, 31])
def test_no_slot_of_others_moves_by_rendezvous(servers: int) -> None:
    weights = _servers(servers)
    before = rendezvous(weights, 1021)
    for gone in weights:
        assert _moved(before, rendezvous(_without(weights, gone), 1021), gone) == 0


@pytest.mark.parametrize(("servers", "per_cent"), [(4, 66.8), (8, 85.6), (31, 96.4)])
def test_nearly_every_slot_moves_by_modulo(servers: int, per_cent: float) -> None:
    """The limit is 1 - 1/(N-1), when the last of N servers goes."""
    weights = _servers(servers)
    gone = f"LHR-s{servers}"
    moved = _moved(modulo(weights, 65521), modulo(_without(weights, gone), 65521), gone)
    assert 100 * moved == pytest.approx(per_cent, abs=0.5)
    assert moved == pytest.approx(1 - 1 / (servers - 1), abs=0.005)


def test_a_pop_has_enough_slots_for_its_servers() -> None:
    assert [size(n) for n in (1, 3, 4, 60, 5000)] == [61, 61, 127, 1021, 65521]
