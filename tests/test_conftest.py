"""The session fails when no test of a real lab ran: a green run of nothing is the worst result."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SUITE = """
import pytest

def test_core(): pass

@pytest.mark.net
{skip}
def test_lab(): assert {outcome}
"""


@pytest.fixture
def code(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    """Run a suite of one core test and one lab test as root; return pytest's exit code."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    pytester.makeini("[pytest]\nmarkers = net: a real lab")
    pytester.makeconftest(Path(__file__).with_name("conftest.py").read_text())

    def run(*arguments: str, skip: str = "", outcome: bool = True) -> int:
        pytester.makepyfile(SUITE.format(skip=skip, outcome=outcome))
        return pytester.runpytest_inprocess("-p", "no:cacheprovider", *arguments).ret

    return run


def test_a_lab_test_that_ran_decides(code):
    assert code("--require-net") == 0
    assert code("--require-net", outcome=False) == 1


def test_skipped_lab_tests_fail_the_session(code):
    assert code("--require-net", skip="@pytest.mark.skip") == 1
    assert code(skip="@pytest.mark.skip") == 0


def test_no_lab_tests_fail_the_session(code):
    assert code("--require-net", "-m", "not net") == 1


def test_without_root_a_lab_test_is_skipped(code, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert code(outcome=False) == 0
