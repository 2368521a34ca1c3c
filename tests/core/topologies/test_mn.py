import pytest

from topologies import mn, sources
from topologies.model import Line
from topologies.plan import plan


@pytest.fixture(params=[True, False], ids=["netem", "no netem"])
def netem(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(mn, "has_netem", lambda: request.param)
    return bool(request.param)


def test_the_mininet_topology_is_the_plan(netem: bool) -> None:
    topo = mn.topos["pops"]("triangle")
    expected = plan(sources.load("triangle"))
    assert set(topo.switches()) == {switch.name for switch in expected.switches}
    assert set(topo.hosts()) == {host.name for host in expected.hosts}
    for switch in expected.switches:
        assert int(topo.nodeInfo(switch.name)["dpid"], 16) == switch.dpid
    for host in expected.hosts:
        info = topo.nodeInfo(host.name)
        assert (info["ip"], info["mac"]) == (f"{host.address}/32", host.mac)
    for link in expected.links:
        info = topo.linkInfo(link.a.node, link.b.node)
        ports = {info["node1"]: info["port1"], info["node2"]: info["port2"]}
        assert ports == {link.a.node: link.a.port or 0, link.b.node: link.b.port or 0}
        assert info.get("delay") == (f"{link.line.delay_ns / 1000:g}us" if netem else None)
        assert info["cls"] is (mn.TCLink if netem else mn.Link)


def test_pops_can_be_chosen(netem: bool) -> None:
    assert {"eFRA", "eMAD"} == {
        s for s in mn.PopsTopo("europe", "FRA+MAD").switches() if s[0] == "e"
    }
    assert len(mn.PopsTopo("topozoo/Abilene", 4).switches()) == 11 + 4


def test_a_line_in_the_terms_of_mininet() -> None:
    line = Line(1_500_000, 1000, 0.01, 10**8, 100)
    assert mn.tc_options(line) == {
        "delay": "1500us", "jitter": "1us", "loss": 1.0, "bw": 100.0, "max_queue_size": 100,
    }  # fmt: skip
