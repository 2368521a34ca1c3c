"""The link backend of the kernel: netem as root queueing discipline of both outer interfaces.

A link is one veth cable; the interface at each end delays what it sends. Everything is done by
``tc`` and read back from the kernel afterwards, for tc can fail without anyone noticing. What netem
does otherwise than the daemon of ``delayline`` is said at each place.
"""

from __future__ import annotations

import json
import math
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from topologies.emulation.links import (
    RATE_RANGE_BIT_S,
    End,
    Histogram,
    Impairment,
    LinkAttachment,
    LinkError,
    LinkStats,
)

UNLIMITED_PACKETS = 1_000_000
"""netem's own default of 1000 would silently bound rate times delay."""
QUEUE_PACKETS = 1000
"""The queue before a rate where none is asked for, as with the daemon."""
ORDERED_BYTES_S = RATE_RANGE_BIT_S[1] // 8
"""A rate that costs no time but makes netem keep packets in order in spite of jitter."""
FRAME_BYTES = 1514
PRECISION = 2e-5  # tc prints six digits; the kernel counts in 64 ns and in 2^-32
TIME_PRECISION_S = 1.1e-6  # tc cuts times off after whole microseconds, in and out

Runner = Callable[[str | None, list[str], str], str]
"""Runs a command in the network namespace at a path, with this input; its output."""


def problem() -> str | None:
    """Why netem cannot be used here, None if it can: tried in a throwaway namespace."""
    return _problem(())


def seeds() -> bool:
    """Whether netem's randomness can be seeded here (Linux and iproute2 6.6 or newer)."""
    return _problem(("seed", "1")) is None


@cache
def _problem(extra: tuple[str, ...]) -> str | None:
    qdisc = ["tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms", *extra]
    try:
        _run(None, ["unshare", "--net", *qdisc], "")
    except LinkError as error:
        return str(error)
    return None


def _run(netns: str | None, argv: list[str], text: str) -> str:
    inside = ["nsenter", f"--net={netns}"] if netns else []
    try:
        done = subprocess.run(
            [*inside, *argv], input=text, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise LinkError(f"{error.filename} is not installed") from None
    # tc -batch may say what went wrong and still end with 0
    if done.returncode != 0 or "rror" in done.stderr or "Command failed" in done.stderr:
        said = " ".join(done.stderr.split()) or f"code {done.returncode}"
        raise LinkError(f"`{' '.join(argv)}` failed: {said}")
    return done.stdout


@dataclass(frozen=True, slots=True)
class Discipline:
    """The options of one netem, as asked for and as the kernel reports them."""

    limit: int
    delay_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    gemodel: tuple[float, float, float, float] | None = None
    duplicate: float = 0.0
    reorder: float = 0.0
    corrupt: float = 0.0
    bytes_s: int = 0

    @classmethod
    def of(cls, impairment: Impairment) -> Discipline:
        """The options that make netem do this. Raises LinkError on what it cannot do."""
        if impairment.trace is not None:
            raise LinkError("netem cannot follow a packet-delivery trace; use delayline")
        if impairment.reorder_jitter and impairment.rate_bit_s is not None:
            raise LinkError("netem keeps packets in order where a rate is set; use delayline")
        ordered = impairment.jitter_ns and not impairment.reorder_jitter
        rate = impairment.rate_bit_s
        return cls(
            limit=_limit(impairment),
            delay_s=impairment.delay_ns / 1e9,
            jitter_s=impairment.jitter_ns / 1e9,
            loss=1.0 if impairment.blackhole else impairment.loss,
            gemodel=None if impairment.blackhole else impairment.gemodel,
            duplicate=impairment.duplicate,
            reorder=impairment.reorder,
            corrupt=impairment.corrupt,
            bytes_s=rate // 8 if rate is not None else ORDERED_BYTES_S if ordered else 0,
        )

    @classmethod
    def parse(cls, qdisc: Mapping[str, Any]) -> Discipline:
        """The options in one element of ``tc -j qdisc show``."""
        options = qdisc.get("options", {})
        delay, bursts = options.get("delay", {}), options.get("loss-gemodel")
        return cls(
            limit=options["limit"],
            delay_s=delay.get("delay", 0.0),
            jitter_s=delay.get("jitter", 0.0),
            loss=options.get("loss-random", {}).get("loss", 0.0),
            gemodel=_quadruple(bursts) if bursts else None,
            duplicate=options.get("duplicate", {}).get("duplicate", 0.0),
            reorder=options.get("reorder", {}).get("reorder", 0.0),
            corrupt=options.get("corrupt", {}).get("corrupt", 0.0),
            bytes_s=options.get("rate", {}).get("rate", 0),
        )

    def words(self) -> list[str]:
        """The arguments of ``tc ... netem``.

        Everything is named, for what a change does not name would stay as it was.
        """
        words = ["limit", str(self.limit), "delay", _us(self.delay_s), _us(self.jitter_s)]
        if self.gemodel is not None:
            words += ["loss", "gemodel", *map(_percent, self.gemodel)]
        else:
            words += ["loss", "random", _percent(self.loss)]
        for name in ("duplicate", "reorder", "corrupt"):
            words += [name, _percent(getattr(self, name))]
        return [*words, "rate", f"{self.bytes_s * 8}bit"]

    def matches(self, found: Discipline) -> bool:
        """Whether the kernel's report is this, within the precision of its units and of tc."""
        if (self.limit, self.gemodel is None) != (found.limit, found.gemodel is None):
            return False
        times = [(self.delay_s, found.delay_s), (self.jitter_s, found.jitter_s)]
        pairs = [
            (self.loss, found.loss),
            (self.duplicate, found.duplicate),
            (self.reorder, found.reorder),
            (self.corrupt, found.corrupt),
            (self.bytes_s, found.bytes_s),
            *zip(self.gemodel or (), found.gemodel or (), strict=True),
        ]
        return all(
            math.isclose(a, b, rel_tol=PRECISION, abs_tol=absolute)
            for some, absolute in ((pairs, 1e-7), (times, TIME_PRECISION_S))
            for a, b in some
        )


def _limit(impairment: Impairment) -> int:
    """The limit of netem counts packets in flight too; a queue limit before a rate does not.

    The room for packets in flight is reckoned in full-size frames.
    """
    if impairment.rate_bit_s is None:
        return impairment.limit_packets or UNLIMITED_PACKETS
    in_flight_s = (impairment.delay_ns + impairment.jitter_ns) / 1e9
    flying = math.ceil(in_flight_s * impairment.rate_bit_s / 8 / FRAME_BYTES)
    return (impairment.limit_packets or QUEUE_PACKETS) + flying


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:.3f}us"


def _percent(probability: float) -> str:
    return f"{probability * 100:.10g}%"


def _quadruple(bursts: Mapping[str, float]) -> tuple[float, float, float, float]:
    return bursts["p"], bursts["r"], bursts["1-h"], bursts["1-k"]


@dataclass(frozen=True, slots=True)
class _Way:
    """One direction of a link: the interface that sends it, and what it must do."""

    where: str
    end: End
    impairment: Impairment
    seed: int


class Netem:
    """netem on the links of one lab. ``run`` carries out commands; tests put their own there."""

    name = "netem"
    needs_inner = False

    def __init__(self, run: Runner = _run, *, seeded: bool | None = None) -> None:
        self._run = run
        self._seeded = seeds() if seeded is None else seeded
        self._links: dict[int, LinkAttachment] = {}
        self._zero: dict[tuple[str | None, str], LinkStats] = {}

    def attach_many(self, links: Iterable[LinkAttachment]) -> None:
        """Carry these links from now on, verified; on an error, none of them."""
        new = list(links)
        for link in new:
            if link.link_id in self._links:
                raise LinkError(f"link {link.link_id} exists")
        ways = [way for link in new for way in _ways(link)]
        try:
            self._apply(ways)
        except LinkError:
            self._remove(ways)
            raise
        self._links |= {link.link_id: link for link in new}

    def attach(self, link: LinkAttachment) -> None:
        """Carry one more link."""
        self.attach_many([link])

    def detach(self, link_id: int) -> None:
        """Let go of a link: its cable then does nothing to packets."""
        self._remove(_ways(self._link(link_id)))
        del self._links[link_id]

    def set(
        self, link_id: int, *, a_to_b: Impairment | None = None, b_to_a: Impairment | None = None
    ) -> None:
        """Replace the impairments of one or both directions and verify that they are in force.

        Packets on the link are delivered as they would have been, except where jitter turns from
        normal to uniform: the kernel cannot forget a distribution, so the qdisc is made anew.
        """
        old = self._link(link_id)
        new = replace(old, a_to_b=a_to_b or old.a_to_b, b_to_a=b_to_a or old.b_to_a)
        pairs = list(zip(_ways(old), _ways(new), strict=True))
        self._remove([was for was, will in pairs if _forgets_distribution(was, will)])
        self._apply([will for was, will in pairs if was != will])
        self._links[link_id] = new

    def carrier(self, link_id: int, up: bool) -> None:
        """Pull (False) or plug (True) the cable, by taking both outer interfaces down or up.

        The kernel then forgets the routes through them, which a pulled cable would not do.
        """
        for way in _ways(self._link(link_id)):
            state = "up" if up else "down"
            self._run(way.end.netns, ["ip", "link", "set", "dev", way.end.outer, state], "")

    def read(self, link_id: int) -> tuple[Impairment, Impairment]:
        """What is in force from a to b and from b to a.

        Raises LinkError naming link, wanted and got if the kernel has something else.
        """
        link = self._link(link_id)
        self._verify(_ways(link))
        return link.a_to_b, link.b_to_a

    def stats(self) -> dict[int, tuple[LinkStats, LinkStats]]:
        """Counters of every link; netem does not tell causes of drops, nor lateness."""
        counted = self._count()
        return {
            link_id: (
                _since(counted[_key(link.ends.a)], self._zero.get(_key(link.ends.a))),
                _since(counted[_key(link.ends.b)], self._zero.get(_key(link.ends.b))),
            )
            for link_id, link in self._links.items()
        }

    def compensate(self, advance_ns: int) -> int:
        """0: the kernel's delays are taken as they are."""
        del advance_ns
        return 0

    def overruns(self) -> int:
        """None: the kernel counts all of its drops by link."""
        return 0

    def reset_stats(self) -> None:
        """Count from here on."""
        self._zero = self._count()

    def alive(self) -> bool:
        """Whether the kernel still has every netem, as asked for."""
        try:
            self.check()
        except LinkError:
            return False
        return True

    def check(self) -> None:
        """Raise LinkError naming the first link on which netem is gone or changed."""
        self._verify([way for link in self._links.values() for way in _ways(link)])

    def close(self) -> None:
        """Take netem off every link. May be called again."""
        self._remove([way for link in self._links.values() for way in _ways(link)])
        self._links.clear()

    def _link(self, link_id: int) -> LinkAttachment:
        if link_id not in self._links:
            raise LinkError(f"no link {link_id}")
        return self._links[link_id]

    def _apply(self, ways: list[_Way]) -> None:
        by_netns = defaultdict(list)
        for way in ways:
            by_netns[way.end.netns].append(self._command(way))
        for netns, commands in by_netns.items():
            self._run(netns, ["tc", "-batch", "-"], "\n".join(commands) + "\n")
        self._verify(ways)

    def _command(self, way: _Way) -> str:
        try:
            words = Discipline.of(way.impairment).words()
        except LinkError as error:
            raise LinkError(f"{way.where}: {error}") from None
        if way.impairment.jitter_distribution == "normal" and way.impairment.jitter_ns:
            words += ["distribution", "normal"]
        if self._seeded:
            words += ["seed", str(way.seed)]
        device = ["qdisc", "replace", "dev", way.end.outer, "root", "handle", "1:", "netem"]
        return " ".join([*device, *words])

    def _verify(self, ways: Iterable[_Way]) -> None:
        ways = list(ways)
        present = self._show(way.end.netns for way in ways)
        for way in ways:
            wanted, qdisc = Discipline.of(way.impairment), present.get(_key(way.end))
            found = Discipline.parse(qdisc) if qdisc else None
            if found is None or not wanted.matches(found):
                got = found or "no netem"
                raise LinkError(f"{way.where}: wanted {wanted}, got {got}")

    def _show(
        self, namespaces: Iterable[str | None]
    ) -> dict[tuple[str | None, str], Mapping[str, Any]]:
        """The netem at the root of each interface in these namespaces."""
        return {
            (netns, qdisc["dev"]): qdisc
            for netns in dict.fromkeys(namespaces)
            for qdisc in json.loads(self._run(netns, ["tc", "-s", "-j", "qdisc", "show"], ""))
            if qdisc["kind"] == "netem" and qdisc.get("root")
        }

    def _count(self) -> dict[tuple[str | None, str], LinkStats]:
        ends = [end for link in self._links.values() for end in (link.ends.a, link.ends.b)]
        return {key: _stats(qdisc) for key, qdisc in self._show(e.netns for e in ends).items()}

    def _remove(self, ways: Iterable[_Way]) -> None:
        """Take netem off; where there is none, or no interface any more, that is as good."""
        for way in ways:
            command = ["tc", "qdisc", "del", "dev", way.end.outer, "root"]
            try:
                self._run(way.end.netns, command, "")
            except LinkError:
                continue


def _ways(link: LinkAttachment) -> list[_Way]:
    a, b = link.ends.a, link.ends.b
    where = f"link {link.link_id} ({a.outer} - {b.outer})"
    # unlike seeds for unlike links and directions, as the daemon makes them
    seed = (link.seed * 2 + 1) * (2 * link.link_id + 1) % (1 << 63)
    return [
        _Way(f"{where}, a to b", a, link.a_to_b, seed),
        _Way(f"{where}, b to a", b, link.b_to_a, seed + 1),
    ]


def _forgets_distribution(was: _Way, will: _Way) -> bool:
    return (
        was.impairment.jitter_distribution == "normal"
        and will.impairment.jitter_distribution == "uniform"
        and will.impairment.jitter_ns > 0
    )


def _key(end: End) -> tuple[str | None, str]:
    return end.netns, end.outer


def _stats(qdisc: Mapping[str, Any]) -> LinkStats:
    return LinkStats(
        packets=qdisc.get("packets", 0),
        bytes=qdisc.get("bytes", 0),
        drops={"netem": qdisc.get("drops", 0)},
        lateness=Histogram(),
        held=qdisc.get("qlen", 0),
    )


def _since(now: LinkStats, zero: LinkStats | None) -> LinkStats:
    if zero is None:
        return now
    return replace(
        now,
        packets=now.packets - zero.packets,
        bytes=now.bytes - zero.bytes,
        drops={cause: count - zero.drops.get(cause, 0) for cause, count in now.drops.items()},
    )
