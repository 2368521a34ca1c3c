"""The netem backend against a stand-in for tc that keeps what it is told, as the kernel would."""

from __future__ import annotations

import json
from typing import Any

import pytest

from topologies.emulation.links import End, Impairment, LinkAttachment, LinkEnds, LinkError, netem
from topologies.emulation.links.netem import Discipline, Netem

MS = 1_000_000

# What `tc -j qdisc show` prints by its source (iproute2 6.1); numbers rounded as it does.
SHOWN = """
[{"kind":"noqueue","handle":"0:","dev":"lo","root":true,"refcnt":2,"options":{}},
 {"kind":"netem","handle":"1:","dev":"eth0","root":true,"refcnt":2,"options":{"limit":1042,
  "delay":{"delay":0.0123457,"jitter":0.001,"correlation":0},
  "loss-random":{"loss":0.01,"correlation":0},
  "duplicate":{"duplicate":0.02,"correlation":0},
  "reorder":{"reorder":0.25,"correlation":0},
  "corrupt":{"corrupt":0.001,"correlation":0},
  "rate":{"rate":1250000,"packetoverhead":0,"cellsize":0,"celloverhead":0},
  "ecn":false,"gap":1}}]
"""


class Kernel:
    """Does `tc -batch` and `tc -j qdisc show`; with netem's habit of keeping what is not named."""

    def __init__(self) -> None:
        self.qdiscs: dict[tuple[str | None, str], dict[str, Any]] = {}
        self.runs: list[tuple[str | None, list[str], str]] = []

    def __call__(self, netns: str | None, argv: list[str], text: str) -> str:
        self.runs.append((netns, argv, text))
        if argv[:2] == ["tc", "-batch"]:
            for line in text.splitlines():
                self._replace(netns, line.split())
        elif argv[:3] == ["tc", "qdisc", "del"]:
            if self.qdiscs.pop((netns, argv[4]), None) is None:
                raise LinkError("tc: no such qdisc")
        elif argv[:2] == ["tc", "-s"]:
            return json.dumps(
                [
                    {"kind": "netem", "dev": dev, "root": True, "options": options, "packets": 3}
                    for (where, dev), options in self.qdiscs.items()
                    if where == netns
                ]
            )
        return ""

    def _replace(self, netns: str | None, words: list[str]) -> None:
        assert words[:3] == ["qdisc", "replace", "dev"]
        assert words[4:8] == ["root", "handle", "1:", "netem"]
        options = self.qdiscs.setdefault((netns, words[3]), {})
        rest = iter(words[8:])
        for key in rest:
            value = next(rest)
            if key == "limit":
                options["limit"] = int(value)
            elif key == "delay":
                options["delay"] = {"delay": _seconds(value), "jitter": _seconds(next(rest))}
            elif key == "loss" and value == "gemodel":
                parts = {name: _fraction(next(rest)) for name in ("p", "r", "1-h", "1-k")}
                options["loss-gemodel"] = parts
                options.pop("loss-random", None)
            elif key == "loss":
                options["loss-random"] = {"loss": _fraction(next(rest))}
                options.pop("loss-gemodel", None)
            elif key in ("duplicate", "reorder", "corrupt"):
                options[key] = {key: _fraction(value)}
            elif key == "rate":
                options["rate"] = {"rate": int(value.removesuffix("bit")) // 8}
            elif key in ("distribution", "seed"):
                options[key] = value
            else:
                raise AssertionError(f"tc knows no {key}")


def _seconds(word: str) -> float:
    return float(f"{float(word.removesuffix('us')) / 1e6:g}")


def _fraction(word: str) -> float:
    return float(f"{round(float(word.removesuffix('%')) / 100 * 0xFFFFFFFF) / 0xFFFFFFFF:g}")


def link(a_to_b: Impairment, b_to_a: Impairment | None = None, number: int = 1) -> LinkAttachment:
    ends = LinkEnds(End("/run/netns/h1", f"eth{number}"), End(None, f"s1-eth{number}"))
    return LinkAttachment(number, ends, a_to_b, b_to_a or Impairment(), seed=5)


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


@pytest.fixture
def backend(kernel: Kernel) -> Netem:
    return Netem(kernel, seeded=False)


def test_what_tc_shows_is_understood() -> None:
    found = Discipline.parse(json.loads(SHOWN)[1])
    assert found == Discipline(
        1042, 0.0123457, 0.001, 0.01, None, 0.02, 0.25, 0.001, bytes_s=1_250_000
    )
    wanted = Impairment(
        delay_ns=12_345_678,
        jitter_ns=MS,
        loss=0.01,
        duplicate=0.02,
        reorder=0.25,
        corrupt=0.001,
        rate_bit_s=10_000_000,
        limit_packets=1030,
    )
    assert Discipline.of(wanted).matches(found)
    assert not Discipline.of(Impairment(delay_ns=12_345_678)).matches(found)


def test_commands_are_what_tc_wants() -> None:
    words = " ".join(Discipline.of(Impairment(delay_ns=10 * MS, loss=0.001)).words())
    assert words == (
        "limit 1000000 delay 10000.000us 0.000us loss random 0.1% "
        "duplicate 0% reorder 0% corrupt 0% rate 0bit"
    )
    bursts = Discipline.of(Impairment(gemodel=(0.01, 0.3, 1.0, 0.0))).words()
    assert "loss gemodel 1% 30% 100% 0%" in " ".join(bursts)


@pytest.mark.parametrize(
    "impairment",
    [
        Impairment(),
        Impairment(delay_ns=1),
        Impairment(delay_ns=40 * MS, jitter_ns=3 * MS, reorder_jitter=True),
        Impairment(delay_ns=40 * MS, jitter_ns=3 * MS, jitter_distribution="normal"),
        Impairment(gemodel=(0.013, 1 / 3, 0.9, 1e-6)),
        Impairment(delay_ns=7_654_321, loss=1 / 7, duplicate=0.1, corrupt=0.2, reorder=0.3),
        Impairment(delay_ns=5 * MS, rate_bit_s=1_000_000_000, limit_packets=50),
        Impairment(blackhole=True),
    ],
)
def test_every_word_is_read_back(backend: Netem, impairment: Impairment) -> None:
    backend.attach(link(impairment))
    assert backend.read(1) == (impairment, Impairment())
    backend.set(1, a_to_b=Impairment(), b_to_a=impairment)
    assert backend.read(1) == (Impairment(), impairment)
    backend.check()


def test_namespaces_need_one_tc_each(backend: Netem, kernel: Kernel) -> None:
    backend.attach_many(link(Impairment(delay_ns=MS), number=n) for n in range(100))
    batches = [(netns, text) for netns, argv, text in kernel.runs if "-batch" in argv]
    assert [netns for netns, _ in batches] == ["/run/netns/h1", None]
    assert all(text.count("\n") == 100 for _, text in batches)


def test_a_setting_that_did_not_take_is_an_error(backend: Netem, kernel: Kernel) -> None:
    backend.attach(link(Impairment(delay_ns=MS)))
    kernel.qdiscs[None, "s1-eth1"]["delay"]["delay"] = 0.005
    with pytest.raises(
        LinkError, match=r"link 1 \(eth1 - s1-eth1\), b to a: wanted .*0\.0.* got .*0\.005"
    ):
        backend.read(1)
    del kernel.qdiscs[None, "s1-eth1"]
    with pytest.raises(LinkError, match="got no netem"):
        backend.check()
    assert not backend.alive()


@pytest.mark.parametrize(
    ("impairment", "why"),
    [
        (Impairment(trace=(1, 2)), "cannot follow a packet-delivery trace"),
        (
            Impairment(delay_ns=1, jitter_ns=1, reorder_jitter=True, rate_bit_s=10**6),
            "keeps packets in order",
        ),
    ],
)
def test_what_netem_cannot_do_is_told(backend: Netem, impairment: Impairment, why: str) -> None:
    with pytest.raises(LinkError, match=rf"link 1 \(eth1 - s1-eth1\), a to b: .*{why}"):
        backend.attach(link(impairment))
    with pytest.raises(LinkError, match="no link 1"):
        backend.read(1)


def test_queue_limit_leaves_room_for_packets_in_flight() -> None:
    # 100 Mbit/s for 40 ms: 500 kB, 331 frames
    wanted = Impairment(delay_ns=40 * MS, rate_bit_s=100_000_000, limit_packets=20)
    assert Discipline.of(wanted).limit == 331 + 20
    assert Discipline.of(Impairment(limit_packets=20)).limit == 20


def test_normal_jitter_is_taken_off_by_starting_anew(backend: Netem, kernel: Kernel) -> None:
    jitter = Impairment(delay_ns=9 * MS, jitter_ns=MS, jitter_distribution="normal")
    backend.attach(link(jitter))
    backend.set(1, a_to_b=Impairment(delay_ns=9 * MS, jitter_ns=MS))
    assert "distribution" not in kernel.qdiscs["/run/netns/h1", "eth1"]


def test_seeds_differ_by_link_and_direction(kernel: Kernel) -> None:
    backend = Netem(kernel, seeded=True)
    backend.attach_many([link(Impairment(), number=1), link(Impairment(), number=2)])
    assert len({options["seed"] for options in kernel.qdiscs.values()}) == 4


def test_counters_and_carrier(backend: Netem, kernel: Kernel) -> None:
    backend.attach(link(Impairment()))
    assert [way.packets for way in backend.stats()[1]] == [3, 3]
    backend.reset_stats()
    assert [way.packets for way in backend.stats()[1]] == [0, 0]
    backend.carrier(1, False)
    assert kernel.runs[-1][:2] == (None, ["ip", "link", "set", "dev", "s1-eth1", "down"])
    backend.detach(1)
    assert not kernel.qdiscs
    backend.close()
    backend.close()


@pytest.mark.net
def test_netem_is_tried_for_real() -> None:
    """Here or elsewhere: there is either no problem, or one in tc's own words."""
    problem = netem.problem()
    assert problem is None or "netem" in problem


@pytest.mark.net
def test_a_command_that_fails_is_told() -> None:
    with pytest.raises(LinkError, match=r"`tc qdisc show dev nosuch` failed: .*nosuch"):
        netem._run(None, ["tc", "qdisc", "show", "dev", "nosuch"], "")
    with pytest.raises(LinkError, match="failed"):
        netem._run(None, ["tc", "-batch", "-"], "qdisc add dev nosuch root netem\n")
    with pytest.raises(LinkError, match="no-such-program is not installed"):
        netem._run(None, ["no-such-program"], "")
