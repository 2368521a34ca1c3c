import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core import labels
from controller.core.rules import mac
from topologies.plan import GATEWAY_MAC, plan
from topologies.sources import load

NUMBERS = st.integers(1, 0xFFF)
TARGETS = NUMBERS | NUMBERS.map(lambda number: labels.CITY | number)
OR_NONE = st.integers(0, 0xFFF)


def test_layout() -> None:
    assert labels.encode(0x123, 0x456, 0x789) == mac("02:61:23:45:67:89")
    assert labels.encode(labels.CITY | 0x123, 0, 0x789) == mac("02:71:23:00:07:89")


@settings(max_examples=30)
@given(TARGETS, OR_NONE, OR_NONE)
def test_a_label_says_what_was_put_in(target: int, landing: int, dead: int) -> None:
    address = labels.encode(target, landing, dead)
    assert labels.decode(address) == (target, landing, dead)
    assert address & labels.ANY[1] == labels.ANY[0]


@settings(max_examples=30)
@given(TARGETS, OR_NONE, OR_NONE, TARGETS, OR_NONE)
def test_masks_match_their_target_and_no_other(
    target: int, landing: int, dead: int, other: int, link: int
) -> None:
    address = labels.encode(target, landing, dead)
    value, mask = labels.towards(other)
    assert (address & mask == value) == (target == other)
    value, mask = labels.around(other, link)
    assert (address & mask == value) == ((target, dead) == (other, link))


@given(NUMBERS, NUMBERS, OR_NONE, st.data())
def test_landed_matches_every_landing_but_none(
    target: int, pops: int, dead: int, data: st.DataObject
) -> None:
    landing = data.draw(st.integers(0, pops))
    address = labels.encode(target, landing, dead)
    hits = [value for value, mask in labels.landed(target, pops) if address & mask == value]
    assert bool(hits) == (landing != 0)


@pytest.mark.parametrize(
    "numbers", [(0,), (labels.CITY,), (0x2000,), (1, -1), (1, 0x1000), (1, 0, 0x1000)], ids=str
)
def test_numbers_that_do_not_fit_are_refused(numbers: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="1 to 4095"):
        labels.encode(*numbers)


def test_no_host_has_a_label_for_an_address() -> None:
    addresses = [host.mac for host in plan(load("world")).hosts] + [GATEWAY_MAC]
    assert not [a for a in addresses if labels.decode(mac(a))]
