from collections import Counter
from ipaddress import IPv4Network

import pytest

from benchmarks.names import asked, skew
from topologies.binding import Binding, binding
from topologies.model import Names

PREFIX = IPv4Network("198.51.100.0/24")
ADDRESSES = tuple(PREFIX)
NAMES = [f"www{n}.poplab.test" for n in range(4096)]


def _bound(how: Names, seed: str = "0 LHR-s1") -> Binding:
    return binding(how, ADDRESSES, seed)


@pytest.mark.parametrize("how", Names)
def test_equal_seeds_bind_equally(how: Names) -> None:
    assert list(map(_bound(how), NAMES)) == list(map(_bound(how), NAMES))
    assert set(map(_bound(how), NAMES)) <= set(ADDRESSES)


def test_random_takes_another_for_each_query_and_all_alike() -> None:
    bind = _bound(Names.RANDOM)
    found = Counter(bind("www.poplab.test") for _ in range(256 * 100))
    assert len(found) == 256
    assert max(found.values()) < 150  # 100 expected, five standard deviations
    assert list(map(bind, NAMES)) != list(map(_bound(Names.RANDOM, "0 LHR-s2"), NAMES))


def test_static_is_the_same_everywhere_and_spreads_names() -> None:
    bind = _bound(Names.STATIC)
    assert str(bind("www.poplab.test")) == "198.51.100.220"
    assert list(map(bind, NAMES)) == list(map(_bound(Names.STATIC, "another"), NAMES))
    assert len(set(map(bind, NAMES))) > 250


def test_one_is_the_first() -> None:
    assert set(map(_bound(Names.ONE), NAMES)) == {ADDRESSES[0]}


def test_random_binding_evens_out_what_a_few_names_draw() -> None:
    queries = asked(names=1000, queries=20_000)
    random, static, one = (skew(how, PREFIX, queries) for how in Names)
    assert random < 1.5 < 20 < static < one == 256
