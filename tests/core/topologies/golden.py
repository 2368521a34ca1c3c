"""Compares text with a file under tests/golden; UPDATE_GOLDEN=1 writes the file instead."""

import os
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "golden"


def check(name: str, text: str) -> None:
    path = FOLDER / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), f"{name}: renew it with UPDATE_GOLDEN=1"
