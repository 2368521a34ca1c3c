"""A leader's term and its death are known in virtual time as in real."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchmarks import takeover_inside
from controller.store.sqlite_leader import TERM_S
from topologies.emulation.sandbox.guest import Guest

pytestmark = pytest.mark.virtual


@pytest.mark.slow
def test_another_controller_takes_over_and_no_packet_is_lost(tmp_path: Path) -> None:
    program = Path(takeover_inside.__file__)
    shutil.copy(program, tmp_path)
    box, said = Guest(), list[str]()
    code = box.run(
        [box.python, program.name, "triangle", "1"], tmp_path, told=said.append, log="log"
    )
    assert code == 0, (tmp_path / "log").read_text()
    found = json.loads(said[-1])
    assert found["killed_s"] < 0.1
    assert found["ended_s"] < 0.1
    assert TERM_S / 2 < found["stopped_s"] < TERM_S + 0.1
    assert found["echoes"] > 1000
    assert found["lost"] == 0
