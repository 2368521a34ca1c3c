"""netem's options as the kernel takes and gives them: pure translation, exact in every field.

Layouts are those of linux/pkt_sched.h. Probabilities are parts of 2**32 - 1, times nanoseconds.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

from topologies.emulation.links import RATE_RANGE_BIT_S, Impairment, LinkError
from topologies.emulation.rtnetlink import attribute, attributes

UNLIMITED_PACKETS = 1_000_000
"""netem's own default of 1000 would silently bound rate times delay."""
QUEUE_PACKETS = 1000
"""The queue before a rate where none is asked for, as with the daemon."""
ORDERED_BYTES_S = RATE_RANGE_BIT_S[1] // 8
"""A rate that costs no time but makes netem keep packets in order in spite of jitter."""
FRAME_BYTES = 1514
MOST_PACKETS = (1 << 32) - 1
"""netem counts its packets in 32 bits."""

ALWAYS = (1 << 32) - 1
"""Probability 1."""

_CORRELATION, _DISTRIBUTION, _REORDER, _CORRUPT, _LOSS, _RATE = 1, 2, 3, 4, 5, 6
_RATE64, _LATENCY64, _JITTER64, _SEED = 8, 10, 11, 14
_GILBERT_ELLIOTT = 2
_OPTIONS = struct.Struct("=IIIIII")  # latency, limit, loss, gap, duplicate, jitter
_PAIR, _TRIPLE, _QUADRUPLE = struct.Struct("=II"), struct.Struct("=III"), struct.Struct("=IIII")
_RATE_FIELDS = struct.Struct("=IiIi")
_SCALE = 8192  # of a distribution's table: a standard deviation
_TABLE = 4096


@dataclass(frozen=True, slots=True)
class Discipline:
    """The options of one netem. ``gemodel`` is p, r, 1-h and 1-k, as in tc-netem(8)."""

    limit: int
    delay_ns: int = 0
    jitter_ns: int = 0
    loss: int = 0
    gemodel: tuple[int, int, int, int] | None = None
    duplicate: int = 0
    reorder: int = 0
    corrupt: int = 0
    bytes_s: int = 0

    @classmethod
    def of(cls, impairment: Impairment) -> Discipline:
        """The options that make netem do this. Raises LinkError on what it cannot do."""
        if impairment.trace is not None:
            raise LinkError("netem cannot follow a packet-delivery trace; use delayline")
        if impairment.reorder_jitter and impairment.rate_bit_s is not None:
            raise LinkError("netem keeps packets in order where a rate is set; use delayline")
        ordered = impairment.jitter_ns and not impairment.reorder_jitter
        rate, bursts = impairment.rate_bit_s, impairment.gemodel
        return cls(
            limit=_limit(impairment),
            delay_ns=impairment.delay_ns,
            jitter_ns=impairment.jitter_ns,
            loss=ALWAYS if impairment.blackhole else _part(impairment.loss),
            gemodel=_quadruple(bursts) if bursts and not impairment.blackhole else None,
            duplicate=_part(impairment.duplicate),
            reorder=_part(impairment.reorder),
            corrupt=_part(impairment.corrupt),
            bytes_s=rate // 8 if rate is not None else ORDERED_BYTES_S if ordered else 0,
        )

    def encode(self, *, normal: bool = False, seed: int = 0) -> bytes:
        """The attributes of a request. ``normal`` jitter is deviates of the normal distribution.

        All are there, for what a change does not name would stay as it was; but that jitter was
        normal, the kernel cannot forget. Kernels before 6.6 have no seed and ignore it.
        """
        gap = 1 if self.reorder else 0
        parts = [
            _OPTIONS.pack(0, self.limit, self.loss, gap, self.duplicate, 0),
            attribute(_LATENCY64, struct.pack("=q", self.delay_ns)),
            attribute(_JITTER64, struct.pack("=q", self.jitter_ns)),
            attribute(_CORRELATION, _TRIPLE.pack(0, 0, 0)),
            attribute(_REORDER, _PAIR.pack(self.reorder, 0)),
            attribute(_CORRUPT, _PAIR.pack(self.corrupt, 0)),
            attribute(_RATE, _RATE_FIELDS.pack(min(self.bytes_s, ALWAYS), 0, 0, 0)),
            attribute(_RATE64, struct.pack("=Q", self.bytes_s)),
            attribute(_SEED, struct.pack("=Q", seed)),
        ]
        if self.gemodel is not None:
            p, r, not_h, not_k = self.gemodel
            model = _QUADRUPLE.pack(p, r, ALWAYS - not_h, not_k)
            parts.append(attribute(_LOSS, attribute(_GILBERT_ELLIOTT, model)))
        if normal and self.jitter_ns:
            parts.append(attribute(_DISTRIBUTION, _normal()))
        return b"".join(parts)

    @classmethod
    def decode(cls, options: bytes) -> Discipline:
        """The options in the kernel's report."""
        _, limit, loss, gap, duplicate, _ = _OPTIONS.unpack_from(options)
        found = attributes(options[_OPTIONS.size :])
        (rate, *_) = _RATE_FIELDS.unpack(found[_RATE]) if _RATE in found else (0,)
        return cls(
            limit=limit,
            delay_ns=_number("=q", found, _LATENCY64),
            jitter_ns=_number("=q", found, _JITTER64),
            loss=loss,
            gemodel=_gemodel(found.get(_LOSS, b"")),
            duplicate=duplicate,
            reorder=_number("=I", found, _REORDER) if gap else 0,
            corrupt=_number("=I", found, _CORRUPT),
            bytes_s=max(rate, _number("=Q", found, _RATE64)),
        )


def _number(layout: str, found: Mapping[int, bytes], kind: int) -> int:
    return int(struct.unpack_from(layout, found[kind])[0]) if kind in found else 0


def _gemodel(loss: bytes) -> tuple[int, int, int, int] | None:
    model = attributes(loss).get(_GILBERT_ELLIOTT)
    if model is None:
        return None
    p, r, h, not_k = _QUADRUPLE.unpack(model)
    return p, r, ALWAYS - h, not_k


def _part(probability: float) -> int:
    return round(probability * ALWAYS)


def _quadruple(bursts: tuple[float, float, float, float]) -> tuple[int, int, int, int]:
    p, r, not_h, not_k = map(_part, bursts)
    return p, r, not_h, not_k


@cache
def _normal() -> bytes:
    """The table that netem draws from: the normal distribution's quantiles."""
    deviate = NormalDist().inv_cdf
    limit = (1 << 15) - 1
    values = (round(deviate((i + 0.5) / _TABLE) * _SCALE) for i in range(_TABLE))
    return struct.pack(f"={_TABLE}h", *(max(-limit, min(limit, value)) for value in values))


def _limit(impairment: Impairment) -> int:
    """The limit of netem counts packets in flight too; a queue limit before a rate does not.

    The room for packets in flight is reckoned in full-size frames.
    """
    if impairment.rate_bit_s is None:
        return impairment.limit_packets or UNLIMITED_PACKETS
    in_flight_s = (impairment.delay_ns + impairment.jitter_ns) / 1e9
    flying = math.ceil(in_flight_s * impairment.rate_bit_s / 8 / FRAME_BYTES)
    return min((impairment.limit_packets or QUEUE_PACKETS) + flying, MOST_PACKETS)
