"""netem on a kernel that has it: what we ask for, what ``tc`` makes of it, what frames suffer.

Hosts seldom have it; the guest of virtual time does: ``make test-netem`` runs this file there.
"""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.links.bench import Namespace, Tap, ip, numbers, wait_for
from tests.links.test_impairments import assert_rate
from topologies.emulation.links import End, Impairment, LinkAttachment, LinkEnds, LinkError, netem
from topologies.emulation.links.netem import Netem

MS = 1_000_000
LINK = 7


@pytest.fixture(scope="module")
def sides() -> Iterator[tuple[Namespace, Namespace]]:
    """Two namespaces joined by a cable."""
    if cause := netem.problem():
        pytest.skip(cause)
    a, b = Namespace("na"), Namespace("nb")
    ip(f"link add name out netns {a.name} type veth peer name out netns {b.name}")
    for side in (a, b):
        ip("link set out up", netns=side.name)
    for side in (a, b):
        wait_for(lambda s=side: s.is_up("out"), f"the cable in {side.name} to be up")
    yield a, b
    a.close()
    b.close()


class Cable:
    """A link under netem, and sockets on both ends."""

    def __init__(self, sides: tuple[Namespace, Namespace]) -> None:
        self.a, self.b = sides
        self.line = Netem()
        self.taps: list[Tap] = []

    def start(
        self, a_to_b: Impairment, b_to_a: Impairment | None = None, seed: int = 1
    ) -> tuple[Tap, Tap]:
        self.line.close()
        ends = LinkEnds(End(self.a.path, "out"), End(self.b.path, "out"))
        self.line.attach(LinkAttachment(LINK, ends, a_to_b, b_to_a or Impairment(), seed))
        taps = self.a.run(Tap, "out"), self.b.run(Tap, "out")
        self.taps += taps
        return taps

    def shown(self) -> dict[str, Any]:
        """What ``tc`` says of the sending side."""
        command = ["tc", "-netns", self.a.name, "-j", "qdisc", "show", "dev", "out"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        (qdisc,) = json.loads(done.stdout)
        assert qdisc["kind"] == "netem"
        return dict(qdisc["options"])

    def close(self) -> None:
        self.line.close()
        for tap in self.taps:
            tap.close()


@pytest.fixture
def cable(sides: tuple[Namespace, Namespace]) -> Iterator[Cable]:
    made = Cable(sides)
    yield made
    made.close()


pytestmark = [pytest.mark.net, pytest.mark.alone, pytest.mark.netem]


def flood(cable: Cable, impairment: Impairment, count: int, seed: int = 1) -> list[int]:
    sender, receiver = cable.start(impairment, seed=seed)
    found: list[int] = []
    for start in range(0, count, 500):
        sender.send_numbers(min(500, count - start), start=start)
        found += numbers(receiver.receive(2000, timeout_s=0.05, quiet_s=0.0))
    return found + numbers(receiver.receive(2 * count, timeout_s=0.5, quiet_s=0.2))


def test_tc_reads_what_was_asked_for(cable: Cable) -> None:
    cable.start(
        Impairment(
            delay_ns=12_345_678,
            jitter_ns=MS,
            loss=0.01,
            duplicate=0.02,
            reorder=0.25,
            corrupt=0.001,
            rate_bit_s=10_000_000,
            limit_packets=1030,
        )
    )
    shown = cable.shown()
    assert shown["limit"] == 1030 + 12
    assert shown["delay"]["delay"] == pytest.approx(0.012345, abs=1e-6)
    assert shown["delay"]["jitter"] == pytest.approx(0.001, abs=1e-6)
    assert shown["loss-random"]["loss"] == pytest.approx(0.01)
    assert shown["duplicate"]["duplicate"] == pytest.approx(0.02)
    assert shown["reorder"]["reorder"] == pytest.approx(0.25)
    assert shown["corrupt"]["corrupt"] == pytest.approx(0.001)
    assert shown["rate"]["rate"] == 1_250_000


def test_tc_reads_bursts_of_loss(cable: Cable) -> None:
    cable.start(Impairment(gemodel=(0.01, 0.3, 0.9, 0.05)))
    shown = cable.shown()["loss-gemodel"]
    assert shown == pytest.approx({"p": 0.01, "r": 0.3, "1-h": 0.9, "1-k": 0.05}, rel=1e-4)


@pytest.mark.parametrize(
    "impairment",
    [
        Impairment(),
        Impairment(delay_ns=10_977_123),
        Impairment(reorder=0.5),
        Impairment(jitter_ns=MS),
        Impairment(jitter_ns=MS, jitter_distribution="normal"),
        Impairment(gemodel=(0.013, 1 / 3, 0.9, 1e-6)),
        Impairment(delay_ns=5 * MS, rate_bit_s=10**12, limit_packets=50),
        Impairment(blackhole=True),
    ],
)
def test_every_word_is_read_back(cable: Cable, impairment: Impairment) -> None:
    cable.start(Impairment(delay_ns=MS, loss=0.5, rate_bit_s=10**11, duplicate=0.1))
    cable.line.set(LINK, a_to_b=impairment)
    assert cable.line.read(LINK) == (impairment, Impairment())
    cable.line.check()


@pytest.mark.parametrize("delay_ns", [MS, 7_654_321, 100 * MS])
def test_delay_is_kept(cable: Cable, delay_ns: int) -> None:
    sender, receiver = cable.start(Impairment(delay_ns=delay_ns))
    errors = []
    for number in range(30):
        sent = sender.send_numbers(1, start=number)[0]
        errors.append(receiver.receive(1)[0].time_ns - sent - delay_ns)
    assert min(errors) >= 0
    assert statistics.median(errors) < MS


def test_order_is_kept_in_spite_of_jitter(cable: Cable) -> None:
    found = flood(cable, Impairment(delay_ns=5 * MS, jitter_ns=4 * MS), 2000)
    assert found == list(range(2000))


def test_jitter_may_reorder(cable: Cable) -> None:
    jitter = Impairment(delay_ns=20 * MS, jitter_ns=15 * MS, reorder_jitter=True)
    found = flood(cable, jitter, 2000)
    assert sorted(found) == list(range(2000))
    assert found != sorted(found)


@pytest.mark.parametrize("distribution", ["uniform", "normal"])
def test_jitter_has_its_spread(cable: Cable, distribution: Any) -> None:
    count, delay_ms, jitter_ms = 1500, 100, 10
    sender, receiver = cable.start(
        Impairment(
            delay_ns=delay_ms * MS,
            jitter_ns=jitter_ms * MS,
            jitter_distribution=distribution,
            reorder_jitter=True,
        )
    )
    sent = sender.send_numbers(count)
    taken = [
        (arrival.time_ns - sent[number]) / MS
        for arrival in receiver.receive(count)
        for number in numbers([arrival])
    ]
    assert len(taken) == count
    low, middle, high = statistics.quantiles(taken)
    wanted = {"uniform": jitter_ms, "normal": 1.349 * jitter_ms}[distribution]
    assert middle == pytest.approx(delay_ms, abs=2)
    assert high - low == pytest.approx(wanted, rel=0.15)


def test_loss_and_duplicates_have_their_rates(cable: Cable) -> None:
    assert_rate(4000 - len(flood(cable, Impairment(loss=0.05), 4000)), 4000, 0.05)
    assert_rate(len(flood(cable, Impairment(duplicate=0.1), 4000)) - 4000, 4000, 0.1)


def test_equal_seeds_lose_equal_packets(cable: Cable) -> None:
    lossy = Impairment(loss=0.2)
    first, again = flood(cable, lossy, 1000, seed=7), flood(cable, lossy, 1000, seed=7)
    assert first == again
    assert first != flood(cable, lossy, 1000, seed=8)


def test_rate_paces_packets(cable: Cable) -> None:
    count, size, rate = 300, 1400, 20_000_000
    sender, receiver = cable.start(Impairment(rate_bit_s=rate, limit_packets=1000))
    sent = sender.send_numbers(count, size)
    arrivals = receiver.receive(count)
    assert numbers(arrivals) == list(range(count))
    taken_s = (arrivals[-1].time_ns - sent[0]) / 1e9
    assert taken_s == pytest.approx(count * size * 8 / rate, rel=0.05)


def test_blackhole_eats_everything_and_lets_go(cable: Cable) -> None:
    sender, receiver = cable.start(Impairment(blackhole=True))
    sender.send_numbers(100)
    assert receiver.receive(1, timeout_s=0.1) == []
    assert cable.line.stats()[LINK][0].drops == {"netem": 100}
    cable.line.set(LINK, a_to_b=Impairment())
    sender.send_numbers(1, start=500)
    assert numbers(receiver.receive(1)) == [500]


def test_a_qdisc_that_is_gone_is_noticed(cable: Cable) -> None:
    cable.start(Impairment(delay_ns=MS))
    subprocess.run(["tc", "-netns", cable.a.name, "qdisc", "del", "dev", "out", "root"], check=True)
    with pytest.raises(LinkError, match=r"link 7 .* a to b: wanted .* got no netem"):
        cable.line.check()
