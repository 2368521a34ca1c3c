"""What a policy takes and gives."""

from __future__ import annotations

from collections.abc import Mapping

Pops = tuple[str, ...]
"""PoP codes."""

Ranking = Mapping[str, Pops]
"""Every city's code to PoP codes, best first. A PoP that is left out is not used."""
