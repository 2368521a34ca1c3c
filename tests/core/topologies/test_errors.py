"""The exact words in which bad networks are refused."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.topologies import golden
from topologies.files import read
from topologies.model import City, Line, Link, Network, Pop
from topologies.schema import NetworkFile
from topologies.sources import NetworkError, Problem
from topologies.validate import problems

BAD = sorted(path.stem for path in (golden.FOLDER / "errors").glob("*.yaml"))


def _refusal(text: str, file: str) -> NetworkError:
    with pytest.raises(NetworkError) as caught:
        read(text, file)
    return caught.value


@pytest.mark.parametrize("name", BAD)
def test_every_problem_is_named_at_once(name: str) -> None:
    text = (golden.FOLDER / "errors" / f"{name}.yaml").read_text(encoding="utf-8")
    golden.check(f"errors/{name}.txt", f"{_refusal(text, f'{name}.yaml')}\n")


def test_problems_carry_their_parts() -> None:
    text = "name: x\ncities: [LHR]\npops:\n  - {city: LHR, servrs: 2}\n"
    (problem,) = _refusal(text, "x.yaml").problems
    assert (problem.file, problem.line, problem.field) == ("x.yaml", 4, "pops[0].servrs")
    assert problem.cause == "nobody knows this key"
    assert problem.mend == "did you mean 'servers'?"


def test_a_problem_of_every_city_points_at_its_entry() -> None:
    text = "name: x\ncities: [LHR, CDG]\nlinks: [[LHR, CDG]]\npops: [LHR]\nclients:\n" + (
        "  - LHR\n  - {city: every city, count: -1}\n"
    )
    found = _refusal(text, "x.yaml").problems
    assert {(problem.field, problem.line) for problem in found} == {("clients[1].count", 7)}


def test_more_links_than_a_label_can_name_are_refused() -> None:
    """91 cities, each linked to each, and a PoP: 4,095 + 1."""
    cities = tuple(City(f"c{n}", "", 0.0, 0.0) for n in range(91))
    pairs = itertools.combinations([city.code for city in cities], 2)
    links = tuple(Link(a, b, Line()) for a, b in pairs)
    network = Network("x", cities, links, (Pop("c0", 1),), (), ())
    (problem,) = problems(network)
    assert str(problem) == (
        "links: 4096 links, uplinks and backbone links do not fit the numbers in a label; "
        "use 4095 or fewer in all"
    )
    assert not problems(replace(network, links=links[1:]))


def test_service_prefixes_are_whole_and_not_too_many() -> None:
    text = "name: x\ncities: [LHR]\npops: [LHR]\nservices: [{}]\n"
    (problem,) = _refusal(text.format("198.51.100.7/24"), "x.yaml").problems
    assert (problem.field, problem.mend) == ("services[0]", "write 198.51.100.0/24")
    (problem,) = _refusal(text.format("192.88.0.0/20, 198.51.100.1"), "x.yaml").problems
    assert (problem.field, problem.cause) == ("services", "there are 4097 service addresses")
    assert len(read(text.format("192.88.0.0/20"), "x.yaml").services) == 4096
    many = ", ".join(f"192.88.{n >> 8}.{n & 255}" for n in range(257))
    (problem,) = _refusal(text.format(many), "x.yaml").problems
    assert (problem.field, problem.mend) == ("services", "use 256 prefixes or fewer")


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def _problems(text: str) -> Sequence[Problem]:
    try:
        return problems(read(text, "any.yaml"))
    except NetworkError as error:
        return error.problems


@given(st.dictionaries(st.sampled_from(sorted(NetworkFile.model_fields)), ANYTHING))
def test_nothing_but_a_network_error_whatever_the_file_says(data: dict[str, object]) -> None:
    import yaml

    text = yaml.safe_dump({"name": "x", "cities": ["LHR"], "pops": ["LHR"]} | data)
    for problem in _problems(text):
        assert re.match(r"any\.yaml(:\d+)?: ", str(problem))
        assert problem.cause
        assert problem.mend
