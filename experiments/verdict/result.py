"""What a run says in the end: metrics with units, checks, fidelity, and whether to believe it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Verdict = Literal["valid", "invalid", "unknown"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One number. ``unit`` is ``ms``, ``us``, ``1`` for a share or a plain count, ..."""

    value: float | int | None
    unit: str


@dataclass(frozen=True, slots=True)
class Check:
    """A statement about the run that must hold, a control that must fail among them.

    ``passed`` is None where nobody could tell. ``noise`` tells of one that failed by what a busy
    machine does to any network: times longer than the model's, never shorter, or packets that the
    emulator had no time to take in.
    """

    name: str
    passed: bool | None
    detail: str
    noise: bool = False


@dataclass(frozen=True, slots=True)
class Fidelity:
    """The emulator's own error: measured minus modelled RTT over the calibration's paths.

    ``links`` is the number of links that were emulated, ``worst_path_us`` the path whose median
    error is farthest from 0, ``samples`` the number of RTTs behind the figures. ``advance_us`` is
    what each emulated link sends early to make up for its own cost and a switch's;
    ``uncompensated_p50_us`` is the median error without it. ``late_p99_us`` is by how much one
    packet in a hundred left a link too late while the study measured times (None where the
    backend cannot tell), ``late_bound_us`` what is tolerated; ``steal_share`` is the part of the
    host's CPU time that its hypervisor withheld, ``busy_share`` the part that was used.
    ``reply_share`` of the pings behind it were answered, ``model_reply_share`` would be by the
    links' loss. ``overruns`` packets the backend lost before it saw whose they were.
    """

    backend: str
    rtt_error_p50_us: float
    rtt_error_p99_us: float
    links: int
    worst_path_us: float
    bound_us: float
    samples: int
    advance_us: float = 0.0
    uncompensated_p50_us: float = 0.0
    late_p99_us: float | None = None
    late_bound_us: float = 1000.0
    steal_share: float = 0.0
    busy_share: float = 0.0
    reply_share: float = 1.0
    model_reply_share: float = 1.0
    overruns: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of one run, and the folder where all of it lies."""

    run: Path
    study: str
    network: str
    seed: int
    checks: tuple[Check, ...]
    metrics: Mapping[str, Metric]
    fidelity: Fidelity | None
    """None for a study without a lab."""
    sandbox: Mapping[str, Any] = field(default_factory=dict)
    """What the results depend on: the clock, and in virtual time kernel, seed and memory."""
    capture_sha256: str | None = None
    """The hash of every frame on every link with its time; None in real time."""

    @property
    def clock(self) -> str:
        """``real``, ``virtual``, or ``none`` without a lab."""
        return str(self.sandbox.get("clock", "real"))

    @property
    def verdict(self) -> Verdict:
        """``valid`` if every check passed: what must fail did, and the emulator was true.

        ``unknown`` if none failed, but some could not be told. That never counts as valid.
        """
        if not self.checks or any(check.passed is False for check in self.checks):
            return "invalid"
        return "valid" if all(check.passed for check in self.checks) else "unknown"

    @property
    def noisy(self) -> bool:
        """Whether noise alone stands against it: a quiet machine or virtual time may find it valid.

        Its times say nothing then; what reached whom is as true as in a valid run. In virtual time
        no machine is too busy, so there it is never that.
        """
        against = [check for check in self.checks if check.passed is False]
        return self.clock == "real" and bool(against) and all(check.noise for check in against)

    @property
    def valid(self) -> bool:
        """Whether the verdict is ``valid``."""
        return self.verdict == "valid"

    def contract(self) -> dict[str, Any]:
        """The object that ``poplab run --json`` prints; scripts rely on its names."""
        contract: dict[str, Any] = {
            "run": str(self.run),
            "study": self.study,
            "network": self.network,
            "seed": self.seed,
            "clock": self.clock,
            "sandbox": dict(self.sandbox),
            "capture_sha256": self.capture_sha256,
            "valid": self.valid,
            "verdict": self.verdict,
            "noisy": self.noisy,
            "checks": [asdict(check) for check in self.checks],
            "metrics": {name: asdict(metric) for name, metric in self.metrics.items()},
            "fidelity": None if self.fidelity is None else asdict(self.fidelity),
        }
        finite = _finite(contract)
        assert isinstance(finite, dict)
        return finite

    @staticmethod
    def from_contract(data: Mapping[str, Any]) -> Result:
        """The result that ``contract`` was made of."""
        return Result(
            run=Path(data["run"]),
            study=data["study"],
            network=data["network"],
            seed=data["seed"],
            checks=tuple(Check(**check) for check in data["checks"]),
            metrics={name: Metric(**metric) for name, metric in data["metrics"].items()},
            fidelity=_fidelity(data["fidelity"]),
            sandbox=data.get("sandbox", {}),
            capture_sha256=data.get("capture_sha256"),
        )


def _fidelity(data: Mapping[str, Any] | None) -> Fidelity | None:
    return None if data is None else Fidelity(**{name: _told(name, v) for name, v in data.items()})


def _told(name: str, value: Any) -> Any:
    """A field of Fidelity as it was: JSON has no NaN, and only lateness may be untold."""
    return math.nan if value is None and name != "late_p99_us" else value


def _finite(value: Any) -> Any:
    """The same data fit for JSON: what is not a number becomes null, long fractions short."""
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value
