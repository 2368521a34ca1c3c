"""The doctor on this very host."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.host.doctor import diagnose, exit_code

pytestmark = pytest.mark.net


def interfaces() -> list[Path]:
    return sorted(Path("/sys/class/net").iterdir())


def test_this_host_runs_labs_and_nothing_is_left() -> None:
    before = interfaces()
    checks = diagnose()
    missing = [check for check in checks if check.required and not check.ok]
    assert exit_code(checks) == 0, missing
    assert interfaces() == before
