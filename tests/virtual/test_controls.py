"""A test of all controls: each kind of rule is spoilt at one PoP, and the studies must notice.

In virtual time nothing else can be to blame.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from experiments.parameters import Value
from experiments.runs import runner
from experiments.verdict.result import Check
from tests.virtual.runs import network_of

pytestmark = pytest.mark.virtual

MUTANT, TAMPERED = (Path(__file__).parent / name for name in ("mutant.py", "tampered.py"))

NOTICED: Mapping[str, Mapping[str, str]] = {
    "guard bypassed": {
        "reachability": "control: no lie reaches an origin",
        "agility": "control: nothing of the heir's gets through before the move",
        "isolation": "control: no forged frame reaches anybody",
    },
    "guard removed": {
        "reachability": "spoofed packets are counted at every PoP",
        "isolation": "spoofed frames are counted at every PoP",
    },
    "admission of leases removed": {
        "isolation": "twin: its own port set arrives",
        "reachability": "twin: a server that uses its own port set is answered",
        "borrowing": "every borrowed connection works",
        "geo": "every fetch by a tag is answered",
    },
    "return removed": {
        "reachability": "twin: a port set that somebody holds answers",
        "latency": "twin: a port set that somebody holds answers",
        "borrowing": "every borrowed connection works",
        "scale": "every switch has as many rules for leases as the closed form says",
    },
    "connections handed up": {"scale": "twin: no connection is handed to the controller"},
    "home removed": {
        "crosspop": "every fetch is answered, wherever its reply lands and with the backbone cut",
        "urpf": "what is refused is lost, and what nobody could answer; nothing else is",
        "reachability": "every pair reaches",
        "latency": "twin: a port set that somebody holds answers",
        "borrowing": "replies that land elsewhere come home",
    },
    "unlent removed": {"reachability": "unlent packets are counted at every PoP"},
    "unlent bypassed": {
        "reachability": "control: no knock at an unlent set reaches a server",
        "latency": "control: no knock at an unlent set reaches a server",
    },
    "landed unlent bypassed": {
        "reachability": "control: no knock at an unlent set reaches a server",
        "latency": "control: no knock at an unlent set reaches a server",
    },
    "detours removed": {
        "failover": "everything comes back, by switches alone and by the controller alone",
    },
    "label removed": {
        "reachability": "every pair reaches",
        "borrowing": "every borrowed connection works",
    },
    "service removed": {
        "reachability": "every pair reaches",
        "latency": "every client is answered",
    },
    "steering removed": {
        "urpf": "every upstream refuses what the model says, and nothing else",
        "reachability": "every pair reaches",
        "latency": "every client is answered",
        "catchment": "every client that is served is answered",
    },
    "steered elsewhere": {
        "latency": "every client lands in its best PoP",
        "geo": "every client lands in the nearest PoP that is announced",
        "churn": "every connection goes to the server that the model names",
        "names": "every visit is answered from the nearest PoP, whatever the address",
        "catchment": "every client lands where the controller says",
        "sites": "every client lands in the nearest PoP that is announced",
        "flood": "every client lands in the nearest PoP that is announced, or at the one site",
    },
    "a withdrawn PoP is kept": {
        "catchment": "control: a withdrawn PoP gets nobody",
        "shedding": "twin: by policy capacity it is below within 12 s, and stays there",
        "sites": "by every order and number median, p90 and mean are the closed form's",
        "flood": "every uplink is offered what its catchment sends",
    },
    "load is shed too soon": {"shedding": "twin: a demand below the mark moves nobody"},
    "what is shed is out of sight": {"shedding": "no city flaps"},
    "arrivals wait for answers": {
        "workloads": "what is asked when it is due sees the stall: poisson"
    },
    "rates are ignored": {"workloads": "bulk gets what the line's rate leaves for payload"},
    "random is by hash": {"names": "twin: a binding at random is as even as chance lets it be"},
    "names stay": {
        "names": "nobody goes to an address for longer than its TTL and held connections allow"
    },
    "slots misplaced": {"churn": "every connection goes to the server that the model names"},
    "hand-back removed": {"churn": "twin: with a second chance nothing breaks"},
    "tags mixed up": {"geo": "who borrows has the right country"},
    "any tag served": {"geo": "control: a tag that no pool has gives no connection"},
    "addresses wasted": {"scarcity": "lab: as many addresses are taken as the closed form says"},
    "withdrawals are never told": {
        "convergence": "every client ends where the model says, and is answered there",
        "inflation": "control: a PoP that is withdrawn gets nobody",
    },
    "pieces are not announced": {
        "announcing": "twin: with their pieces announced from home none do"
    },
    "routes are leaked": {"inflation": "the study's times are the model's"},
    "leases are shorter than is said": {
        "scarcity": "control: lab: a pool one address too small refuses, and says until when"
    },
}
"""By mutation and study: a check that must fail."""


QUICKER: Mapping[str, Mapping[str, Value]] = {
    "convergence": {"mrai_s": (0.0,)},
    "churn": {"connections": 30.0, "rate_per_s": 6.0},
}
"""By study: parameters with which it is as sharp and takes less time."""


def failed_checks(study: str, mutation: str, folder: Path) -> list[Check]:
    """What a study says of a network with this mutation."""
    network, params = network_of(study), QUICKER.get(study, {})
    spec = runner.make_spec(study, network, quick=True, clock="virtual", params=params)
    for program in (MUTANT, TAMPERED):
        shutil.copy(program, folder)
    runner.run_trial(spec, folder, program=(MUTANT.name, mutation))
    return [check for check in runner.conclude(folder).checks if not check.passed]


@pytest.mark.parametrize("study", ["reachability", "isolation", "latency"])
def test_a_sound_network_is_believed(study: str, tmp_path: Path) -> None:
    """Where nothing is spoilt the same way of doing it is; test_every_study.py has all studies."""
    assert failed_checks(study, "nothing", tmp_path) == []


@pytest.mark.parametrize(
    ("mutation", "study"),
    [(mutation, study) for mutation, studies in NOTICED.items() for study in studies],
)
def test_a_spoilt_rule_at_one_pop_is_noticed(mutation: str, study: str, tmp_path: Path) -> None:
    failed = failed_checks(study, mutation, tmp_path)
    assert NOTICED[mutation][study] in [check.name for check in failed]
