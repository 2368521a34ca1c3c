"""Record the frames of a link: ``python -m experiments.measure.recorder FILE END END``.

An END is NAMESPACE:INTERFACE. At each of them the frames are taken that leave and that arrive, so
a frame that crosses the link stands in the file twice: when it was sent, and when it came out. A
process of its own, so that the measuring one is not slowed; SIGTERM ends it.
"""

from __future__ import annotations

import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from experiments.measure import pcapng
from experiments.measure.kernel import ETH_P_ALL, frames, open_tap, packet_counts
from experiments.measure.pcapng import Direction

__all__ = ["record"]

BUFFER_BYTES = 64 << 20
LOOK_S = 0.2


class _Tap:
    """A packet socket on one interface, in the order in which the file names them."""

    def __init__(self, number: int, end: str) -> None:
        namespace, _, interface = end.partition(":")
        self.number, self.taken = number, 0
        self.socket = open_tap(namespace, BUFFER_BYTES)
        self.socket.bind((interface, ETH_P_ALL))

    def drain(self, file: BinaryIO) -> None:
        """Write what has come."""
        for data, stamp, sender in frames(self.socket):
            seconds, nanoseconds = struct.unpack("=qq", stamp)
            going = sender[2] == socket.PACKET_OUTGOING
            way = Direction.OUTBOUND if going else Direction.INBOUND
            at_ns = seconds * 10**9 + nanoseconds
            file.write(pcapng.frame(self.number, at_ns, way, data))
            self.taken += 1

    def close(self, file: BinaryIO) -> None:
        """Write how many frames were dropped on the way here."""
        self.drain(file)
        _, dropped = packet_counts(self.socket)
        file.write(pcapng.statistics(self.number, time.time_ns(), self.taken + dropped, dropped))
        self.socket.close()


def record(path: Path, ends: Sequence[str]) -> None:
    """Record until SIGTERM or SIGINT. The file appears when all sockets listen.

    Raises FileNotFoundError if a namespace does not exist, OSError if an interface does not.
    """
    over = [False]

    def end(_signal: int, _frame: object) -> None:
        over[0] = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    taps = [_Tap(number, name) for number, name in enumerate(ends)]
    with path.open("wb") as file:
        file.write(pcapng.header(ends))
        file.flush()
        while not over[0]:
            select.select([tap.socket for tap in taps], [], [], LOOK_S)
            for tap in taps:
                tap.drain(file)
        for tap in taps:
            tap.close(file)


if __name__ == "__main__":
    record(Path(sys.argv[1]), sys.argv[2:])
