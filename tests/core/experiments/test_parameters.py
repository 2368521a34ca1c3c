"""Parameters of studies: numbers, words, lists; read from text, refused in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from experiments.errors import UsageError
from experiments.parameters import Parameter, Value
from experiments.runs import runner
from experiments.runs.spec import Spec
from experiments.study import STUDIES, study
from topologies.sources import load

NUMBER = Parameter(5, 2, "tries")
WORD = Parameter("maglev", "maglev", "how", choices=("maglev", "modulo"))
NUMBERS = Parameter((1.0, 5.0), (1.0,), "sites")
WORDS = Parameter(("a",), ("a",), "names")


@pytest.mark.parametrize(
    ("parameter", "text", "value"),
    [
        (NUMBER, "7", 7.0),
        (NUMBER, "0.5", 0.5),
        (WORD, "modulo", "modulo"),
        (NUMBERS, "1, 2,3", (1.0, 2.0, 3.0)),
        (WORDS, "x,y", ("x", "y")),
    ],
)
def test_a_text_is_the_value_that_it_means(parameter: Parameter, text: str, value: Value) -> None:
    assert parameter.read("p", text) == value
    assert parameter.check("p", value) == value


@pytest.mark.parametrize(
    ("parameter", "text", "cause"),
    [
        (NUMBER, "many", "p is a number from 0 up, not 'many'"),
        (NUMBER, "-1", "p is a number from 0 up, not -1.0"),
        (NUMBER, "nan", "p is a number from 0 up, not nan"),
        (WORD, "random", "p is one of maglev, modulo, not 'random'"),
        (NUMBERS, "1,x", "p is a number from 0 up, not 'x'"),
        (NUMBERS, "", "p is a number from 0 up, not ''"),
    ],
)
def test_another_kind_of_value_is_refused(parameter: Parameter, text: str, cause: str) -> None:
    with pytest.raises(UsageError, match=cause):
        parameter.read("p", text)


def test_values_from_python_are_checked_too() -> None:
    for parameter, value in ((NUMBER, True), (WORD, 7), (NUMBERS, 3), (NUMBERS, []), (WORDS, [1])):
        with pytest.raises(UsageError):
            parameter.check("p", value)
    assert NUMBERS.check("p", [1, 2]) == (1, 2)


def test_what_is_asked_for_twice_would_be_mixed_up_unless_it_is_a_series() -> None:
    for twice in ([0, 1, 0], [2, 2.0]):
        with pytest.raises(UsageError, match="p has a value twice"):
            NUMBERS.check("p", twice)
    assert replace(NUMBERS, series=True).check("p", [2, 2]) == (2, 2)


def test_lists_and_words_survive_a_spec() -> None:
    params = {"a": 1.5, "b": "word", "c": (1.0, 2.0), "d": ("x",)}
    spec = Spec("latency", load("triangle"), params=params)
    assert Spec.parse(spec.dump()).params == params
    assert spec.number("a") == 1.5


def test_every_study_is_found_with_parameters_of_its_kinds() -> None:
    assert {"borrowing", "latency", "reachability"} <= set(STUDIES)
    for name in STUDIES:
        for parameter in study(name).parameters.values():
            for value in (parameter.usual, parameter.quick):
                assert parameter.check("p", value) == value
                assert parameter.meaning


def test_a_spec_takes_what_was_set() -> None:
    assert runner.make_spec("latency", params={"pings": 7}, clock="real").params["pings"] == 7
    with pytest.raises(UsageError, match="pings is a whole number from 2 up"):
        runner.make_spec("latency", params={"pings": "7"}, clock="real")
