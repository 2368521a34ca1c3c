"""The link backend of our own: one C daemon that carries all links of a lab.

The daemon reads frames from the inner interface at one end of a link and sends them from the inner
interface at the other, each at its own due time. This module starts it and speaks its control
protocol (``control.h``): lines of text over a socket pair, one answer line for each.
"""

from __future__ import annotations

import array
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, cast

from topologies.emulation.links import (
    Distribution,
    Histogram,
    Impairment,
    LinkAttachment,
    LinkError,
    LinkStats,
)
from topologies.emulation.processes import Program

BINARY = Path(__file__).parent / "daemon" / "delayline"

MESSAGE_BYTES = 48 * 1024  # the daemon takes 64 KiB a message and 32 KiB a line
ANSWER_BYTES = 1024 * 1024  # the daemon's longest answer
LINES_A_MESSAGE = 24  # so that as many full histograms fit into an answer
TRACE_WORDS_A_LINE = 2000
PATIENCE_S = 10.0

DIRECTIONS = ("ab", "ba")


def problem(binary: Path = BINARY) -> str | None:
    """Why the daemon cannot be started here, None if it can."""
    if not os.access(binary, os.X_OK):
        return "link daemon not built: run make setup"
    return None


class DelayLine:
    """The daemon, running, and the links that it carries. Thread-safe.

    ``netns`` is the path of the network namespace with the inner interfaces, None for the present
    one. ``advance_ns`` is taken off every due time (see ``calibration``). ``memory_bytes`` bounds
    what is held on all links together, half of it on one direction. ``log`` receives the daemon's
    own words. Raises LinkError if it does not start.
    """

    name = "delayline"
    needs_inner = True

    def __init__(
        self,
        netns: str | None = None,
        *,
        advance_ns: int = 0,
        memory_bytes: int = 256 << 20,
        binary: Path = BINARY,
        log: Path | None = None,
    ) -> None:
        cause = problem(binary)
        if cause is not None:
            raise LinkError(cause)
        self.netns = netns
        self._lock = threading.Lock()
        self._labels: dict[int, str] = {}
        self._traces: dict[str, tuple[int, ...]] = {}
        self._log = log
        self._words: IO[bytes] = log.open("w+b") if log else tempfile.TemporaryFile()  # noqa: SIM115
        options = [f"--advance={advance_ns}", f"--memory={memory_bytes}"]
        if netns is not None:
            options.append(f"--netns={netns}")
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(PATIENCE_S)
        with theirs:
            self._process = subprocess.Popen(
                [binary, f"--control={theirs.fileno()}", *options],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self._words,
                stderr=self._words,
                start_new_session=True,  # Ctrl-C on the lab's terminal is not for it
            )
        try:
            self._ask(["ping"])
        except LinkError:
            self.close()
            raise

    @property
    def program(self) -> Program:
        """The daemon."""
        log = self._log or Path(f"/proc/self/fd/{self._words.fileno()}")
        return Program("delayline", self._process, log)

    @property
    def pid(self) -> int:
        """The daemon's process id."""
        return self._process.pid

    def attach_many(self, links: Iterable[LinkAttachment]) -> None:
        """Carry these links from now on; on an error, none of them."""
        new = list(links)
        lines = [_add(link) for link in new]
        answers = self._exchange(lines)
        added = [link for link, answer in zip(new, answers, strict=True) if _is_ok(answer)]
        self._labels |= {link.link_id: _label(link) for link in added}
        try:
            self._raise_first(lines, answers)
            self._ask([line for link in new for line in self._set_both(link)])
        except LinkError:
            for link in added:
                self.detach(link.link_id)
            raise

    def attach(self, link: LinkAttachment) -> None:
        """Carry one more link."""
        self.attach_many([link])

    def detach(self, link_id: int) -> None:
        """Let go of a link; packets on it are lost."""
        self._ask([f"del {link_id}"])
        self._labels.pop(link_id, None)

    def set(
        self, link_id: int, *, a_to_b: Impairment | None = None, b_to_a: Impairment | None = None
    ) -> None:
        """Replace the impairments of one or both directions and verify that they are in force.

        Packets on the link are delivered as they would have been.
        """
        wanted = dict(zip(DIRECTIONS, (a_to_b, b_to_a), strict=True))
        changes = {way: new for way, new in wanted.items() if new is not None}
        self._ask([line for way, new in changes.items() for line in self._set(link_id, way, new)])
        answers = self._ask([f"get {link_id} {way}" for way in changes])
        for (way, new), answer in zip(changes.items(), answers, strict=True):
            found = self._impairment(answer)
            if found != new:
                where = self._name_of(link_id)
                raise LinkError(f"{where} ({way}): wanted {new}, got {found}")

    def carrier(self, link_id: int, up: bool) -> None:
        """Pull (False) or plug (True) the cable: both outer ends see their carrier change.

        Packets on a pulled cable are lost and count as dropped, cause ``down``.
        """
        self._ask([f"carrier {link_id} {'up' if up else 'down'}"])

    def read(self, link_id: int) -> tuple[Impairment, Impairment]:
        """What is in force from a to b and from b to a, as the daemon reports it."""
        return self.read_many([link_id])[link_id]

    def read_many(self, link_ids: Iterable[int]) -> dict[int, tuple[Impairment, Impairment]]:
        """As ``read``, for many links at once."""
        links = list(link_ids)
        answers = self._ask([f"get {link} {way}" for link in links for way in DIRECTIONS])
        read = [self._impairment(answer) for answer in answers]
        return dict(zip(links, zip(read[::2], read[1::2], strict=True), strict=True))

    def stats(self) -> dict[int, tuple[LinkStats, LinkStats]]:
        """Counters of every link, from a to b and from b to a."""
        links = list(self._labels)
        answers = self._ask([f"stats {link} {way}" for link in links for way in DIRECTIONS])
        parsed = [_stats(answer) for answer in answers]
        return dict(zip(links, zip(parsed[::2], parsed[1::2], strict=True), strict=True))

    def overruns(self) -> int:
        """Packets that the daemon was too slow to read, so that nobody knows whose they were."""
        found = _pairs(self._ask(["info"])[0])
        return int(found["overruns"]) + int(found["malformed"])

    def reset_stats(self) -> None:
        """All counters and histograms to zero."""
        self._ask(["reset"])

    def compensate(self, advance_ns: int) -> int:
        """Send every packet this much earlier; returns what the daemon now has."""
        self.advance_ns = advance_ns
        return self.advance_ns

    @property
    def advance_ns(self) -> int:
        """What is taken off every due time, from the daemon."""
        return int(_pairs(self._ask(["info"])[0])["advance"])

    @advance_ns.setter
    def advance_ns(self, value: int) -> None:
        self._ask([f"advance {value}"])

    @property
    def anticipates(self) -> bool:
        """Whether the daemon sets its timers earlier by the usual lateness of being woken.

        True unless switched off. It learns that lateness on the run; a packet may then leave up to
        0.25 ms early, and is late by nothing in the median.
        """
        return _pairs(self._ask(["info"])[0])["anticipate"] == "on"

    @anticipates.setter
    def anticipates(self, value: bool) -> None:
        self._ask([f"anticipate {'on' if value else 'off'}"])

    def alive(self) -> bool:
        """Whether the daemon still runs and answers."""
        try:
            self.check()
        except LinkError:
            return False
        return True

    def check(self) -> None:
        """Raise LinkError saying what happened if the daemon died or does not answer."""
        self._ask(["ping"])

    def close(self) -> None:
        """End the daemon. May be called again."""
        self._socket.close()  # the daemon ends when its controller's socket does
        try:
            self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._words.close()

    # --- the protocol ---

    def _ask(self, lines: Sequence[str]) -> list[str]:
        """The answers without their ``ok``; LinkError on the first that is an error."""
        answers = self._exchange(lines)
        self._raise_first(lines, answers)
        return [answer.removeprefix("ok").strip() for answer in answers]

    def _raise_first(self, lines: Sequence[str], answers: Sequence[str]) -> None:
        for line, answer in zip(lines, answers, strict=True):
            if not _is_ok(answer):
                raise LinkError(f"{self._subject(line)}: {answer.removeprefix('err').strip()}")

    def _subject(self, line: str) -> str:
        words = line.split()
        if len(words) > 1 and words[0] != "trace" and words[1].isdecimal():
            return self._name_of(int(words[1]))
        return "link daemon"

    def _name_of(self, link_id: int) -> str:
        return f"link {link_id}{self._labels.get(link_id, '')}"

    def _exchange(self, lines: Sequence[str]) -> list[str]:
        answers: list[str] = []
        with self._lock:
            for batch in _batches(lines):
                answers += self._talk("\n".join(batch), len(batch))
        return answers

    def _talk(self, message: str, count: int) -> list[str]:
        try:
            self._socket.sendall(message.encode())
            answer = self._socket.recv(ANSWER_BYTES)
        except TimeoutError:
            self._socket.close()  # a late answer would be taken for the next one's
            raise LinkError(f"link daemon did not answer within {PATIENCE_S:g} s") from None
        except OSError:
            raise LinkError(self._post_mortem()) from None
        if not answer:
            raise LinkError(self._post_mortem())
        lines = answer.decode().splitlines()
        if len(lines) != count:
            raise LinkError(f"link daemon answered {len(lines)} of {count} lines")
        return lines

    def _post_mortem(self) -> str:
        """Why there is nobody to talk to, with the daemon's last words."""
        if self._words.closed:
            return "link daemon was closed"
        try:
            code = self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            return "link daemon closed its control socket"
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"code {code}"
        self._words.seek(0)
        tail = self._words.read().decode(errors="replace").strip().splitlines()[-5:]
        said = "; it said: " + " / ".join(tail) if tail else ""
        return f"link daemon died with {how}: no link carries packets any more{said}"

    # --- impairments as words ---

    def _set_both(self, link: LinkAttachment) -> Iterator[str]:
        for way, impairment in zip(DIRECTIONS, (link.a_to_b, link.b_to_a), strict=True):
            yield from self._set(link.link_id, way, impairment)

    def _set(self, link_id: int, way: str, impairment: Impairment) -> Iterator[str]:
        if impairment.trace is not None:
            self._traces[_trace_key(impairment.trace)] = impairment.trace
            yield from _stage(impairment.trace)
        yield " ".join(["set", str(link_id), way, *_words(impairment)])

    def _impairment(self, answer: str) -> Impairment:
        found = _pairs(answer)
        bursts = found.get("ge")
        return Impairment(
            delay_ns=int(found["delay"]),
            jitter_ns=int(found["jitter"]),
            jitter_distribution=cast(Distribution, found["dist"]),
            reorder_jitter=found["overtake"] == "1",
            loss=float(found.get("loss", 0)),
            gemodel=_quadruple(bursts) if bursts else None,
            duplicate=float(found.get("duplicate", 0)),
            corrupt=float(found.get("corrupt", 0)),
            reorder=float(found.get("reorder", 0)),
            rate_bit_s=int(found["rate"]) if "rate" in found else None,
            limit_packets=int(found["limit"]) if "limit" in found else None,
            trace=self._traces[found["trace"]] if "trace" in found else None,
            blackhole=found["blackhole"] == "1",
        )


def _label(link: LinkAttachment) -> str:
    return f" ({link.ends.a.outer} - {link.ends.b.outer})"


def _add(link: LinkAttachment) -> str:
    return f"add {link.link_id} {link.ends.a.inner} {link.ends.b.inner} {link.seed}"


def _is_ok(answer: str) -> bool:
    return answer == "ok" or answer.startswith("ok ")


def _batches(lines: Sequence[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for line in lines:
        if batch and (size + len(line) >= MESSAGE_BYTES or len(batch) == LINES_A_MESSAGE):
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += len(line) + 1
    if batch:
        yield batch


def _pairs(answer: str) -> dict[str, str]:
    return dict(word.split("=", 1) for word in answer.split())


def _quadruple(word: str) -> tuple[float, float, float, float]:
    p, r, h, k = map(float, word.split(","))
    return p, r, h, k


def _words(impairment: Impairment) -> Iterator[str]:
    yield f"delay={impairment.delay_ns}"
    yield f"jitter={impairment.jitter_ns}"
    yield f"dist={impairment.jitter_distribution}"
    yield f"overtake={int(impairment.reorder_jitter)}"
    yield f"blackhole={int(impairment.blackhole)}"
    for name in ("loss", "duplicate", "corrupt", "reorder"):
        yield f"{name}={float(getattr(impairment, name))!r}"
    if impairment.gemodel is not None:
        yield "ge=" + ",".join(repr(float(part)) for part in impairment.gemodel)
    if impairment.rate_bit_s is not None:
        yield f"rate={impairment.rate_bit_s}"
    if impairment.limit_packets is not None:
        yield f"limit={impairment.limit_packets}"
    if impairment.trace is not None:
        yield "trace=staged"


def _stage(trace: tuple[int, ...]) -> Iterator[str]:
    yield "trace clear"
    for start in range(0, len(trace), TRACE_WORDS_A_LINE):
        yield " ".join(["trace add", *map(str, trace[start : start + TRACE_WORDS_A_LINE])])


def _trace_key(trace: tuple[int, ...]) -> str:
    """How the daemon names a trace: its length and the CRC-32 of its little-endian words."""
    words = array.array("I", trace)
    if sys.byteorder == "big":
        words.byteswap()
    return f"{len(trace)}:{zlib.crc32(words.tobytes()):08x}"


def _bucket(word: str) -> tuple[int, int, int]:
    low, high, count = map(int, word.split(":"))
    return low, high, count


def _stats(answer: str) -> LinkStats:
    found = _pairs(answer)
    late = found.get("late")
    return LinkStats(
        packets=int(found["packets"]),
        bytes=int(found["bytes"]),
        drops={
            key.removeprefix("drop."): int(value)
            for key, value in found.items()
            if key.startswith("drop.")
        },
        lateness=Histogram(tuple(map(_bucket, late.split(","))) if late else ()),
        duplicated=int(found["duplicated"]),
        corrupted=int(found["corrupted"]),
        reordered=int(found["reordered"]),
        held=int(found["held"]),
        held_max=int(found["held_max"]),
    )
