"""A lab whose routers speak BGP: kernels, speakers, packets and the model say the same.

In a guest, where nothing else can be to blame.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from controller.core.events import PrependSet
from controller.core.world import World
from experiments import run
from experiments.verdict.oracle import BgpOracle
from tests.fakes.routed import four_networks
from tests.virtual.runs import ROOT, virtual_run
from topologies.emulation.sandbox.guest import Guest
from topologies.explicit import dump_json
from topologies.plan import plan

pytestmark = [pytest.mark.virtual, pytest.mark.timeout(300)]

PROGRAM = """
import json, subprocess
from pathlib import Path
from experiments.errors import TrialError, RefusedError
from experiments.runs.testbed import Testbed
from topologies.explicit import read_json
from topologies.plan import HostRole

def said(node, *words):
    words = ["nsenter", f"--net=/run/netns/{node}", *words]
    return subprocess.run(words, capture_output=True, text=True).stdout

def seen(lab, when):
    plan, service = lab.plan, lab.plan.network.services[0]
    routes = lab.speakers.routes(plan.network.service_prefixes[0])
    pops = {edge.number: edge.city for edge in plan.edges}
    spoken, kernel, served = {}, {}, {}
    for router in plan.routers:
        spoken[router.city] = next((pops[x.pop] for x in routes[router.name] if x.best), None)
        told = said(router.name, "ip", "route", "get", str(service)).split()
        kernel[router.city] = told[told.index("dev") + 1]
    for client in plan.hosts_of(HostRole.CLIENT):
        told = said(client.name, "curl", "-s", "-m", "3", f"http://{service}/trace")
        served[client.city] = [x[4:].strip() for x in told.splitlines() if x.startswith("pop=")]
    print(json.dumps({"when": when, "spoken": spoken, "kernel": kernel, "served": served}))

with Testbed(read_json(Path("network.json")), folder=Path("lab")) as lab:
    seen(lab, "as it begins")
    way = lab.control.explain("ARN-c1", "198.51.100.1")
    print(json.dumps({"when": "explained", "way": way, "why": lab.control.why("ARN-c1")}))
    lost = lab.control.explain("ARN-c1", "192.0.2.1")
    print(json.dumps({"when": "lost", "way": lost}))
    lab.control.pop_withdraw("LHR")
    lab.come_to_rest()
    seen(lab, "withdrawn")
    lab.control.pop_announce("LHR")
    lab.control.pop_prepend("LHR", 5)
    lab.come_to_rest()
    seen(lab, "prepended")
    lab.kill("controller")
    lab.restart("controller")
    lab.wait(lab.controller_api.is_listening, "a controller")
    lab.wait(lab.controller_api.is_ready, "it to be ready")
    lab.come_to_rest()
    seen(lab, "by another controller")
    try:
        lab.control.city_steer("LON", "JFK")
    except (TrialError, RefusedError) as error:
        print(json.dumps({"when": "refused", "error": str(error)}))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """What the program says of the lab, by when it was."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "network.json").write_text(dump_json(four_networks()))
    found: list[dict[str, Any]] = []
    box = Guest(root=ROOT)
    code = box.run(
        [box.python, "-c", PROGRAM], folder, told=lambda x: found.append(json.loads(x)), log="log"
    )
    assert code == 0, (folder / "log").read_text()[-4000:]
    return {one["when"]: one for one in found}


PLAN = plan(four_networks())
AS_IT_BEGINS = World(PLAN)
MODELS = {
    "as it begins": (AS_IT_BEGINS, ("LHR", "JFK")),
    "withdrawn": (AS_IT_BEGINS, ("JFK",)),
    "prepended": (AS_IT_BEGINS.after(PrependSet("LHR", 5)), ("LHR", "JFK")),
    "by another controller": (AS_IT_BEGINS.after(PrependSet("LHR", 5)), ("LHR", "JFK")),
}


@pytest.mark.parametrize("when", MODELS)
def test_all_name_the_same_pop(told: Mapping[str, Any], when: str) -> None:
    world, pops = MODELS[when]
    model = BgpOracle(world)
    expected = model.catchments(pops)
    assert told[when]["spoken"] == expected
    assert told[when]["served"] == {city: [pop] for city, pop in expected.items()}
    assert told[when]["kernel"] == {
        city: _interface(model, city, pop) for city, pop in expected.items() if pop is not None
    }


def _interface(model: BgpOracle, city: str, pop: str) -> str:
    """By which a router sends what is for a PoP's clients, by the model's way to a server there."""
    router, server = PLAN.transit(city).name, PLAN.servers_of(pop)[0].name
    following = model.way(router, server)[1]
    return PLAN.link_between(router, following).near(router).interface


def test_the_way_of_a_packet_is_told_through_routers_and_switches(told: Mapping[str, Any]) -> None:
    way = told["explained"]["way"]
    assert [hop["switch"] for hop in way["there"]] == ["tARN", "tLHR", "eLHR"]
    assert way["there"][0]["rules"][0]["duty"] == "198.51.100.1 by bgp"
    assert way["there"][2]["in_port"] == PLAN.link_between("eLHR", "tLHR").near("eLHR").port
    (server,) = way["ends"]["hosts"]
    assert server in {host.name for host in PLAN.servers_of("LHR")}
    assert [hop["switch"] for hop in way["back"]] == ["eLHR", "tLHR", "tARN"]
    assert way["back"][1]["rules"][0]["duty"] == "10.4.0.0/16 by bgp"
    assert way["answer_ends"] == {"hosts": ["ARN-c1"], "why": "delivered"}
    assert told["lost"]["way"]["ends"] == {"hosts": [], "why": "dropped at tARN: no route"}


def test_a_speaker_says_in_its_own_words_why(told: Mapping[str, Any]) -> None:
    first, *others = told["explained"]["why"]["spoken"]
    assert (first["pop"], first["path"], first["best"]) == ("LHR", ["LHR", "(us)"], True)
    assert first["why"]
    assert [(x["pop"], x["path"], x["best"]) for x in others] == [
        ("LHR", ["LON", "LHR", "(us)"], False)
    ]


def test_the_three_states_are_not_one() -> None:
    """Else the tests above would show little."""
    found = [tuple(BgpOracle(world).catchments(pops).values()) for world, pops in MODELS.values()]
    assert len(set(found)) == 3


def test_nobody_steers_routers_by_hand(told: Mapping[str, Any]) -> None:
    assert "nobody steers its cities by hand" in told["refused"]["error"]


@pytest.mark.slow
def test_who_watch_each_other_miss_a_silent_pop_at_once(tmp_path: Path) -> None:
    """By BFD, beside the same pace without."""
    params = {"mrai_s": (0,), "bfd_ms": 100}
    result = virtual_run("convergence", tmp_path, params=params)
    assert [check for check in result.checks if not check.passed] == []
    away_ms = {
        arm: result.metrics[f"mrai_0_s{arm}_uplink_silent_away_max"].value for arm in ("", "_bfd")
    }
    assert away_ms["_bfd"] < 1000 < 3000 < away_ms[""]


@pytest.mark.parametrize("study", ["borrowing", "urpf"])
def test_lending_holds_over_bgp_too(study: str, tmp_path: Path) -> None:
    result = run(study, four_networks(), quick=True, clock="virtual", root=ROOT, results=tmp_path)
    assert [check for check in result.checks if not check.passed] == []
