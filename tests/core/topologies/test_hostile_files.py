"""Any file is answered soon, in words that a terminal can show, with the file's name."""

from __future__ import annotations

import json
import random
import re
import time
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topologies import sources
from topologies.explicit import dump_json
from topologies.sources import NetworkError
from topologies.validate import problems

HEAD = "name: x\ncities: [LHR, CDG]\nlinks: [[LHR, CDG]]\npops: [LHR]\nclients: [CDG]\n"
LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)
WORST_S = 5.0
"""Far more than it takes; what would take minutes takes much longer still."""

HOSTILE = {
    "billion laughs": HEAD + LAUGHS,
    "a cycle": HEAD + "description: &d [*d]\n",
    "a cycle of mappings": "&m\n" + HEAD + "description: *m\n",
    "an alias of nothing": HEAD + "description: *nothing\n",
    "NUL bytes": HEAD + "description: a\0b\n",
    "deep brackets": HEAD + "description: " + "[" * 5000 + "]" * 5000 + "\n",
    "open brackets": HEAD + "description: " + "[" * 100_000,
    "deep mappings": HEAD + "description: " + "{a: " * 5000 + "}" * 5000 + "\n",
    "deep blocks": "".join(" " * i + "a:\n" for i in range(2000)),
    "5,000 digits": HEAD + f"port_set_bits: {'9' * 5000}\n",
    "a number too large": HEAD + "path_stretch: 1e308\n",
    "not a number": HEAD + "path_stretch: .nan\n",
    "long digits in a quantity": HEAD.replace(
        "[[", f"[{{between: [LHR, CDG], delay: {'9' * 100_000} ms}}] #"
    ),
    "spaces in a quantity": HEAD.replace(
        "[[", f"[{{between: [LHR, CDG], delay: '1{' ' * 200_000}x y'}}] #"
    ),
    "a tag": HEAD + "description: !!python/object/apply:os.system [id]\n",
    "a tag of a number": HEAD + "port_set_bits: !!int seven\n",
    "a date": HEAD + "description: 2026-99-99\nbackbone: 2026-99-99\n",
    "a lone surrogate": HEAD + 'description: "\\ud800"\n',
    "a terminal escape": HEAD + 'description: "\\e]0;owned\\a\\e[31mred"\n',
    "an escape in a key": HEAD + '"\\e[31mred": 1\n',
    "an escape in a city": HEAD.replace("[LHR, CDG]", '["\\e[2J", CDG]', 1),
    "a long word": HEAD.replace("pops: [LHR]", f"pops: [{'L' * 300_000}]"),
    "a list as a key": HEAD + "? [a, b]\n: c\n",
    "many cities": "name: x\ncities:\n" + "".join(f"- C{i}\n" for i in range(80_000)),
    "huge": "#" * (2 << 20),
    "huge numbers of hosts": HEAD.replace("[CDG]\n", "[{city: CDG, count: 99999999999999999}]\n"),
    "nothing": "",
    "a list": "- a\n- b\n",
    "bytes": "".join(map(chr, range(1, 256))),
    "explicit, deep": '{"format": "poplab-network-1", "a": ' + "[" * 200_000,
    "explicit, of other types": json.dumps(
        {"format": "poplab-network-1"}
        | dict.fromkeys(("cities", "links", "pops", "clients", "origins", "backbone"), 7)
    ),
    "explicit, empty": '{"format": "poplab-network-1"}',
}


def refusal(path: Path) -> str:
    began = time.process_time()  # whatever else the machine does
    with pytest.raises(NetworkError) as refused:
        sources.load(path)
    assert time.process_time() - began < WORST_S
    return str(refused.value)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_in_words(name: str, tmp_path: Path) -> None:
    path = tmp_path / "hostile.yaml"
    path.write_text(HOSTILE[name], encoding="utf-8", errors="surrogatepass")
    said = refusal(path)
    assert str(path) in said
    assert len(said.splitlines()[0]) < 1000
    said.encode()
    assert all(line.isprintable() for line in said.splitlines())


NODE = quoteattr("\u202e" + "n" * 1000)


@pytest.mark.parametrize(
    "text",
    [
        "<graphml>" * 50_000,
        '<!DOCTYPE g [<!ENTITY a "x">'
        + "".join(f'<!ENTITY a{i} "{"&a;" * 9}">' for i in range(9))
        + "]><graphml>&a8;</graphml>",
        "not XML",
        "<graphml><graph edgedefault='undirected'/></graphml>",
        f"<graphml><graph edgedefault='undirected'><node id={NODE}/></graph></graphml>",
    ],
)
def test_a_hostile_graphml_is_refused_with_its_name(text: str, tmp_path: Path) -> None:
    path = tmp_path / "hostile.graphml"
    path.write_text(text)
    assert str(path) in refusal(path)


def test_a_file_beyond_all_measure_is_not_even_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    assert "no network" in refusal(path)


GOOD = {name: (sources.CATALOG / f"{name}.yaml").read_text() for name in ("triangle", "europe")}
EXPLICIT = dump_json(sources.load("triangle"))


@settings(max_examples=150)
@given(st.sampled_from([*GOOD.values(), EXPLICIT]), st.integers(0, 2**32), st.integers(1, 6))
def test_a_damaged_file_is_a_network_or_a_refusal(text: str, seed: int, changes: int) -> None:
    chance = random.Random(seed)
    pieces = [
        "[",
        "]",
        "{",
        "}",
        ":",
        "-",
        "\n",
        "  ",
        "&a ",
        "*a",
        "!",
        '"',
        "1e999",
        "\t",
        "null",
        "é",
    ]
    for _ in range(changes):
        at, length = chance.randrange(len(text)), chance.choice([0, 0, 1, 3, 40])
        text = text[:at] + chance.choice(pieces) + text[at + length :]
    path = Path("damaged.yaml")
    try:
        network = sources.parse(text, path.name)
    except NetworkError as refused:
        assert all(line.isprintable() for line in str(refused).splitlines())
    else:
        assert problems(network) == []


@pytest.mark.parametrize("field", ["delay_ns", "servers", "count", "health_ns", "bfd_ns"])
@pytest.mark.parametrize("number", ["-0.5", "-12.5", "1e999", "NaN", "true", '"1 ms"'])
def test_a_damaged_number_is_told_as_damage(field: str, number: str) -> None:
    text, found = re.subn(f'"{field}": (null|[0-9]+)', f'"{field}": {number}', EXPLICIT, count=1)
    assert found
    with pytest.raises(NetworkError, match=f"damaged: {field} is .*, not a whole number"):
        sources.parse(text, "network.json")


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (
            "links: [[LHR, CDG], [FRA, AMS]]\ncities: [LHR, CDG, FRA, AMS]\n",
            "the cities are in 2 parts",
        ),
        (
            "upstream: bgp\nlinks: [[LHR, CDG], [FRA, AMS]]\ncities: [LHR, CDG, FRA, AMS]\n",
            "the cities are in 2 parts",
        ),
        ("cities: [LHR]\nborrow_up_to: 0x" + "f" * 5000 + "\n", "must be a whole number"),
        ("cities: [LHR, CDG]\nlinks: [[LHR, CDG]]\nupstream: bgp\nbfd: 5 ms\n", "use 10 ms"),
    ],
    ids=["islands", "islands of BGP", "hexadecimal", "BFD of routers"],
)
def test_what_cannot_be_is_told_in_words(lines: str, told: str) -> None:
    with pytest.raises(NetworkError, match=told):
        sources.parse(f"name: x\npops: [LHR]\n{lines}", "x.yaml")


def test_one_unknown_key_behind_two_aliases_is_told_at_both_places() -> None:
    text = "name: x\ncities: [LHR, CDG]\nlinks: [[LHR, CDG]]\npops:\n"
    text += "  - {city: LHR, uplink: &u {dealy: 1 ms}}\n  - {city: CDG, uplink: *u}\n"
    with pytest.raises(NetworkError) as refused:
        sources.parse(text, "x.yaml")
    assert [x.field for x in refused.value.problems] == [f"pops[{n}].uplink.dealy" for n in (0, 1)]


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_a_name_that_no_file_can_have_is_the_name_of_nothing(name: str) -> None:
    with pytest.raises(NetworkError, match="there is no network"):
        sources.load(name)


@pytest.mark.parametrize("pops", ["²", "9" * 5000])
def test_a_number_of_pops_that_is_none_is_no_city_either(pops: str) -> None:
    with pytest.raises(NetworkError, match="there is no city"):
        sources.load("triangle", pops)


@pytest.mark.parametrize("degrees", ["inf", "1e999", "nan"])
def test_a_graph_has_no_endless_places(degrees: str, tmp_path: Path) -> None:
    path = tmp_path / "x.graphml"
    keys = "".join(
        f'<key id="{short}" for="node" attr.name="{long}" attr.type="string"/>'
        for short, long in (("a", "Latitude"), ("b", "Longitude"))
    )
    nodes = "".join(
        f'<node id="{n}"><data key="a">{at}</data><data key="b">1</data></node>'
        for n, at in (("x", degrees), ("y", "2"))
    )
    edge = '<edge source="x" target="y"/>'
    path.write_text(
        '<graphml xmlns="http://graphml.graphdrawing.org/xmlns">'
        f'{keys}<graph edgedefault="undirected">{nodes}{edge}</graph></graphml>'
    )
    with pytest.raises(NetworkError, match="is no latitude"):
        sources.load(path)
