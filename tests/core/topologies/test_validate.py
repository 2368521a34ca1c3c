"""What is said of a word that nobody knows."""

from __future__ import annotations

from topologies.model import Policy
from topologies.validate import suggest


def test_a_word_near_a_known_one_is_told_as_people_write_it() -> None:
    assert suggest("NEAREST", Policy) == "did you mean 'nearest'?"
