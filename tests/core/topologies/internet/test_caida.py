"""Relation files in the formats that CAIDA documents, written by hand."""

import bz2
import gzip
from pathlib import Path

import numpy as np
import pytest

from topologies.internet.caida import load, parse
from topologies.internet.graph import circle
from topologies.validate import NetworkError

SERIAL_1 = """\
# input clique: 64496 64497
64496|64510|-1
64497|64510|-1
64496|64497|0
64510|65550|-1
"""
SERIAL_2 = """\
# source:topology|BGP
64496|64510|-1|bgp
64497|64510|-1|bgp
64496|64497|0|bgp
64497|64496|0|mlp
64510|65550|-1|bgp
"""


def _file(folder: Path, text: str, name: str = "20260101.as-rel.txt") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("text", [SERIAL_1, SERIAL_2])
def test_both_formats_give_the_same_internet(tmp_path: Path, text: str) -> None:
    internet = load(_file(tmp_path, text))
    assert internet.number.tolist() == [64496, 64497, 64510, 65550]
    assert list(zip(internet.customer.tolist(), internet.provider.tolist(), strict=True)) == [
        (2, 0),
        (2, 1),
        (3, 2),
    ]
    assert list(zip(internet.peer_a.tolist(), internet.peer_b.tolist(), strict=True)) == [(0, 1)]
    assert internet.wide.tolist() == [True, True, False, False]
    assert internet.clients.sum() == pytest.approx(1)
    assert len(circle(internet)) == 0


def test_packed_files_are_read_and_places_come_from_the_seed(tmp_path: Path) -> None:
    plain = load(_file(tmp_path, SERIAL_1))
    for name, pack in (("a.gz", gzip.compress), ("a.bz2", bz2.compress)):
        (tmp_path / name).write_bytes(pack(SERIAL_1.encode()))
        packed = load(tmp_path / name)
        assert np.array_equal(packed.customer, plain.customer)
        assert np.array_equal(packed.lat, plain.lat)
    assert not np.array_equal(load(_file(tmp_path, SERIAL_1), seed=2).lat, plain.lat)


def test_a_file_of_customers_alone_has_no_peers() -> None:
    assert parse(["1|2|-1\n", "1|3|-1|bgp"]) == [(1, 2, True), (1, 3, True)]


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("64510|64511", "as-rel.txt:6: 2 fields, not 3 or 4; write AS|AS|-1"),
        ("64510|64511|0|bgp|x", "as-rel.txt:6: 5 fields"),
        ("AS64510|64511|0", "as-rel.txt:6: 'AS64510' is no AS; write a number"),
        ("0|64511|0", "as-rel.txt:6: '0' is no AS"),
        ("64510|4294967296|0", "as-rel.txt:6: '4294967296' is no AS"),
        ("64510|64511|1", "as-rel.txt:6: '1' is no relation; write -1 where"),
        ("64510|64510|0", "as-rel.txt:6: AS64510 neighbours itself; remove the line"),
        ("64510|64496|0", "as-rel.txt:6: AS64510 and AS64496 have another relation in line 2"),
        ("64510|64496|-1", "as-rel.txt:6: AS64510 and AS64496 have another relation in line 2"),
    ],
)
def test_what_is_wrong_is_told_with_line_cause_and_mend(
    tmp_path: Path, line: str, cause: str
) -> None:
    with pytest.raises(NetworkError) as error:
        load(_file(tmp_path, f"{SERIAL_1}{line}\n", "as-rel.txt"))
    assert str(error.value).startswith(cause)


def test_a_circle_of_payers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="AS1 pays in a circle"):
        load(_file(tmp_path, "1|2|-1\n2|3|-1\n3|1|-1\n3|4|-1\n"))


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="there is no relation in it"):
        load(_file(tmp_path, "# nothing\n\n"))


@pytest.mark.parametrize("keep", [20, 60])
@pytest.mark.parametrize("suffix", [".gz", ".bz2"])
def test_a_file_that_ends_too_early_is_told(suffix: str, keep: int, tmp_path: Path) -> None:
    pack = gzip.compress if suffix == ".gz" else bz2.compress
    path = tmp_path / f"cut.txt{suffix}"
    path.write_bytes(pack(SERIAL_1.encode())[:keep])
    with pytest.raises(NetworkError, match="cannot be read to its end"):
        load(path)
