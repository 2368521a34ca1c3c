"""Relations between ASes as CAIDA infers and publishes them (catalog: "AS Relationships").

Text, a relation a line, ``#`` begins a comment:

- serial-1: ``provider|customer|-1`` or ``peer|peer|0``,
- serial-2: the same and ``|source`` behind it (``bgp``, ``mlp``).

Plain, ``.gz`` or ``.bz2``. No such file ships with the kit: https://www.caida.org/catalog/datasets/as-relationships
has them for those who accept its terms. They say nothing of places, so every AS gets one that is
drawn from a seed, as in ``generate``, and so does its share of clients.
"""

from __future__ import annotations

import bz2
import gzip
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, NoReturn

import numpy as np

from topologies.internet import places
from topologies.internet.graph import Internet, Ints, check, wide
from topologies.validate import NetworkError, Problem

PAYS, PEERS = "-1", "0"
"""The third field: the second AS pays the first, or neither pays."""

OPENERS: dict[str, Callable[[Path], IO[bytes]]] = {".gz": gzip.open, ".bz2": bz2.open}  # type: ignore[dict-item]

LAST_AS = 2**32 - 1
"""RFC 6793."""

Relation = tuple[int, int, bool]
"""Two numbers of ASes, and whether the second pays the first."""


def load(path: Path | str, seed: int = 1) -> Internet:
    """The Internet of a relation file; ``seed`` draws places and clients.

    Raises NetworkError with file and line, cause and mend for what is no relation, for two that
    contradict each other, for ASes that pay in a circle, and for a damaged file; OSError if it
    cannot be opened.
    """
    path = Path(path)
    with OPENERS.get(path.suffix, _plain)(path) as file:
        try:
            found = parse((line.decode("utf-8", "replace") for line in file), path.name)
        except (EOFError, zlib.error, OSError) as error:
            _refuse(path.name, None, f"it cannot be read to its end ({error})", "fetch it again")
    internet = _internet(found, path.name, seed)
    check(internet)
    return internet


def _plain(path: Path) -> IO[bytes]:
    return path.open("rb")


def parse(lines: Iterable[str], file: str = "") -> list[Relation]:
    """Every relation once, in the order of the lines. Raises NetworkError, see ``load``."""
    said: dict[tuple[int, int], tuple[int, str]] = {}
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        a, b, kind = _fields(line, file, number)
        key, told = (min(a, b), max(a, b)), f"{a} {kind}" if kind == PAYS else kind
        first = said.setdefault(key, (number, told))
        if first[1] != told:
            cause = f"AS{a} and AS{b} have another relation in line {first[0]}"
            _refuse(file, number, cause, "keep one of the two lines")
        if first[0] == number:
            found.append((a, b, kind == PAYS))
    if not found:
        _refuse(file, None, "there is no relation in it", "give a file of serial-1 or serial-2")
    return found


def _fields(line: str, file: str, number: int) -> tuple[int, int, str]:
    fields = line.strip().split("|")
    if len(fields) not in (3, 4):
        cause = f"{len(fields)} fields, not 3 or 4"
        _refuse(file, number, cause, "write AS|AS|-1, AS|AS|0, or the same with |source")
    for text in fields[:2]:
        if not (text.isascii() and text.isdigit() and 0 < int(text[:11]) <= LAST_AS):
            _refuse(file, number, f"{text!r} is no AS", f"write a number from 1 to {LAST_AS}")
    if fields[2] not in (PAYS, PEERS):
        cause = f"{fields[2]!r} is no relation"
        _refuse(file, number, cause, "write -1 where the second AS pays, 0 between peers")
    a, b = int(fields[0]), int(fields[1])
    if a == b:
        _refuse(file, number, f"AS{a} neighbours itself", "remove the line")
    return a, b, fields[2]


def _refuse(file: str, number: int | None, cause: str, mend: str) -> NoReturn:
    raise NetworkError([Problem((), cause, mend, file, number)])


def _internet(found: list[Relation], name: str, seed: int) -> Internet:
    """ASes in the order of their numbers."""
    rng = np.random.default_rng(seed)
    table = np.array([(a, b) for a, b, _ in found], dtype=np.int64)
    pays = np.array([kind for *_, kind in found])
    number, places_in = np.unique(table, return_inverse=True)
    ends: Ints = places_in.reshape(table.shape).astype(np.int32)
    provider, customer = ends[pays].T
    peers = np.sort(ends[~pays], axis=1)
    where = places.drawn(len(number), rng)
    return Internet(
        name=name,
        number=number,
        provider=provider,
        customer=customer,
        peer_a=peers[:, 0],
        peer_b=peers[:, 1],
        lat=where.lat,
        lon=where.lon,
        region=where.region,
        regions=tuple(places.SHARES),
        clients=places.clients(len(number), rng),
        wide=wide(len(number), provider, customer),
    )
