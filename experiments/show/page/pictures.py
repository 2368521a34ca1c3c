"""The study's figures, as pictures that stand in the page itself."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

DESCRIPTION = "{http://purl.org/dc/elements/1.1/}description"
"""Where an SVG says in words what it shows (Dublin Core, as Matplotlib writes it)."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure: its name, the picture as a data URI, and what it shows in words."""

    name: str
    source: str
    alt: str


def pictures(figures: Iterable[Path], study: str) -> list[Picture]:
    """A picture for each PNG: the SVG beside it, or in older runs the PNG itself."""
    return [_picture(png, study) for png in figures]


def _picture(png: Path, study: str) -> Picture:
    alt = f"Figure {png.stem} of the study {study}"
    drawn = png.with_suffix(".svg")
    if not drawn.exists():
        return Picture(png.stem, _uri("image/png", png.read_bytes()), alt)
    data = drawn.read_bytes()
    try:
        told = next(ElementTree.fromstring(data).iter(DESCRIPTION), None)
    except ElementTree.ParseError as error:
        raise ValueError(f"{drawn.name} is no SVG picture, {error}") from error
    words = alt if told is None or not told.text else told.text
    return Picture(png.stem, _uri("image/svg+xml", data), words)


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
