import pytest
from hypothesis import given
from hypothesis import strategies as st

from topologies.units import (
    UnitError,
    format_rate,
    format_time,
    parse_rate,
    parse_share,
    parse_time,
)


@pytest.mark.parametrize(
    ("text", "ns"),
    [("10 ms", 10**7), ("1.5us", 1500), ("2 s", 2 * 10**9), ("7 ns", 7), (0, 0), ("0", 0),
     ("-1 ms", -(10**6)), ("3 µs", 3000)],
)  # fmt: skip
def test_times(text: str | int, ns: int) -> None:
    assert parse_time(text) == ns


@pytest.mark.parametrize(
    ("text", "bit_s"),
    [("1 Gbit", 10**9), ("100 Mbit/s", 10**8), ("9.6 kbit", 9600), ("1 gbit", 10**9),
     ("10 Mbps", None), ("8 bit", 8)],
)  # fmt: skip
def test_rates(text: str, bit_s: int | None) -> None:
    if bit_s is None:
        with pytest.raises(UnitError):
            parse_rate(text)
    else:
        assert parse_rate(text) == bit_s


@pytest.mark.parametrize(
    ("text", "share"), [("0.1 %", 0.001), ("50%", 0.5), ("0.25", 0.25), (0.001, 0.001), (1, 1.0)]
)
def test_shares(text: str | float, share: float) -> None:
    assert parse_share(text) == share


@pytest.mark.parametrize(
    "text", ["10", 10, "ms", "", "10 parsec", "ten ms", True, None, [], "1e9 ms"]
)
def test_what_is_no_time_is_refused_with_a_mend(text: object) -> None:
    with pytest.raises(UnitError) as caught:
        parse_time(text)  # type: ignore[arg-type]
    assert "10 ms" in caught.value.mend


@pytest.mark.parametrize("text", ["10 ms", True, None, "%", "half"])
def test_what_is_no_share_is_refused(text: object) -> None:
    with pytest.raises(UnitError):
        parse_share(text)  # type: ignore[arg-type]


@given(st.integers(0, 10**14))
def test_what_is_written_is_read_back(value: int) -> None:
    assert parse_time(format_time(value)) == value
    assert parse_rate(format_rate(value)) == value
