"""The study churn believes what its model says, and notices every way to be otherwise."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pandas as pd
import pytest

from experiments import study
from experiments.errors import UsageError
from experiments.studies import churn
from experiments.verdict.placement import Flow, slot
from tests.fakes.evidence import failed, perfect, spoil
from topologies import sources

# What ofproto/trace of Open vSwitch 3.1.0 says of register 0.
SLOTS = [
    ("10.1.2.3", "198.51.100.1", 40000, 470),
    ("10.1.2.3", "198.51.100.1", 51234, 526),
    ("10.9.0.77", "198.51.100.1", 40000, 363),
    ("2001:db8::a01:203", "2001:db8::c633:6401", 40000, 486),
    ("2001:db8::a01:203", "2001:db8::c633:6401", 51234, 946),
]


@pytest.mark.parametrize(("source", "destination", "port", "expected"), SLOTS)
def test_slots_are_those_of_open_vswitch(
    source: str, destination: str, port: int, expected: int
) -> None:
    there = Flow(ip_address(source), ip_address(destination), port)
    back = Flow(ip_address(destination), ip_address(source), 80, port)
    assert slot(there, 1021) == slot(back, 1021) == expected


@pytest.mark.parametrize(
    ("arm", "change", "columns", "check"),
    [
        (
            "second chance",
            "server drained",
            {"outcome": "reset"},
            "twin: with a second chance nothing breaks",
        ),
        (
            "modulo",
            "city steered",
            {"outcome": "ok"},
            "without a second chance a connection breaks if and only if it moves by the model",
        ),
        (
            "group",
            "server drained",
            {"outcome": "ok"},
            "control: without a second chance a drained server's connections break",
        ),
        (
            "group",
            "controller restarted",
            {"outcome": "reset"},
            "a controller's restart breaks nothing by any scheme",
        ),
        (
            "maglev",
            "opened",
            {"server": "another"},
            "every connection goes to the server that the model names",
        ),
        (
            "second chance",
            "server crashed",
            {"outcome": "timeout"},
            "control: a server that crashes breaks its own connections, at once, and no others",
        ),
    ],
)
def test_what_is_otherwise_is_noticed(
    arm: str, change: str, columns: dict[str, str], check: str
) -> None:
    def there(samples: pd.DataFrame) -> pd.Series[bool]:
        return (samples["arm"] == arm) & (samples["change"] == change)

    assert failed(spoil(perfect("churn"), there, **columns)) == [check]


@pytest.mark.parametrize(
    ("fact", "value", "check"),
    [
        (
            "steady",
            {"second chance": {"ok": 99, "reset": 1}},
            "twin: with a second chance no new request is lost",
        ),
        ("steady", {}, "twin: with a second chance no new request is lost"),
        ("handed_back", {"second chance": 0}, "what moved is handed on"),
        ("handed_back", {"second chance": 10_000, "maglev": 1}, "what moved is handed on"),
    ],
)
def test_counts_count(fact: str, value: dict[str, Any], check: str) -> None:
    evidence = perfect("churn")
    evidence.observed[fact] = value  # type: ignore[index]
    assert failed(evidence) == [check]


def test_shares_by_scheme_are_those_of_the_schemes() -> None:
    table = study.study("churn").evaluate(perfect("churn", "europe")).tables["changes"]
    broken = table.set_index(["arm", "change"])["broken_share"]
    assert (broken["second chance"] == 0).all()
    # Three servers: rendezvous moves what the one had, modulo two of three slots.
    assert broken["rendezvous", "server drained"] < 0.6 * broken["modulo", "server drained"]


def test_a_network_without_a_spare_server_is_refused() -> None:
    network = sources.load("triangle")
    alone = replace(network, pops=tuple(replace(pop, servers=1) for pop in network.pops))
    with pytest.raises(UsageError, match="none can be drained"):
        churn.prepare(alone, {})


def test_servers_can_hand_back_whatever_the_network_says() -> None:
    bare = replace(sources.load("triangle"), second_chance=False)
    assert churn.prepare(bare, {}).second_chance
