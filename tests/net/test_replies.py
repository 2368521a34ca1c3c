"""Replies pour in while port sets change hands on real switches: nobody gets another's."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import inside

pytestmark = pytest.mark.net

PACKETS, PER_S = 45_000, 9_000


def test_no_reply_reaches_anybody_but_its_holder(tmp_path: Path) -> None:
    given = str(PACKETS), str(PER_S)
    found = inside.run(tmp_path, "replies.log", "benchmarks.replies_inside", *given)
    assert found["sent"] >= PACKETS
    assert found["misdelivered"] == 0
    assert found["late"] < found["delivered"] / 100
    assert found["delivered"] > 0.8 * found["owed"] > 5_000
    assert found["acts"] > 50
    assert found["convicted"] == 1  # where a rule is forged, the judge finds every packet
