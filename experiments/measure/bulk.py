"""Bulk transfer by iperf3, from one host of a lab to another."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass

from experiments.errors import TrialError
from topologies.emulation import netns
from topologies.family import Address

__all__ = ["Transfer", "parse", "transfer"]

PROGRAM = "iperf3"
_PATIENCE_S = 20.0
_LISTENS = "listening"


@dataclass(frozen=True, slots=True)
class Transfer:
    """What the receiver got of TCP's payload, in so many seconds after the omitted ones."""

    received_bytes: int
    seconds: float
    retransmits: int

    @property
    def goodput_bit_s(self) -> float:
        """Payload that arrived, bits a second."""
        return 8 * self.received_bytes / self.seconds


def transfer(
    client: str,
    server: str,
    destination: Address,
    *,
    seconds: float,
    omit_s: float,
    window_bytes: int,
) -> Transfer:
    """Send from ``client`` to ``server``, which has ``destination``, as fast as TCP will.

    The first ``omit_s`` are left out, whole seconds as ``seconds`` are; ``window_bytes`` bounds
    the sockets' buffers, and with them what is on its way.

    Raises TrialError where iperf3 is missing or fails, FileNotFoundError if a host does not exist.
    """
    with _start(server, "--server", "--one-off", "--forceflush") as listener:
        try:
            _await(listener)
            asked = _start(
                client,
                *("--client", str(destination), "--json"),
                *("--time", f"{seconds:.0f}", "--omit", f"{omit_s:.0f}"),
                *("--window", str(window_bytes)),
            )
            with asked:
                try:
                    told, _ = asked.communicate(timeout=seconds + omit_s + _PATIENCE_S)
                except subprocess.TimeoutExpired:
                    asked.kill()
                    raise TrialError(f"{PROGRAM} from {client} to {server} did not end.") from None
        finally:
            listener.kill()
    return parse(told)


def _start(host: str, *options: str) -> subprocess.Popen[str]:
    """iperf3 in a host's namespace. Raises TrialError where there is none."""
    with netns.inside(host):
        try:
            return subprocess.Popen(
                [PROGRAM, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        except FileNotFoundError:
            raise TrialError(f"{PROGRAM} is missing: `make setup` installs it.") from None


def _await(listener: subprocess.Popen[str]) -> None:
    """Return when it listens. Raises TrialError if it ends before."""
    assert listener.stdout is not None
    told = ""
    for line in listener.stdout:
        told += line
        if _LISTENS in line:
            return
    raise TrialError(f"{PROGRAM} does not serve: {told.strip()}")


def parse(told: str) -> Transfer:
    """What a client's JSON says. Raises TrialError if it tells of an error, or is none."""
    try:
        report = json.loads(told)
    except ValueError:
        raise TrialError(f"{PROGRAM} gave no JSON: {told.strip()[-200:]}") from None
    if "error" in report:
        raise TrialError(f"{PROGRAM}: {report['error']}")
    received, sent = report["end"]["sum_received"], report["end"]["sum_sent"]
    return Transfer(int(received["bytes"]), float(received["seconds"]), int(sent["retransmits"]))
