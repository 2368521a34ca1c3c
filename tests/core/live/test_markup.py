"""The page before anything is known of a lab: all of its network is there, and nothing but text."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from experiments.control.words import find_link
from experiments.live.markup import FILES, render
from tests.fakes.pages import HOSTILE
from topologies.plan import plan
from topologies.sources import load


@pytest.mark.parametrize("name", ["triangle", "europe", "world"])
def test_every_link_and_city_is_on_the_map(name: str) -> None:
    made = plan(load(name))
    text = render(made)
    assert set(re.findall(r'data-city="(\w+)"', text)) == {x.code for x in made.network.cities}
    assert set(re.findall(r'data-pop="(\w+)"', text)) == {x.city for x in made.network.pops}
    named = set(re.findall(r'data-link="([\w-]+)"', text))
    assert len(named) == len(made.network.links) + len(made.network.backbone)
    for link in named:
        find_link(made, link)


def test_what_a_network_is_called_stays_text() -> None:
    network = load("triangle")
    london = replace(network.cities[0], name=HOSTILE)
    made = plan(replace(network, cities=(london, *network.cities[1:])))
    text = render(made)
    assert HOSTILE not in text
    told = re.findall(r'<script type="application/json" id="city-names">(.*?)</script>', text)
    assert json.loads(told[0])["LHR"] == HOSTILE
    assert text.count("<script") == text.count("</script>") == 3


def test_the_page_brings_nothing_inline_and_asks_nothing_of_others() -> None:
    text = render(plan(load("triangle")))
    assert not re.search(r"\sstyle=|\son\w+=|<style", text)
    assert set(re.findall(r'(?:src|href)="([^"]+)"', text)) <= {*FILES, "scenario.yaml"}
    for name, body in FILES.items():
        imported = re.findall(r'from "\./([^"]+)"', body.decode())
        assert set(imported) <= FILES.keys(), name
        assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|eval\(", body.decode())
