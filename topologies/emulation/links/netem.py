"""The link backend of the kernel: netem as root queueing discipline of both outer interfaces.

A link is one veth cable; the interface at each end delays what it sends. Everything is set by
rtnetlink, many links in one system call, and read back from the kernel afterwards. What netem does
otherwise than the daemon of ``delayline`` is said at each place.
"""

from __future__ import annotations

import errno
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cache
from typing import Protocol

from topologies.emulation import netns, rtnetlink
from topologies.emulation.links import (
    End,
    Histogram,
    Impairment,
    LinkAttachment,
    LinkError,
    LinkStats,
)
from topologies.emulation.links.discipline import Discipline
from topologies.emulation.rtnetlink import Netlink, Qdisc, Request

KIND = "netem"


@cache
def problem() -> str | None:
    """Why netem cannot be used here, None if it can: tried in a throwaway namespace."""
    with ThreadPoolExecutor(1) as thread:  # which ends in the namespace that it has made
        return thread.submit(_try).result()


def _try() -> str | None:
    options = Discipline.of(Impairment(delay_ns=1_000_000)).encode()
    try:
        netns.leave()
        with Netlink() as here:
            here.send([rtnetlink.root_qdisc(rtnetlink.LOOPBACK, KIND, options, "netem on lo")])
    except OSError as error:
        if error.errno == errno.EPERM:
            return "netem needs root"
        return f"this kernel has no netem (sch_netem): {error.strerror or error}"
    return None


class Kernel(Protocol):
    """Carries out requests in the network namespace at a path (None: the present one)."""

    def indices(self, where: str | None) -> Mapping[str, int]:
        """The index of each interface."""

    def send(self, where: str | None, requests: Iterable[Request]) -> None:
        """Carry out all. Raises OSError as ``Netlink.send``."""

    def qdiscs(self, where: str | None) -> Sequence[Qdisc]:
        """Every queueing discipline."""


class _Here:
    """The kernel that runs us."""

    def indices(self, where: str | None) -> Mapping[str, int]:
        with _inside(where):
            return rtnetlink.indices()

    def send(self, where: str | None, requests: Iterable[Request]) -> None:
        with _inside(where), Netlink() as handle:
            handle.send(requests)

    def qdiscs(self, where: str | None) -> Sequence[Qdisc]:
        with _inside(where), Netlink() as handle:
            return handle.qdiscs()


def _inside(where: str | None) -> netns.Entering:
    return nullcontext() if where is None else netns.inside(where)


@dataclass(frozen=True, slots=True)
class _Way:
    """One direction of a link: the interface that sends it, and what it must do."""

    where: str
    end: End
    impairment: Impairment
    seed: int

    @property
    def discipline(self) -> Discipline:
        try:
            return Discipline.of(self.impairment)
        except LinkError as error:
            raise LinkError(f"{self.where}: {error}") from None

    def options(self) -> bytes:
        normal = self.impairment.jitter_distribution == "normal"
        return self.discipline.encode(normal=normal, seed=self.seed)


class Netem:
    """netem on the links of one lab. Tests put a stand-in for ``kernel`` there."""

    name = "netem"
    needs_inner = False
    program = None

    def __init__(self, kernel: Kernel | None = None) -> None:
        self._kernel = kernel or _Here()
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
        change = rtnetlink.up if up else rtnetlink.down
        for way in _ways(self._link(link_id)):
            self._send(way.end.netns, [change(way.end.outer)])

    def read(self, link_id: int) -> tuple[Impairment, Impairment]:
        """What is in force from a to b and from b to a.

        Raises LinkError naming link, wanted and got if the kernel has something else.
        """
        return self.read_many([link_id])[link_id]

    def read_many(self, link_ids: Iterable[int]) -> dict[int, tuple[Impairment, Impairment]]:
        """As ``read``, for many links at once."""
        links = [self._link(link_id) for link_id in link_ids]
        self._verify([way for link in links for way in _ways(link)])
        return {link.link_id: (link.a_to_b, link.b_to_a) for link in links}

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

    def _apply(self, ways: Sequence[_Way]) -> None:
        for where, own in _by_namespace(ways).items():
            known = self._kernel.indices(where)
            missing = [way for way in own if way.end.outer not in known]
            if missing:
                raise LinkError(f"{missing[0].where}: there is no {missing[0].end.outer}")
            self._send(
                where,
                [
                    rtnetlink.root_qdisc(known[way.end.outer], KIND, way.options(), way.where)
                    for way in own
                ],
            )
        self._verify(ways)

    def _send(self, where: str | None, requests: Iterable[Request]) -> None:
        try:
            self._kernel.send(where, requests)
        except OSError as error:
            raise LinkError(f"the kernel refused {error.strerror or error}") from None

    def _verify(self, ways: Sequence[_Way]) -> None:
        present = self._show(way.end for way in ways)
        for way in ways:
            wanted, qdisc = way.discipline, present.get(_key(way.end))
            found = Discipline.decode(qdisc.options) if qdisc else "no netem"
            if found != wanted:
                raise LinkError(f"{way.where}: wanted {wanted}, got {found}")

    def _show(self, ends: Iterable[End]) -> dict[tuple[str | None, str], Qdisc]:
        """The netem at the root of each interface in these ends' namespaces."""
        shown = {}
        for where in dict.fromkeys(end.netns for end in ends):
            names = {index: name for name, index in self._kernel.indices(where).items()}
            for qdisc in self._kernel.qdiscs(where):
                if qdisc.kind == KIND and qdisc.is_root and qdisc.interface in names:
                    shown[where, names[qdisc.interface]] = qdisc
        return shown

    def _count(self) -> dict[tuple[str | None, str], LinkStats]:
        ends = [end for link in self._links.values() for end in (link.ends.a, link.ends.b)]
        return {key: _stats(qdisc) for key, qdisc in self._show(ends).items()}

    def _remove(self, ways: Iterable[_Way]) -> None:
        """Take netem off; where there is none, or no interface any more, that is as good."""
        for where, own in _by_namespace(ways).items():
            try:
                known = self._kernel.indices(where)
            except OSError:
                continue
            for way in own:
                if way.end.outer in known:
                    try:
                        self._kernel.send(where, [rtnetlink.no_qdisc(known[way.end.outer])])
                    except OSError:
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


def _by_namespace(ways: Iterable[_Way]) -> Mapping[str | None, list[_Way]]:
    found: defaultdict[str | None, list[_Way]] = defaultdict(list)
    for way in ways:
        found[way.end.netns].append(way)
    return found


def _forgets_distribution(was: _Way, will: _Way) -> bool:
    return (
        was.impairment.jitter_distribution == "normal"
        and will.impairment.jitter_distribution == "uniform"
        and will.impairment.jitter_ns > 0
    )


def _key(end: End) -> tuple[str | None, str]:
    return end.netns, end.outer


def _stats(qdisc: Qdisc) -> LinkStats:
    return LinkStats(
        packets=qdisc.packets,
        bytes=qdisc.bytes,
        drops={"netem": qdisc.drops},
        lateness=Histogram(),
        held=qdisc.queued,
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
