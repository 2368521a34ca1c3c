"""What Mininet and Ryu want of distutils, which Python 3.12 dropped: classes of versions.

setuptools brings a copy of it, which takes a third of a second to import. Call `stand_in` before
anything of either is imported.
"""

from __future__ import annotations

import re
import sys
import types
from functools import total_ordering

__all__ = ["stand_in"]


@total_ordering
class _Version:
    """As much of distutils' classes as they use: versions are ordered by their numbers."""

    def __init__(self, text: str) -> None:
        self.version = [int(number) for number in re.findall(r"\d+", text)]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Version) and self.version == other.version

    def __lt__(self, other: _Version) -> bool:
        return self.version < other.version

    def __hash__(self) -> int:
        return hash(tuple(self.version))


def stand_in() -> None:
    """Let ``distutils.version`` be these classes, unless there is another already."""
    if "distutils" in sys.modules:
        return
    package = types.ModuleType("distutils")
    version = types.ModuleType("distutils.version")
    package.version = version  # type: ignore[attr-defined]
    version.LooseVersion = version.StrictVersion = _Version  # type: ignore[attr-defined]
    sys.modules["distutils"] = package
    sys.modules["distutils.version"] = version
