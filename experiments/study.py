"""The shape of a study, and what it is given inside and outside of the lab."""

from __future__ import annotations

import importlib
import pkgutil
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from experiments import studies
from experiments.errors import TrialError, UsageError
from experiments.parameters import Parameter, Value
from experiments.runs.spec import Spec
from experiments.verdict.oracle import Oracle
from experiments.verdict.result import Check, Metric
from experiments.verdict.truth import Timed
from topologies.emulation.links import Histogram
from topologies.family import FAMILIES, Address, Family
from topologies.model import Network, Policy, Upstream
from topologies.plan import HostPlan, Plan

if TYPE_CHECKING:
    import pandas as pd

    from experiments.measure.echo import EchoProbe, EchoRow
    from experiments.measure.judge import Judge
    from experiments.runs.testbed import Testbed

COUNTERS_SETTLE_S = 6.0
COUNTERS_STILL_S = 1.2

STILL_DUTIES = ("spoof", "return", "home", "unlent")
"""The counters that studies read; others never rest, since leases are renewed."""

Counters = dict[str, dict[str, int]]
"""Packets by switch and duty."""


def total(counters: Mapping[str, Mapping[str, int]], duty: str) -> int:
    """Packets of one duty over all switches."""
    return sum(duties.get(duty, 0) for duties in counters.values())


STUDIES = tuple(sorted(module.name for module in pkgutil.iter_modules(studies.__path__)))
"""Every module of ``experiments.studies``."""


@dataclass(frozen=True, slots=True)
class Borrowed:
    """A server's borrowed address and port set, as its agent has configured it."""

    server: str
    pop: str
    address: str
    first_port: int
    last_port: int

    @property
    def ports(self) -> tuple[int, int]:
        """The port set, first and last."""
        return (self.first_port, self.last_port)

    @property
    def foreign_port(self) -> int:
        """A port of the next set: the same address, but somebody else's or nobody's."""
        after, size = self.last_port + 1, self.last_port - self.first_port + 1
        return after if after + size <= 65536 else self.first_port - 1


class Reporter(Protocol):
    """Where a trial's rows, events and progress go."""

    def emit(self, row: Mapping[str, Any]) -> None:
        """Keep one row of samples."""

    def event(self, name: str, detail: str) -> None:
        """Keep something that happened, with its time."""

    def step(self, name: str, expected_s: float) -> None:
        """Tell people what goes on now, and for how long."""


@dataclass
class Trial:
    """What a study is given inside the sandbox, when the lab stands and leases are held.

    ``observed`` keeps facts that are not samples (counters, verdicts) for the evaluation,
    ``lateness`` that of the links in timed steps. Without a lab there is no ``testbed``, and nobody
    has a lease.
    """

    spec: Spec
    testbed: Testbed | None
    plan: Plan
    oracle: Oracle
    leases: Mapping[str, Borrowed]
    reporter: Reporter
    observed: dict[str, Any] = field(default_factory=dict)
    lateness: Histogram = field(default_factory=Histogram)

    def __post_init__(self) -> None:
        """Seed the one source of chance."""
        self.random = random.Random(self.spec.seed)

    @property
    def lab(self) -> Testbed:
        """The lab that runs. Raises TrialError in a study that said it needs none."""
        if self.testbed is None:
            raise TrialError(f"The study {self.spec.study} said that it needs no lab.")
        return self.testbed

    def param(self, name: str) -> float:
        """A number among the parameters of this trial."""
        return self.spec.number(name)

    def count(self, name: str) -> int:
        """A parameter's value as a whole number."""
        return int(self.spec.number(name))

    @property
    def service(self) -> Address:
        """The service address that clients ask, of the family of this trial."""
        return self.plan.services(self.spec.family)[0]

    def address(self, host: HostPlan) -> Address:
        """A host's own address of the family of this trial."""
        return host.at(self.spec.family)

    def ping(
        self, probes: Sequence[EchoProbe], *, count: int, token: bytes | None = None
    ) -> list[EchoRow]:
        """Ping at the trial's pace: ``rate_per_s`` of all probes together, ``timeout_s`` for each.

        ``token`` marks the requests, as for ``measure.ping``.
        """
        from experiments.measure.ping import ping

        return ping(
            probes,
            count=count,
            interval_s=len(probes) / self.param("rate_per_s"),
            timeout_s=self.param("timeout_s"),
            seed=self.spec.seed,
            token=token,
        )

    def announce(self, announced: set[str], wanted: set[str]) -> set[str]:
        """Of PoPs that are ``announced`` have these and no others; somebody serves all the while.

        Returns those that are announced then.
        """
        for pop in self.oracle.pops:
            if pop in wanted - announced:
                self.lab.control.pop_announce(pop)
        for pop in self.oracle.pops:
            if pop in announced - wanted:
                self.lab.control.pop_withdraw(pop)
        self.lab.settle()
        if self.plan.routers:
            self.lab.come_to_rest(told=bool(wanted))
        return wanted

    def counters(self) -> Counters:
        """Packets by switch and duty since they were programmed, once they stand still.

        Open vSwitch brings its counters up to date about once a second.
        """
        deadline = time.monotonic() + COUNTERS_SETTLE_S
        last = self._count_packets()
        while time.monotonic() < deadline:
            time.sleep(COUNTERS_STILL_S)
            now = self._count_packets()
            if all(total(now, duty) == total(last, duty) for duty in STILL_DUTIES):
                return now
            last = now
        return last

    def _count_packets(self) -> Counters:
        return {
            switch: {duty: counted["packets"] for duty, counted in duties.items()}
            for switch, duties in self.lab.controller_api.counters().items()
        }

    def counters_since(self, before: Counters) -> Counters:
        """Packets by switch and duty since an earlier reading."""
        return {
            switch: {duty: n - before.get(switch, {}).get(duty, 0) for duty, n in duties.items()}
            for switch, duties in self.counters().items()
        }

    def judge(self) -> Judge:
        """A judge of misdelivery in every server, by the leases as they stand."""
        from experiments.measure.judge import Judge, PortSet

        held = {
            name: [PortSet(IPv4Address(lease.address), *lease.ports)]
            for name, lease in self.leases.items()
        }
        return Judge([pool.prefix for pool in self.plan.network.pools], held)

    def foreign_address(self, lease: Borrowed) -> IPv4Address:
        """Another PoP's lent address, or else an address of the pool that nobody holds."""
        others = sorted({other.address for other in self.leases.values()} - {lease.address})
        return IPv4Address(self.random.choice(others)) if others else self.unlent_address()

    def unlent_address(self) -> IPv4Address:
        """An address of the pool that nobody holds, from the end that is lent last."""
        lent = {lease.address for lease in self.leases.values()}
        for pool in self.plan.network.pools:
            for number in reversed(range(pool.prefix.num_addresses)):
                if str(pool.prefix[number]) not in lent:
                    return pool.prefix[number]
        raise TrialError("Every address of the pool is lent: give the network a larger pool.")

    @contextmanager
    def step(self, name: str, expected_s: float = 0.0) -> Iterator[None]:
        """Do a part of the trial that people can watch."""
        self.reporter.step(name, expected_s)
        self.reporter.event("begin", name)
        yield
        self.reporter.event("end", name)

    @contextmanager
    def timed_step(self, name: str, expected_s: float = 0.0) -> Iterator[None]:
        """A step that measures times: how late the links are meanwhile is the run's error bar."""
        before = self._lateness()
        with self.step(name, expected_s):
            yield
        self.lateness += self._lateness() - before

    def _lateness(self) -> Histogram:
        """Of all links in both directions, since the lab's start."""
        assert self.lab.emulator is not None
        total = Histogram()
        for there, back in self.lab.emulator.stats().values():
            total += there.lateness + back.lateness
        return total


@dataclass(frozen=True)
class Evidence:
    """What a trial brought home; ``samples`` has the study's own columns."""

    spec: Spec
    plan: Plan
    oracle: Oracle
    samples: pd.DataFrame
    observed: Mapping[str, Any]


@dataclass(frozen=True)
class Findings:
    """What a study makes of its evidence. ``answer`` is the result in one sentence."""

    answer: str
    metrics: Mapping[str, Metric]
    checks: tuple[Check, ...]
    tables: Mapping[str, pd.DataFrame]


Prepare = Callable[[Network, Mapping[str, Value]], Network]
"""From a network and the study's parameters to the network to run on. Raises UsageError."""


def _as_it_is(network: Network, _params: Mapping[str, Value]) -> Network:
    return network


def with_a_choice(network: Network, _params: Mapping[str, Value]) -> Network:
    """The network as it is, for a ``Study.prepare``. Raises UsageError if it has one PoP alone."""
    if len(network.pops) < 2:
        raise UsageError(f"{network.name} has one PoP: there is nothing to choose.")
    return network


@dataclass(frozen=True)
class Study:
    """A question, how it is asked, and how the answer is read.

    ``trial`` runs inside the lab and must import lightly; ``evaluate`` is pure; ``draw`` writes
    figures into a folder and returns their paths.
    """

    name: str
    question: str
    baselines: tuple[str, ...]
    controls: tuple[str, ...]
    parameters: Mapping[str, Parameter]
    trial: Callable[[Trial], None]
    evaluate: Callable[[Evidence], Findings]
    draw: Callable[[Evidence, Findings, Path], list[Path]]
    timed: Timed | None = None
    """Which of its samples are times, by which every run is judged; None if it measures none."""
    families: tuple[Family, ...] = FAMILIES
    """By which families clients can ask."""
    policies: tuple[Policy, ...] = (Policy.NEAREST,)
    """By which steering its model holds."""
    upstreams: tuple[Upstream, ...] = (Upstream.SDN,)
    """And over what between cities."""
    prepare: Prepare = _as_it_is
    """The network that it needs, made from the one that is asked for."""
    sends_packets: bool = True
    """Whether packets are part of the answer, which could be late."""
    lab: bool = True
    """Whether it needs a lab. Without one its trial computes, and the emulator is not judged."""
    measures_computing: bool = False
    """Whether the answer depends on how long programs compute, which takes no virtual time."""

    def params(self, quick: bool, given: Mapping[str, object]) -> dict[str, Value]:
        """Every parameter's value. Raises UsageError for a wrong name or kind of value."""
        usual = {name: p.quick if quick else p.usual for name, p in self.parameters.items()}
        return usual | {name: self.parameter(name).check(name, given[name]) for name in given}

    def parameter(self, name: str) -> Parameter:
        """The parameter with this name. Raises UsageError if there is none."""
        if name not in self.parameters:
            raise UsageError(
                f"The study {self.name} has no parameter {name!r}: "
                f"use one of {', '.join(self.parameters)}."
            )
        return self.parameters[name]


def study(name: str) -> Study:
    """The study with this name. Raises UsageError if there is none."""
    if name not in STUDIES:
        raise UsageError(f"There is no study {name!r}: use one of {', '.join(STUDIES)}.")
    found = importlib.import_module(f"experiments.studies.{name}").STUDY
    assert isinstance(found, Study)
    return found
