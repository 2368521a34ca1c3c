"""Mininet and Ryu are content with what stands in for distutils."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import pytest

from topologies import no_distutils


@pytest.fixture
def none_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "distutils"]:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.usefixtures("none_yet")
@pytest.mark.parametrize("kind", ["LooseVersion", "StrictVersion"])
def test_versions_are_ordered_by_their_numbers(kind: str) -> None:
    no_distutils.stand_in()
    version = getattr(sys.modules["distutils.version"], kind)
    for older, newer in pairwise(["1.9", "1.10", "2.17.1", "2.17.10", "3.1.0"]):
        assert version(older) < version(newer)
        assert version(newer) > version(older)
    assert version("3.1.0") == version("3.1.0")
    assert version("3.1.0") != version("3.1")
    assert len({version("3.1.0"), version("3.1.0")}) == 1


@pytest.mark.usefixtures("none_yet")
def test_what_is_there_already_stays() -> None:
    no_distutils.stand_in()
    there = sys.modules["distutils"]
    no_distutils.stand_in()
    assert sys.modules["distutils"] is there


def test_a_lab_does_without_setuptools() -> None:
    says = "import sys, topologies.emulation.lab; print('setuptools' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", says], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n", done.stderr
