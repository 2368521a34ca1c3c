"""Links of a lab: what they do to packets, and one protocol for the backends that do it.

A backend is an open handle on the links of one lab. ``open_backend`` picks and starts one;
``delayline`` is a daemon of our own that needs nothing of the kernel but packet sockets, ``netem``
is the kernel's queueing discipline where there is one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, Self

from topologies.emulation.processes import Program
from topologies.model import Line

__all__ = [
    "Distribution",
    "End",
    "Histogram",
    "Impairment",
    "LinkAttachment",
    "LinkBackend",
    "LinkEnds",
    "LinkError",
    "LinkStats",
    "choose",
    "open_backend",
]

Distribution = Literal["uniform", "normal"]

DELAY_MAX_NS = 3_600_000_000_000
RATE_RANGE_BIT_S = (1_000, 10_000_000_000_000)
LIMIT_MAX_PACKETS = 1 << 20
TRACE_MAX_ENTRIES = 1 << 22
TRACE_MAX_MS = 3_600_000_000


class LinkError(RuntimeError):
    """A link cannot be emulated as asked, or its emulator has died; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Impairment:
    """What one direction of a link does to packets; the default is nothing at all.

    Every impairment but delay and blackhole acts on packets as the wire carries them: a
    segmentation offload frame is cut into its segments first. Raises ValueError on values out of
    range.
    """

    delay_ns: int = 0
    """Propagation delay, one way."""
    jitter_ns: int = 0
    """Half-width of the deviation from the delay if uniform, its standard deviation if normal."""
    jitter_distribution: Distribution = "uniform"
    reorder_jitter: bool = False
    """Packets with less delay overtake others, as with netem; otherwise order is kept, and
    packets that follow closely wait for slower ones before them (the mean delay rises)."""
    loss: float = 0.0
    """Probability of loss, each packet for itself."""
    gemodel: tuple[float, float, float, float] | None = None
    """Gilbert-Elliott loss in bursts, in place of ``loss``: p (good to bad), r (bad to good),
    1-h (loss while bad), 1-k (loss while good), as in tc-netem(8)."""
    duplicate: float = 0.0
    corrupt: float = 0.0
    """Probability that one random bit of the frame is flipped."""
    reorder: float = 0.0
    """Probability that a packet is sent at once, ahead of those that are delayed."""
    rate_bit_s: int | None = None
    """Rate of the link in Ethernet frames without preamble and checksum; None: not limited."""
    limit_packets: int | None = None
    """Length of the queue that waits for the rate; without a rate, packets held in all. None:
    1000 packets before a rate, else memory alone."""
    trace: tuple[int, ...] | None = None
    """A mahimahi packet-delivery trace in place of ``rate_bit_s``: milliseconds, not decreasing,
    at each of which 1500 bytes of IP may pass; repeats when it ends."""
    blackhole: bool = False
    """Silent loss: the link stays up and eats everything."""

    @classmethod
    def of(cls, line: Line) -> Self:
        """What a link does in either direction, as a network has it."""
        return cls(
            delay_ns=line.delay_ns,
            jitter_ns=line.jitter_ns,
            loss=line.loss,
            rate_bit_s=line.rate_bit_s,
            limit_packets=line.limit_packets,
        )

    def __post_init__(self) -> None:
        for problem in self._problems():
            raise ValueError(problem)

    def _problems(self) -> Iterable[str]:
        for name in ("delay_ns", "jitter_ns"):
            if not 0 <= getattr(self, name) <= DELAY_MAX_NS:
                yield f"{name} is {getattr(self, name)}, not from 0 to one hour"
        if self.jitter_distribution not in ("uniform", "normal"):
            yield f"jitter_distribution is {self.jitter_distribution!r}, not uniform or normal"
        probabilities = {
            name: getattr(self, name) for name in ("loss", "duplicate", "corrupt", "reorder")
        }
        if self.gemodel is not None:
            probabilities |= dict(zip(("p", "r", "1-h", "1-k"), self.gemodel, strict=True))
        for name, value in probabilities.items():
            if not 0.0 <= value <= 1.0:
                yield f"{name} is {value}, not a probability from 0 to 1"
        if self.rate_bit_s is not None and not _within(self.rate_bit_s, RATE_RANGE_BIT_S):
            yield f"rate_bit_s is {self.rate_bit_s}, not from 1 kbit/s to 10 Tbit/s"
        if self.limit_packets is not None and not 1 <= self.limit_packets <= LIMIT_MAX_PACKETS:
            yield f"limit_packets is {self.limit_packets}, not from 1 to {LIMIT_MAX_PACKETS}"
        if self.gemodel is not None and self.loss:
            yield "loss and gemodel exclude each other"
        if self.rate_bit_s is not None and self.trace is not None:
            yield "rate_bit_s and trace exclude each other"
        if self.reorder_jitter and not self.jitter_ns:
            yield "reorder_jitter needs jitter_ns"
        if self.trace is not None:
            yield from _trace_problems(self.trace)


def _within(value: int, bounds: tuple[int, int]) -> bool:
    return bounds[0] <= value <= bounds[1]


def _trace_problems(trace: tuple[int, ...]) -> Iterable[str]:
    if not 1 <= len(trace) <= TRACE_MAX_ENTRIES:
        yield f"trace has {len(trace)} entries, not from 1 to {TRACE_MAX_ENTRIES}"
    elif trace[0] < 0 or not 1 <= trace[-1] <= TRACE_MAX_MS:
        yield "trace is not of milliseconds from 0 up, the last of them 1 or more"
    elif any(later < earlier for earlier, later in itertools.pairwise(trace)):
        yield "trace decreases"


def read_trace(path: Path) -> tuple[int, ...]:
    """A mahimahi packet-delivery trace from its file: one timestamp in milliseconds a line.

    Raises LinkError naming file and line where it holds something else.
    """
    times = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        text = line.strip()
        if not text.isdecimal():
            raise LinkError(f"{path}:{number}: {text!r} is not a number of milliseconds")
        times.append(int(text))
    for problem in _trace_problems(tuple(times)):
        raise LinkError(f"{path}: {problem}")
    return tuple(times)


@dataclass(frozen=True, slots=True)
class End:
    """One end of a link: the outer interface that a host or switch uses, and its inner peer.

    ``netns`` is the path of the outer interface's network namespace, None for the present one.
    ``inner`` is the peer in the backend's namespace; empty where the backend needs none.
    """

    netns: str | None
    outer: str
    inner: str = ""


@dataclass(frozen=True, slots=True)
class LinkEnds:
    """The two ends of a link."""

    a: End
    b: End


@dataclass(frozen=True, slots=True)
class LinkAttachment:
    """A link for a backend to carry; ``link_id`` is the caller's number for it, 0 to 65535."""

    link_id: int
    ends: LinkEnds
    a_to_b: Impairment = field(default_factory=Impairment)
    b_to_a: Impairment = field(default_factory=Impairment)
    seed: int = 0
    """Equal seeds pick the same packets of an equal sequence on the link of that number."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of signed nanoseconds by bucket, ``(low, high, count)``, ascending."""

    buckets: tuple[tuple[int, int, int], ...] = ()

    @property
    def count(self) -> int:
        """How many values it holds."""
        return sum(count for _, _, count in self.buckets)

    def percentile(self, percent: float) -> float:
        """Nanoseconds below which ``percent`` of the values lie; NaN if it is empty.

        Interpolated within a bucket, whose width is 1 us up to 16 us and 6 % above.
        """
        if not 0.0 <= percent <= 100.0:
            raise ValueError(f"percent is {percent}, not from 0 to 100")
        wanted = self.count * percent / 100.0
        for low, high, count in self.buckets:
            if count >= wanted:
                return low + (high - low) * wanted / count
            wanted -= count
        return math.nan if not self.buckets else float(self.buckets[-1][1])

    def __add__(self, other: Self) -> Self:
        merged: dict[tuple[int, int], int] = {}
        for low, high, count in (*self.buckets, *other.buckets):
            merged[low, high] = merged.get((low, high), 0) + count
        return type(self)(tuple((*edges, merged[edges]) for edges in sorted(merged)))

    def __sub__(self, earlier: Self) -> Self:
        """What was counted since an ``earlier`` state of the same counters."""
        counted = {(low, high): count for low, high, count in earlier.buckets}
        rest = ((low, high, n - counted.get((low, high), 0)) for low, high, n in self.buckets)
        return type(self)(tuple(bucket for bucket in rest if bucket[2]))


@dataclass(frozen=True, slots=True)
class LinkStats:
    """What one direction did since it was attached or the counters were reset."""

    packets: int
    """Delivered, as the wire carries them: an offload frame counts as its segments."""
    bytes: int
    """Of those packets, from the Ethernet header on."""
    drops: Mapping[str, int]
    """Packets lost, by cause: loss, blackhole, queue (limit), memory (the emulator's own bound),
    down, send (the far interface refused)."""
    lateness: Histogram
    """Actual less configured time of sending, per packet; negative: early. This is the emulator's
    own error, queueing for the configured rate not included. Empty with netem."""
    duplicated: int = 0
    corrupted: int = 0
    reordered: int = 0
    """Packets sent at once by ``reorder``."""
    held: int = 0
    """Packets on the link at this moment."""
    held_max: int = 0
    """The most packets that were on the link at once."""


class LinkBackend(Protocol):
    """The links of one lab. Methods raise LinkError naming the link and the cause."""

    name: str
    needs_inner: bool
    """Whether a link is two cables whose inner ends meet in the backend's namespace (True), or
    one cable from outer end to outer end (False)."""

    @property
    def program(self) -> Program | None:
        """The program that carries the links; None where the kernel does."""

    def attach_many(self, links: Iterable[LinkAttachment]) -> None:
        """Carry these links from now on. All interfaces must exist."""

    def attach(self, link: LinkAttachment) -> None:
        """Carry one more link."""

    def detach(self, link_id: int) -> None:
        """Let go of a link; packets on it are lost."""

    def set(
        self, link_id: int, *, a_to_b: Impairment | None = None, b_to_a: Impairment | None = None
    ) -> None:
        """Replace the impairments of one or both directions and verify that they are in force.

        Packets on the link are delivered as they would have been.
        """

    def carrier(self, link_id: int, up: bool) -> None:
        """Pull (False) or plug (True) the cable: both outer ends see their carrier change."""

    def read(self, link_id: int) -> tuple[Impairment, Impairment]:
        """What is in force from a to b and from b to a, as the backend itself reports it."""

    def read_many(self, link_ids: Iterable[int]) -> dict[int, tuple[Impairment, Impairment]]:
        """As ``read``, for many links at once."""

    def stats(self) -> dict[int, tuple[LinkStats, LinkStats]]:
        """Counters of every link, from a to b and from b to a."""

    def compensate(self, advance_ns: int) -> int:
        """Send every packet this much earlier, to make up for what links and switches cost.

        Returns what is in force: 0 from a backend that cannot.
        """

    def overruns(self) -> int:
        """Packets that the backend lost before it saw whose they were; they void a run."""

    def reset_stats(self) -> None:
        """All counters and histograms to zero."""

    def alive(self) -> bool:
        """Whether the backend still carries its links."""

    def check(self) -> None:
        """Raise LinkError saying what happened if the backend no longer carries its links."""

    def close(self) -> None:
        """Stop carrying links. May be called again."""


def choose(wanted: str = "auto") -> str:
    """The backend that ``wanted`` (auto, delayline or netem) means on this host.

    ``auto`` is our own daemon if it has been built, else netem if the kernel has it. Raises
    LinkError with each cause when there is none, ValueError on an unknown name.
    """
    from topologies.emulation.links import delayline, netem

    problems: Mapping[str, Callable[[], str | None]] = {
        "delayline": delayline.problem,
        "netem": netem.problem,
    }
    if wanted != "auto" and wanted not in problems:
        raise ValueError(f"no link backend {wanted!r}: auto, delayline or netem")
    causes = []
    for name in problems if wanted == "auto" else [wanted]:
        cause = problems[name]()
        if cause is None:
            return name
        causes.append(f"{name}: {cause}")
    raise LinkError("no link emulation: " + "; ".join(causes))


def open_backend(
    wanted: str = "auto", netns: str | None = None, logs: Path | None = None
) -> LinkBackend:
    """Start the backend that ``wanted`` means (see ``choose``).

    ``netns`` is the path of the namespace that holds inner ends, None for the present one;
    ``logs`` a folder for the backend's own words. Raises LinkError if it does not come up.
    """
    from topologies.emulation.links import delayline, netem

    if choose(wanted) == "netem":
        return netem.Netem()
    return delayline.DelayLine(netns, log=logs / "delayline.log" if logs else None)
