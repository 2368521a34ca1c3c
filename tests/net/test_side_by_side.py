"""Two labs of the same network at once: same names, same addresses, nothing shared."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.net

POPLAB = Path(sys.executable).parent / "poplab"


def test_two_labs_of_one_name_do_not_meet(tmp_path: Path) -> None:
    # Each client fetches until the other lab has fetched too, so that both are up together.
    script = tmp_path / "meet.sh"
    script.write_text(
        """#!/bin/sh
        curl -s --max-time 5 http://198.51.100.1/trace | grep pop= || exit 3
        readlink /proc/self/ns/net
        touch "$1"
        for try in $(seq 300); do
            [ -e "$2" ] && curl -s --max-time 5 http://198.51.100.1/trace | grep server= && exit 0
            sleep 0.1
        done
        exit 4
        """
    )
    flags = [str(tmp_path / "one"), str(tmp_path / "two")]
    labs = [
        subprocess.Popen(
            [POPLAB, "up", "triangle", "--", "LHR-c1", "sh", str(script), *order],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for order in (flags, flags[::-1])
    ]
    outputs = [lab.communicate(timeout=90) for lab in labs]
    for lab, (out, err) in zip(labs, outputs, strict=True):
        assert lab.returncode == 0, (lab.returncode, out, err)
        assert "pop=LHR" in out
        assert "server=LHR-s" in out
    namespaces = [[word for word in out.split() if word.startswith("net:")] for out, _ in outputs]
    assert namespaces[0] != namespaces[1]
