"""Where to open the next address, if pieces of a pool are announced by the PoP at home there.

That takes pieces in which one PoP alone is at home, so each PoP opens addresses in its own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from topologies.model import Pool


class Pieces:
    """Addresses are numbered through all pools; sets of them are bit masks, as on a shelf."""

    def __init__(self, pools: Sequence[Pool]) -> None:
        self._sizes: list[tuple[int, int, int]] = []  # of a pool: first, end, and a piece's size
        first = 0
        for pool in pools:
            end = first + pool.prefix.num_addresses
            size = 0 if pool.more_specifics is None else 1 << (32 - pool.more_specifics)
            self._sizes.append((first, end, size))
            first = end
        self._homes: defaultdict[int, Counter[str]] = defaultdict(Counter)  # by mask of the piece
        self._sole: defaultdict[str, int] = defaultdict(int)
        self._free = (1 << first) - 1

    def best(self, closed: int, pop: str) -> int:
        """Of the closed addresses those that a PoP should open: its own, nobody's, others'."""
        return closed & self._sole[pop] or closed & self._free or closed

    def move(self, index: int, before: str | None, after: str | None) -> None:
        """An address has another home than before; None: it has none."""
        piece = 0 if before == after else self._piece(index)
        if not piece:
            return
        homes = self._homes[piece]
        self._note(piece, homes, False)
        for home, change in ((before, -1), (after, 1)):
            if home is not None:
                homes[home] += change
        self._homes[piece] = +homes
        self._note(piece, self._homes[piece], True)

    def _piece(self, index: int) -> int:
        """The addresses of the piece that this one belongs to; none if its pool is not cut."""
        first, size = next((first, size) for first, end, size in self._sizes if index < end)
        return ((1 << size) - 1) << (index - (index - first) % size) if size else 0

    def _note(self, piece: int, homes: Counter[str], put: bool) -> None:
        """Put a piece among those that its homes allow to open, or take it from there."""
        if not homes:
            self._free = self._free | piece if put else self._free & ~piece
        elif len(homes) == 1:
            (home,) = homes
            self._sole[home] = self._sole[home] | piece if put else self._sole[home] & ~piece
