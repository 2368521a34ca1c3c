"""Ways to announce one prefix from some sites, and how far their loads are from wanted ones.

Operators under attack keep such a playbook (Rizvi et al., "Anycast Agility", USENIX Security 2022).
A way is written as a word for each site: how often it prepends, or NARROW.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from topologies.model import Network, Scope

NARROW = "c"
"""A site that is told to customers alone; the others are numbers, how often they prepend."""


def ways(sites: int, prepends: int, most: int, draw: Callable[[int], bytes]) -> Iterator[str]:
    """Configurations in words, the plain one first, none twice; all of them if they are few.

    Each site prepends 0 to ``prepends`` times, or is told to customers alone. ``draw`` gives so
    many bytes by chance.
    """
    choices = _choices(prepends)
    every = len(choices) ** sites
    if every <= most:
        numbers: Sequence[int] = range(every)
    else:
        numbers = [0, *sorted(_distinct(every, most - 1, draw))]
    for number in numbers:
        words = []
        for _ in range(sites):
            number, choice = divmod(number, len(choices))
            words.append(choices[choice])
        yield " ".join(words)


def _choices(prepends: int) -> tuple[str, ...]:
    """What a site may do."""
    return (*map(str, range(prepends + 1)), NARROW)


def _distinct(every: int, count: int, draw: Callable[[int], bytes]) -> set[int]:
    """So many numbers from 1 to below ``every``, which may have more than 64 bits."""
    size, found = -(-every.bit_length() // 8) + 1, set[int]()
    while len(found) < count:
        number = int.from_bytes(draw(size), "big") % every
        if number:
            found.add(number)
    return found


def changed(way: str, prepends: int) -> Iterator[str]:
    """Every way that differs at one site."""
    words = way.split()
    for site, word in enumerate(words):
        for choice in _choices(prepends):
            if choice != word:
                yield " ".join([*words[:site], choice, *words[site + 1 :]])


def descend(way: str, prepends: int, off: Callable[[str], float], most: int) -> str:
    """From a way to better ones, each time by the best change at one site.

    It ends where no change is better, or once ``most`` ways have been tried.
    """
    best, tries = off(way), 1
    while tries < most:
        tried = {other: off(other) for other in changed(way, prepends)}
        nearest = min(tried, key=tried.__getitem__)
        if tried[nearest] >= best:
            break
        way, best, tries = nearest, tried[nearest], tries + len(tried)
    return way


def asked(way: str) -> tuple[tuple[int, Scope], ...]:
    """By site: how often it prepends, and to whom it is told."""
    return tuple(
        (0, Scope.CUSTOMERS) if word == NARROW else (int(word), Scope.ALL) for word in way.split()
    )


def wanted(network: Network) -> list[float]:
    """By PoP: the share of all clients that its weight asks for."""
    total = sum(pop.weight for pop in network.pops)
    return [pop.weight / total for pop in network.pops]


def off_share(shares: Sequence[float], wanted: Sequence[float]) -> float:
    """The share of all clients that are not where they are wanted, nowhere included.

    The total variation distance between the two splits; wanted shares sum to 1.
    """
    nowhere = 1 - sum(shares)
    return (sum(abs(a - b) for a, b in zip(shares, wanted, strict=True)) + nowhere) / 2
