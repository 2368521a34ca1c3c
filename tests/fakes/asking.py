"""A real lab from outside, in which a client asks for the service all the time."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

POPLAB = str(Path(sys.executable).with_name("poplab"))


def until(holds: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def served(folder: Path) -> list[str]:
    """Which PoP answered, time after time."""
    lines = (folder / "said").read_text().splitlines()
    return [line for line in lines if line.startswith("pop=")]
