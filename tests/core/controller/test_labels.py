import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core import labels
from controller.core.rules import mac
from topologies.plan import GATEWAY_MAC, plan
from topologies.sources import load

NUMBERS = st.integers(1, 0xFFFF)
LANDINGS = st.integers(0, 0xFFFF)


def test_layout() -> None:
    assert labels.encode(0x0102, 0x0304) == mac("02:70:01:02:03:04")


@settings(max_examples=30)
@given(NUMBERS, LANDINGS)
def test_a_label_says_what_was_put_in(target: int, landing: int) -> None:
    address = labels.encode(target, landing)
    assert labels.decode(address) == (target, landing)
    assert address & labels.ANY[1] == labels.ANY[0]


@settings(max_examples=30)
@given(NUMBERS, LANDINGS, NUMBERS)
def test_towards_matches_its_target_and_no_other(target: int, landing: int, other: int) -> None:
    value, mask = labels.towards(other)
    assert (labels.encode(target, landing) & mask == value) == (target == other)


@given(NUMBERS, st.integers(1, 0xFFFF), st.data())
def test_landed_matches_every_landing_but_none(target: int, pops: int, data: st.DataObject) -> None:
    landing = data.draw(st.integers(0, pops))
    address = labels.encode(target, landing)
    hits = [value for value, mask in labels.landed(target, pops) if address & mask == value]
    assert bool(hits) == (landing != 0)


@pytest.mark.parametrize(("target", "landing"), [(0, 0), (0x10000, 0), (1, -1), (1, 0x10000)])
def test_numbers_that_do_not_fit_are_refused(target: int, landing: int) -> None:
    with pytest.raises(ValueError, match="1 to 65535"):
        labels.encode(target, landing)


def test_no_host_has_a_label_for_an_address() -> None:
    addresses = [host.mac for host in plan(load("world")).hosts] + [GATEWAY_MAC]
    assert not [a for a in addresses if labels.decode(mac(a))]
