"""The netem backend against a stand-in for the kernel that keeps what it is told, as netem would.

``test_netem_kernel`` asks a real kernel, and the real ``tc`` what it makes of it.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable, Mapping, Sequence

import pytest
from hypothesis import given
from pyroute2.netlink.rtnl.tcmsg import tcmsg

from tests.links.strategies import for_netem
from topologies.emulation import rtnetlink
from topologies.emulation.links import End, Impairment, LinkAttachment, LinkEnds, LinkError, netem
from topologies.emulation.links.discipline import ALWAYS, Discipline
from topologies.emulation.links.netem import Netem
from topologies.emulation.rtnetlink import Netlink, Qdisc, Request, attributes

MS = 1_000_000
DISTRIBUTION, SEED = 2, 14
HEAD = struct.Struct("=BxxxiIII")

Key = tuple[str | None, int]


class Kernel:
    """Takes queueing disciplines; with netem's habit of keeping what a change does not name."""

    def __init__(self) -> None:
        self.qdiscs: dict[Key, dict[int, bytes]] = {}
        self.fixed: dict[Key, bytes] = {}
        self.sent: list[tuple[str | None, list[Request]]] = []

    def indices(self, where: str | None) -> Mapping[str, int]:
        prefix = "eth" if where else "s1-eth"
        return {"lo": 1} | {f"{prefix}{n}": n + 10 for n in range(200)}

    def send(self, where: str | None, requests: Iterable[Request]) -> None:
        batch = list(requests)
        self.sent.append((where, batch))
        for request in batch:
            if request.kind not in (36, 37):
                continue
            _, index, _, parent, _ = HEAD.unpack_from(request.body)
            assert parent == 0xFFFFFFFF
            if request.kind == 37:
                if self.qdiscs.pop((where, index), None) is None:
                    raise OSError(errno.ENOENT, "no such qdisc")
                continue
            found = attributes(request.body[HEAD.size :])
            assert found[1] == b"netem\0"
            fixed, named = found[2][:24], attributes(found[2][24:])
            kept = self.qdiscs.setdefault((where, index), {})
            kept.pop(5, None)  # a loss model goes when none is named
            kept.update(named)
            self.fixed[where, index] = fixed

    def qdiscs_of(self, where: str | None) -> Sequence[Qdisc]:
        return [
            Qdisc(index, "netem", True, self.options(place, index), 300, 3)
            for place, index in self.qdiscs
            if place == where
        ]

    def options(self, where: str | None, index: int) -> bytes:
        named = self.qdiscs[where, index]
        rest = (rtnetlink.attribute(kind, data) for kind, data in named.items())
        return self.fixed[where, index] + b"".join(rest)


class Seam:
    """The stand-in behind the backend's own protocol."""

    def __init__(self, kernel: Kernel) -> None:
        self.indices, self.send, self.qdiscs = kernel.indices, kernel.send, kernel.qdiscs_of


def link(a_to_b: Impairment, b_to_a: Impairment | None = None, number: int = 1) -> LinkAttachment:
    ends = LinkEnds(End("/run/netns/h1", f"eth{number}"), End(None, f"s1-eth{number}"))
    return LinkAttachment(number, ends, a_to_b, b_to_a or Impairment(), seed=5)


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


@pytest.fixture
def backend(kernel: Kernel) -> Netem:
    return Netem(Seam(kernel))


@given(for_netem)
def test_every_option_comes_back_exactly(impairment: Impairment) -> None:
    wanted = Discipline.of(impairment)
    assert Discipline.decode(wanted.encode()) == wanted


def test_more_packets_in_flight_than_netem_can_count_are_all_that_it_can() -> None:
    far = Impairment(jitter_ns=228_080_318_671, rate_bit_s=228_080_318_671)
    assert Discipline.of(far).limit == 2**32 - 1


def test_options_are_what_others_read() -> None:
    wanted = Impairment(
        delay_ns=12_345_678,
        jitter_ns=MS,
        gemodel=(0.25, 0.5, 1.0, 0.0),
        duplicate=0.5,
        reorder=0.25,
        corrupt=1.0,
        rate_bit_s=10_000_000,
        limit_packets=1030,
    )
    options = Discipline.of(wanted).encode(seed=7)
    request = rtnetlink.root_qdisc(5, "netem", options, "")
    head = struct.pack("=IHHII", 16 + len(request.body), request.kind, 0, 1, 0)
    message = tcmsg(head + request.body)
    message.decode()
    assert (message["index"], message["parent"], message["handle"]) == (5, 0xFFFFFFFF, 0x10000)
    assert message.get_attr("TCA_KIND") == "netem"
    read = message.get_attr("TCA_OPTIONS")
    assert (read["limit"], read["gap"]) == (1030 + 12, 1)
    assert read["duplicate"] == pytest.approx(ALWAYS / 2, abs=1)
    assert read.get_attr("TCA_NETEM_REORDER")["prob_reorder"] == pytest.approx(ALWAYS / 4, abs=1)
    assert read.get_attr("TCA_NETEM_CORRUPT")["prob_corrupt"] == ALWAYS
    assert read.get_attr("TCA_NETEM_RATE")["rate"] == 1_250_000


@pytest.mark.parametrize(
    "impairment",
    [
        Impairment(),
        Impairment(delay_ns=1),
        Impairment(delay_ns=10_977_123),
        Impairment(delay_ns=40 * MS, jitter_ns=3 * MS, reorder_jitter=True),
        Impairment(delay_ns=40 * MS, jitter_ns=3 * MS, jitter_distribution="normal"),
        Impairment(jitter_ns=3 * MS),
        Impairment(gemodel=(0.013, 1 / 3, 0.9, 1e-6)),
        Impairment(delay_ns=7_654_321, loss=1 / 7, duplicate=0.1, corrupt=0.2, reorder=0.3),
        Impairment(delay_ns=5 * MS, rate_bit_s=1_000_000_000, limit_packets=50),
        Impairment(rate_bit_s=10**12),
        Impairment(blackhole=True),
    ],
)
def test_every_word_is_read_back(backend: Netem, impairment: Impairment) -> None:
    backend.attach(link(impairment))
    assert backend.read(1) == (impairment, Impairment())
    backend.set(1, a_to_b=Impairment(), b_to_a=impairment)
    assert backend.read(1) == (Impairment(), impairment)
    backend.check()


def test_a_namespace_is_asked_once_for_all(backend: Netem, kernel: Kernel) -> None:
    backend.attach_many(link(Impairment(delay_ns=MS), number=n) for n in range(100))
    assert [(where, len(batch)) for where, batch in kernel.sent] == [
        ("/run/netns/h1", 100),
        (None, 100),
    ]
    assert len(backend.read_many(range(100))) == 100


def test_an_interface_that_is_not_there_is_named(backend: Netem, kernel: Kernel) -> None:
    with pytest.raises(LinkError, match=r"link 999 .* a to b: there is no eth999"):
        backend.attach(link(Impairment(), number=999))
    assert not kernel.qdiscs


def test_a_setting_that_did_not_take_is_an_error(backend: Netem, kernel: Kernel) -> None:
    backend.attach(link(Impairment(delay_ns=MS)))
    kernel.qdiscs[None, 11][10] = struct.pack("=q", 5 * MS)
    with pytest.raises(
        LinkError,
        match=r"link 1 \(eth1 - s1-eth1\), b to a: wanted .*ns=0.* got .*delay_ns=5000000",
    ):
        backend.read(1)
    del kernel.qdiscs[None, 11]
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
    assert DISTRIBUTION in kernel.qdiscs["/run/netns/h1", 11]
    backend.set(1, a_to_b=Impairment(delay_ns=9 * MS, jitter_ns=MS))
    assert DISTRIBUTION not in kernel.qdiscs["/run/netns/h1", 11]


def test_seeds_differ_by_link_and_direction(backend: Netem, kernel: Kernel) -> None:
    backend.attach_many([link(Impairment(), number=1), link(Impairment(), number=2)])
    assert len({named[SEED] for named in kernel.qdiscs.values()}) == 4


def test_counters_and_carrier(backend: Netem, kernel: Kernel) -> None:
    backend.attach(link(Impairment()))
    assert [way.packets for way in backend.stats()[1]] == [3, 3]
    backend.reset_stats()
    assert [way.packets for way in backend.stats()[1]] == [0, 0]
    backend.carrier(1, False)
    assert [(where, batch[0].what) for where, batch in kernel.sent[-2:]] == [
        ("/run/netns/h1", "eth1 down"),
        (None, "s1-eth1 down"),
    ]
    backend.detach(1)
    assert not kernel.qdiscs
    backend.close()
    backend.close()


@pytest.mark.net
def test_netem_is_tried_for_real() -> None:
    """Here or elsewhere: there is either no problem, or one with its cause."""
    problem = netem.problem()
    assert problem is None or "this kernel has no netem (sch_netem): " in problem


@pytest.mark.net
def test_a_refusal_is_told_with_its_cause() -> None:
    options = Discipline.of(Impairment()).encode()
    with Netlink() as here, pytest.raises(OSError, match="netem on nothing: .*"):
        here.send([rtnetlink.root_qdisc(999_999, "netem", options, "netem on nothing")])
    assert any(qdisc.kind == "noqueue" for qdisc in Netlink().qdiscs())
