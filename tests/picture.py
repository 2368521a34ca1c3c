"""The README's animated picture: a newcomer's trip on the page of a real lab.

``make picture`` writes ``docs/live.webp``.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from tests.fakes import trip

FILE = Path(__file__).parents[1] / "docs" / "live.webp"
WIDTH, HEIGHT, CAPTION = 1280, 960, 44
SHOWN_MS = 2600


def main() -> int:
    """Take a picture of each step, and write all of them as one that moves."""
    frames: list[Image.Image] = []
    with tempfile.TemporaryDirectory() as folder, trip.opened(WIDTH, HEIGHT) as page:

        def seen(sentence: str) -> None:
            page.evaluate("scrollTo(0, 0)")
            frames.append(_captioned(page.screenshot(), sentence))

        trip.newcomer(page, Path(folder), seen)
    first, *others = frames
    first.save(
        FILE, save_all=True, append_images=others, duration=SHOWN_MS, loop=0, quality=70, method=6
    )
    return 0


def _captioned(picture: bytes, sentence: str) -> Image.Image:
    """A screenshot above a line of text."""
    made = Image.new("RGB", (WIDTH, HEIGHT + CAPTION), "#1b1f24")
    made.paste(Image.open(io.BytesIO(picture)), (0, 0))
    font = ImageFont.load_default(22)
    ImageDraw.Draw(made).text((16, HEIGHT + 8), sentence, "white", font)
    return made


if __name__ == "__main__":
    sys.exit(main())
