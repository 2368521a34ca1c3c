"""Each PoP opens addresses in pieces of its own, as long as there are any."""

from __future__ import annotations

from ipaddress import IPv4Network

from hypothesis import given
from hypothesis import strategies as st

from controller.core.lending import Book
from controller.core.pieces import Pieces
from topologies.model import Pool

POPS = ("LHR", "ARN", "FCO")
POOLS = (
    Pool(IPv4Network("203.0.113.0/28"), more_specifics=30),
    Pool(IPv4Network("192.0.2.0/29")),
    Pool(IPv4Network("198.18.0.0/30"), more_specifics=31),
)
ADDRESSES = [address for pool in POOLS for address in pool.prefix]
PIECES = [(pool.piece(address), pool.prefix) for pool in POOLS for address in pool.prefix]


@given(st.lists(st.tuples(st.integers(0, len(ADDRESSES) - 1), st.sampled_from([None, *POPS]))))
def test_a_pop_opens_in_its_own_pieces_then_in_free_ones_then_in_any(
    moves: list[tuple[int, str | None]],
) -> None:
    pieces, homes = Pieces(POOLS), dict[int, str | None]()
    for index, after in moves:
        pieces.move(index, homes.get(index), after)
        homes[index] = after
    closed = [n for n in range(len(ADDRESSES)) if homes.get(n) is None]
    mask = sum(1 << n for n in closed)
    for pop in POPS:
        own = [n for n in closed if _at_home(homes, n) == {pop}]
        free = [n for n in closed if not _at_home(homes, n)]
        assert pieces.best(mask, pop) == sum(1 << n for n in own or free or closed)


def _at_home(homes: dict[int, str | None], index: int) -> set[str]:
    """Who is at home in an address's piece; nobody, if its pool is not cut."""
    if PIECES[index][0] is None:
        return set()
    alike = (n for n, piece in enumerate(PIECES) if piece == PIECES[index])
    return {home for n in alike if (home := homes.get(n))}


def test_the_book_keeps_pops_apart_and_shares_only_when_it_must() -> None:
    book = Book([Pool(IPv4Network("203.0.113.0/29"), more_specifics=31)], 1)

    def open_one(server: str, pop: str) -> str:
        decided = book.acquire(server, pop, 0)
        book.apply(decided)
        return str(decided.after.address).rpartition(".")[2]

    opened = [open_one(f"s{n}", pop) for n, pop in enumerate(("LHR", "ARN", "LHR", "ARN", "FCO"))]
    assert opened == ["0", "2", "1", "3", "4"]
    assert [open_one("t1", "LHR"), open_one("t2", "ARN")] == ["6", "5"]
