"""Each impairment against its configured value, with the chance of a false alarm under 0.1 %.

Loss and its like are seeded, so their tests give the same answer on every run; timings are held
against bounds that a busy machine keeps.
"""

from __future__ import annotations

import math
import statistics
from itertools import groupby, pairwise

import pytest
from scipy.stats import binom

from tests.links.bench import HEADER, Bench, numbers, wait_for
from topologies.emulation.links import Impairment

pytestmark = [pytest.mark.net, pytest.mark.alone]

MS = 1_000_000
ETH_P_ALL = 3
EARLIEST = 250_000  # ns; the most that the daemon anticipates


def assert_rate(hits: int, count: int, probability: float) -> None:
    low, high = binom.interval(0.999, count, probability)
    assert low <= hits <= high, f"{hits} of {count}, wanted {low:g} to {high:g}"


def flood(bench: Bench, impairment: Impairment, count: int, seed: int = 1) -> list[int]:
    """Send numbered frames from a to b; the numbers that arrive, in order of arrival."""
    line = bench.start(impairment, seed=seed)
    sender, receiver = bench.tap("a"), bench.tap("b")
    found: list[int] = []
    for start in range(0, count, 1000):
        sender.send_numbers(min(1000, count - start), start=start)
        found += numbers(receiver.receive(5000, timeout_s=0.05, quiet_s=0.0))
    wait_for(lambda: line.stats()[bench.LINK][0].held == 0, "the link to drain")
    found += numbers(receiver.receive(2 * count, timeout_s=1.0, quiet_s=0.2))
    return found


@pytest.mark.parametrize("anticipates", [False, True])
def test_delay_is_seldom_long_and_hardly_short(bench: Bench, anticipates: bool) -> None:
    line = bench.start(Impairment(delay_ns=25 * MS))
    line.anticipates = anticipates
    sender, receiver = bench.tap("a"), bench.tap("b")
    errors = []
    for number in range(40):
        sent = sender.send_numbers(1, start=number)[0]
        errors.append(receiver.receive(1)[0].time_ns - sent - 25 * MS)
    assert min(errors) >= (-EARLIEST if anticipates else 0)
    assert statistics.median(errors) < 2 * MS


def test_order_is_kept(bench: Bench) -> None:
    found = flood(bench, Impairment(delay_ns=5 * MS), 8000)
    assert found == list(range(8000))


def test_loss_has_its_rate_and_is_told(bench: Bench) -> None:
    found = flood(bench, Impairment(delay_ns=MS, loss=0.05), 10_000)
    assert_rate(10_000 - len(found), 10_000, 0.05)
    counted = bench.lines[-1].stats()[bench.LINK][0]
    assert counted.drops["loss"] == 10_000 - len(found)
    assert counted.packets == len(found)


def test_equal_seeds_lose_equal_packets(bench: Bench) -> None:
    lossy = Impairment(loss=0.2)
    first, again = flood(bench, lossy, 2000, seed=7), flood(bench, lossy, 2000, seed=7)
    other = flood(bench, lossy, 2000, seed=8)
    assert first == again
    assert first != other


def test_other_impairments_do_not_change_what_is_lost(bench: Bench) -> None:
    alone = flood(bench, Impairment(loss=0.2), 2000)
    also = Impairment(loss=0.2, delay_ns=2 * MS, jitter_ns=MS, reorder_jitter=True)
    assert sorted(flood(bench, also, 2000)) == alone


def test_gilbert_elliott_loses_in_bursts(bench: Bench) -> None:
    p, r, count = 0.02, 0.25, 10_000
    arrived = set(flood(bench, Impairment(gemodel=(p, r, 1.0, 0.0)), count))
    lost = [number not in arrived for number in range(count)]
    bursts = [len(list(run)) for is_lost, run in groupby(lost) if is_lost]
    # a burst is geometric with mean 1/r and standard deviation sqrt(1-r)/r
    spread = math.sqrt(1 - r) / r / math.sqrt(len(bursts))
    assert abs(statistics.mean(bursts) - 1 / r) < 3.3 * spread
    # bursts start at each of the packets in the good state with p
    assert_rate(len(bursts), count - sum(lost), p)


def test_gilbert_elliott_with_partial_loss(bench: Bench) -> None:
    p, r, in_bad, in_good, count = 0.1, 0.1, 0.5, 0.01, 10_000
    found = flood(bench, Impairment(gemodel=(p, r, in_bad, in_good)), count)
    wanted = (in_bad + in_good) / 2  # the states are equally likely
    # packets of one sojourn share a fate: as many independent ones as there are sojourns
    spread = math.sqrt(0.25 * in_bad**2 / (count * p / 2) + wanted / count)
    assert abs(1 - len(found) / count - wanted) < 3.3 * spread


def test_duplicates_arrive_twice(bench: Bench) -> None:
    found = flood(bench, Impairment(duplicate=0.1), 5000)
    assert set(found) == set(range(5000))
    assert_rate(len(found) - 5000, 5000, 0.1)
    assert bench.lines[-1].stats()[bench.LINK][0].duplicated == len(found) - 5000


def test_corruption_flips_one_bit(bench: Bench) -> None:
    count, size = 3000, 100
    line = bench.start(Impairment(corrupt=0.2))
    sender, receiver = bench.tap("a"), bench.tap("b", ETH_P_ALL)
    sender.send_numbers(count, size)
    arrivals = receiver.receive(count)
    assert len(arrivals) == count
    flips = [
        _bits(arrival.frame, HEADER + number.to_bytes(4, "big") + bytes(size - len(HEADER) - 4))
        for number, arrival in enumerate(arrivals)
    ]
    assert set(flips) == {0, 1}
    assert_rate(sum(flips), count, 0.2)
    assert line.stats()[bench.LINK][0].corrupted == sum(flips)


def _bits(a: bytes, b: bytes) -> int:
    return (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).bit_count()


def test_reorder_sends_some_at_once(bench: Bench) -> None:
    count = 2000
    line = bench.start(Impairment(delay_ns=400 * MS, reorder=0.1))
    sender, receiver = bench.tap("a"), bench.tap("b")
    sender.send_numbers(count)
    found = numbers(receiver.receive(count, quiet_s=2.0))
    early = line.stats()[bench.LINK][0].reordered
    assert_rate(early, count, 0.1)
    assert found[:early] == sorted(found[:early])
    assert found[early:] == sorted(found[early:])
    assert sorted(found) == list(range(count))


@pytest.mark.parametrize(
    ("distribution", "jitter_ms", "deviation_ms"),
    [("uniform", 100, 100 / math.sqrt(3)), ("normal", 50, 50)],
)
def test_jitter_has_mean_and_deviation(
    bench: Bench, distribution: str, jitter_ms: int, deviation_ms: float
) -> None:
    count, delay_ms = 1500, 300
    line = bench.start(
        Impairment(
            delay_ns=delay_ms * MS,
            jitter_ns=jitter_ms * MS,
            jitter_distribution=distribution,  # type: ignore[arg-type]
            reorder_jitter=True,
        )
    )
    sender, receiver = bench.tap("a"), bench.tap("b")
    sent = sender.send_numbers(count)
    arrivals = receiver.receive(count)
    found = numbers(arrivals)
    assert found != sorted(found)
    taken = [(a.time_ns - sent[n]) / MS for n, a in zip(found, arrivals, strict=True)]
    assert len(taken) == count
    if distribution == "uniform":
        assert min(taken) >= delay_ms - jitter_ms - EARLIEST / MS
    # what the busy machine adds is known to the daemon, and taken off by the same statistic
    lateness = line.stats()[bench.LINK][0].lateness
    late_ms = [(low + high) / 2 / MS for low, high, n in lateness.buckets for _ in range(n)]
    error = 3.3 * deviation_ms / math.sqrt(count)
    mean = statistics.mean(taken) - statistics.mean(late_ms)
    assert mean == pytest.approx(delay_ms, abs=error + 1)
    low, _, high = statistics.quantiles(taken)
    quartiles = {"uniform": jitter_ms, "normal": 1.349 * jitter_ms}[distribution]
    assert high - low == pytest.approx(quartiles, rel=0.15)


def test_jitter_without_reordering_keeps_order(bench: Bench) -> None:
    found = flood(bench, Impairment(delay_ns=5 * MS, jitter_ns=4 * MS), 3000)
    assert found == list(range(3000))


@pytest.mark.parametrize("rate_mbit", [5, 50, 300])
def test_rate_paces_packets(bench: Bench, rate_mbit: int) -> None:
    size = 1400
    count = rate_mbit * 1_000_000 // 8 // size // 4  # a quarter of a second
    bench.start(Impairment(delay_ns=MS, rate_bit_s=rate_mbit * 1_000_000, limit_packets=100_000))
    sender, receiver = bench.tap("a"), bench.tap("b")
    sent = sender.send_numbers(count, size)
    arrivals = receiver.receive(count)
    assert numbers(arrivals) == list(range(count))
    taken_s = (arrivals[-1].time_ns - sent[0]) / 1e9 - 0.001
    wanted_s = count * size * 8 / (rate_mbit * 1e6)
    offered_s = (sent[-1] - sent[0]) / 1e9  # a busy machine may offer less than the rate
    assert wanted_s - EARLIEST / 1e9 <= taken_s < max(wanted_s, offered_s) * 1.03 + 0.01


def test_queue_limit_before_a_rate_drops_the_rest(bench: Bench) -> None:
    limit, count = 50, 200
    # 400 ms each on the wire, and a delay that would hold more than the limit if it counted
    slow = Impairment(delay_ns=300 * MS, rate_bit_s=20_000, limit_packets=limit)
    line = bench.start(slow)
    sender, receiver = bench.tap("a"), bench.tap("b")
    sender.send_numbers(count, 1000)

    def judged() -> bool:
        now = line.stats()[bench.LINK][0]
        return now.drops["queue"] + now.held + now.packets == count

    wait_for(judged, "all to be judged")
    counted = line.stats()[bench.LINK][0]
    # a stalled machine may see a packet or two leave before the last arrives
    assert count - limit - 3 <= counted.drops["queue"] <= count - limit
    assert limit <= counted.held_max <= limit + 1
    assert numbers(receiver.receive(1)) == [0]


def test_queue_limit_without_a_rate_counts_packets_in_flight(bench: Bench) -> None:
    line = bench.start(Impairment(delay_ns=300 * MS, limit_packets=30))
    sender, receiver = bench.tap("a"), bench.tap("b")
    sender.send_numbers(100)
    assert numbers(receiver.receive(31)) == list(range(30))
    assert line.stats()[bench.LINK][0].drops["queue"] == 70


def test_trace_gives_packets_their_opportunities(bench: Bench) -> None:
    # three full-size packets every 10 ms, one more 5 ms later, for ever
    bench.start(Impairment(trace=(5, 10, 10, 10)))
    sender, receiver = bench.tap("a"), bench.tap("b")
    count = 200
    sender.send_numbers(count, 1514)
    times = [arrival.time_ns / MS for arrival in receiver.receive(count)]
    assert len(times) == count
    # 200 packets at 4 a cycle of 10 ms
    assert times[-1] - times[0] == pytest.approx(count / 4 * 10, abs=12)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    # of 4 gaps, two are nothing and two are 5 ms
    assert sum(gap < 2.5 for gap in gaps) == pytest.approx(len(gaps) / 2, rel=0.15)


def test_trace_lets_small_packets_share_an_opportunity(bench: Bench) -> None:
    bench.start(Impairment(trace=(20,)))
    sender, receiver = bench.tap("a"), bench.tap("b")
    sender.send_numbers(30, 14 + 500)
    times = [arrival.time_ns / MS for arrival in receiver.receive(30)]
    assert times[-1] - times[0] == pytest.approx(9 * 20, abs=12)


def test_blackhole_eats_everything_and_lets_go(bench: Bench) -> None:
    line = bench.start(Impairment(blackhole=True))
    sender, receiver = bench.tap("a"), bench.tap("b")
    sender.send_numbers(100)
    wait_for(
        lambda: line.stats()[bench.LINK][0].drops["blackhole"] == 100, "the hole to eat them all"
    )
    assert receiver.receive(1, timeout_s=0.05) == []
    line.set(bench.LINK, a_to_b=Impairment())
    sender.send_numbers(1, start=500)
    assert numbers(receiver.receive(1)) == [500]


def test_live_change_keeps_what_is_in_flight(bench: Bench) -> None:
    line = bench.start(Impairment(delay_ns=150 * MS))
    sender, receiver = bench.tap("a"), bench.tap("b")
    sent = sender.send_numbers(300)
    line.set(bench.LINK, a_to_b=Impairment(delay_ns=20 * MS))
    sender.send_numbers(300, start=300)
    line.set(bench.LINK, a_to_b=Impairment(delay_ns=5 * MS, loss=0.0, rate_bit_s=100_000_000))
    sender.send_numbers(300, start=600)
    arrivals = receiver.receive(900)
    for begin in (0, 300, 600):
        kept = [n for n in numbers(arrivals) if begin <= n < begin + 300]
        assert kept == list(range(begin, begin + 300))
    # those in flight keep their delay, and are waited for by nobody
    came = dict(zip(numbers(arrivals), (arrival.time_ns for arrival in arrivals), strict=True))
    assert min(came[n] - sent[n] for n in range(300)) >= 150 * MS - EARLIEST
    assert came[600] < came[0]


@pytest.mark.parametrize(
    ("slow", "then"),
    [
        (Impairment(delay_ns=300_000 * MS), Impairment(delay_ns=5 * MS)),
        (Impairment(rate_bit_s=1000), Impairment(rate_bit_s=10_000_000)),
        (Impairment(rate_bit_s=1000), Impairment()),
        (Impairment(rate_bit_s=1000, limit_packets=30), Impairment(rate_bit_s=10_000_000)),
        (Impairment(trace=(600_000,)), Impairment(trace=(1,))),
    ],
    ids=["delay", "rate", "no rate", "full queue", "trace"],
)
def test_what_a_link_holds_for_long_holds_up_nothing_that_comes_after_a_change(
    bench: Bench, slow: Impairment, then: Impairment
) -> None:
    line = bench.start(slow)
    sender, receiver = bench.tap("a"), bench.tap("b")
    sender.send_numbers(40)
    wait_for(lambda: line.stats()[bench.LINK][0].held > 20, "the link to hold them")
    line.set(bench.LINK, a_to_b=then)
    sender.send_numbers(20, start=100)
    arrivals: list[int] = []
    wait_for(
        lambda: (
            arrivals.extend(numbers(receiver.receive(20, quiet_s=0.05)))
            or set(range(100, 120)) <= set(arrivals)
        ),
        "what came after the change",
    )


def test_read_back_is_what_was_set(bench: Bench) -> None:
    everything = Impairment(
        delay_ns=123_456_789,
        jitter_ns=7,
        jitter_distribution="normal",
        reorder_jitter=True,
        gemodel=(0.1, 1 / 3, 1.0, 1e-9),
        duplicate=0.1,
        corrupt=1e-5,
        reorder=0.3,
        limit_packets=17,
        trace=tuple(range(5000)),
        blackhole=True,
    )
    line = bench.start(Impairment(loss=1 / 7, rate_bit_s=123_457))
    line.set(bench.LINK, b_to_a=everything)
    assert line.read(bench.LINK) == (Impairment(loss=1 / 7, rate_bit_s=123_457), everything)
