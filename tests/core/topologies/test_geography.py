import airportsdata
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topologies.geography import airport, distance_km, fibre_delay_ns
from topologies.model import City

CITIES = st.builds(City, st.just("A"), st.just("A"), st.floats(-90, 90), st.floats(-180, 180))


def test_known_distances() -> None:
    # Great-circle distances as published for the airport pairs.
    assert distance_km(airport("LHR"), airport("JFK")) == pytest.approx(5540, rel=0.003)
    assert distance_km(airport("SIN"), airport("SYD")) == pytest.approx(6300, rel=0.003)


def test_a_thousand_kilometres_take_five_milliseconds() -> None:
    assert fibre_delay_ns(1000) == pytest.approx(5_000_000, rel=0.001)
    assert fibre_delay_ns(1000, 1.5) == pytest.approx(7_500_000, rel=0.001)


def test_airports_are_found_in_any_case() -> None:
    assert airport("lhr") == airport("LHR")
    assert (airport("LHR").name, airport("LHR").country) == ("London", "GB")
    with pytest.raises(KeyError):
        airport("XQQ")
    known = airportsdata.load("IATA")
    found = [airport(code) for code in known]
    assert [city.code for city in found] == list(known)
    assert [city.country for city in found] == [one["country"] for one in known.values()]


@given(CITIES, CITIES)
def test_distance_is_a_distance(a: City, b: City) -> None:
    there = distance_km(a, b)
    assert 0 <= there <= 20016
    assert there == pytest.approx(distance_km(b, a))
    assert distance_km(a, a) == 0
