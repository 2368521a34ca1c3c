"""Networks written in Python are those of files, and are refused in the same words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from topologies.build import NetworkBuilder
from topologies.sources import NetworkError, load, parse

PROJECT = Path(__file__).parents[3]


def test_the_triangle_in_python_is_the_triangle() -> None:
    triangle = load("triangle")
    net = NetworkBuilder("triangle", description=triangle.description)
    for city in ("LHR", "ARN", "FCO"):
        net.city(city)
    net.link("LHR", "ARN").link("ARN", "FCO").link("FCO", "LHR")
    for city in ("LHR", "ARN", "FCO"):
        net.pop(city, servers=2)
    assert net.clients("every city").origin("ARN").network() == triangle


def test_every_part_of_a_file_can_be_said() -> None:
    net = NetworkBuilder("two", pools=["192.0.2.0/28"], port_set_bits=6)
    net.city("LHR").city("XXX", lat=50, lon=2.5, name="Nowhere")
    net.link("LHR", "XXX", delay="3 ms", jitter="1 ms", loss="1 %", rate="1 Gbit")
    net.pop("LHR", servers=3, uplink={"delay": "1 ms"}).pop("XXX")
    net.backbone("LHR", "XXX", delay="2 ms")
    net.clients("LHR", 4, access={"delay": "5 ms"}).origin("XXX", 2)
    text = """
    name: two
    pools: [192.0.2.0/28]
    port_set_bits: 6
    cities: [LHR, {code: XXX, lat: 50, lon: 2.5, name: Nowhere}]
    links: [{between: [LHR, XXX], delay: 3 ms, jitter: 1 ms, loss: 1 %, rate: 1 Gbit}]
    pops: [{city: LHR, servers: 3, uplink: {delay: 1 ms}}, XXX]
    backbone: [{between: [LHR, XXX], delay: 2 ms}]
    clients: [{city: LHR, count: 4, access: {delay: 5 ms}}]
    origins: [{city: XXX, count: 2}]
    """
    assert net.network() == parse(text, "two.yaml")


def test_everything_that_is_wrong_is_told_at_once() -> None:
    net = NetworkBuilder("bad").city("LHR").link("LHR", "CDG", delay="-1 ms").pop("LHR", servers=0)
    with pytest.raises(NetworkError) as refused:
        net.clients("LHR", color="red").network()
    said = str(refused.value)
    assert all(word in said for word in ("links[0]", "pops[0].servers", "clients[0].color"))
    assert "line" not in said


def test_the_readmes_network_is_one() -> None:
    readme = (PROJECT / "README.md").read_text()
    (code,) = re.findall(
        r"```python\n(from experiments import run\nfrom topologies.*?)```", readme, re.S
    )
    lines = [line for line in code.splitlines() if line.startswith("net")]
    scope = {"NetworkBuilder": NetworkBuilder}
    exec("\n".join(lines), scope)
    assert len(scope["net"].network().clients) == 3  # type: ignore[attr-defined]
