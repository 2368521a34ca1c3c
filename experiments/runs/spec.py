"""A trial, fully described before it starts: frozen, and the same text for the same trial."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.control.scenario import Scenario, Step
from experiments.parameters import Value
from topologies.emulation.options import USUAL, LabOptions
from topologies.emulation.sandbox import LIMIT_S
from topologies.explicit import dump_json, parse
from topologies.family import Family
from topologies.model import Network

SCHEMA = 1
"""Version of a spec's JSON; rises when a reader of old specs would stumble."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What one trial does: equal specs give equal plans, schedules and rules.

    ``params`` are the study's own parameters with every default resolved; ``options`` say what
    carries the lab, as it was asked for. A trial that takes longer than ``limit_s`` seconds of
    the wall's clock is ended. ``scenario`` is what happens to the lab meanwhile. Clients ask by
    ``family``; what is lent is IPv4. The frames of the links in ``pcap`` are kept.
    """

    study: str
    network: Network
    seed: int = 1
    quick: bool = False
    options: LabOptions = USUAL
    params: Mapping[str, Value] = field(default_factory=dict)
    limit_s: float = LIMIT_S
    scenario: Scenario = ()
    family: Family = 4
    pcap: tuple[str, ...] = ()

    def number(self, name: str) -> float:
        """A parameter that is a number."""
        value = self.params[name]
        assert isinstance(value, int | float), f"{name} is {value!r}"
        return value

    def numbers(self, name: str) -> tuple[float, ...]:
        """A parameter that is a list of numbers."""
        value = self.params[name]
        assert isinstance(value, tuple), f"{name} is {value!r}"
        return tuple(float(number) for number in value)

    def dump(self) -> dict[str, Any]:
        """The spec as plain data for JSON; ``parse`` gives an equal spec back."""
        return {
            "schema": SCHEMA,
            "study": self.study,
            "seed": self.seed,
            "quick": self.quick,
            "links": self.options.links,
            "datapath": self.options.datapath,
            "clock": self.options.clock,
            "root": self.options.root,
            "limit_s": self.limit_s,
            "family": self.family,
            "pcap": list(self.pcap),
            "params": dict(self.params),
            "scenario": [step.dump() for step in self.scenario],
            "network": json.loads(dump_json(self.network)),
        }

    def text(self) -> str:
        """The spec as JSON text."""
        return json.dumps(self.dump(), indent=1) + "\n"

    def write(self, path: Path) -> None:
        """Write the spec to a file."""
        path.write_text(self.text())

    @staticmethod
    def parse(data: Mapping[str, Any]) -> Spec:
        """The spec that ``dump`` described. Raises ValueError for another schema."""
        if data["schema"] != SCHEMA:
            raise ValueError(
                f"spec schema {data['schema']} is not {SCHEMA}: use the poplab that wrote it"
            )
        return Spec(
            study=data["study"],
            network=parse(data["network"]),
            seed=data["seed"],
            quick=data["quick"],
            options=LabOptions.parse(
                data["links"],
                data.get("datapath", "auto"),
                data.get("clock", "real"),
                data.get("root", "host"),
            ),
            params={
                name: tuple(value) if isinstance(value, list) else value
                for name, value in data["params"].items()
            },
            limit_s=data.get("limit_s", LIMIT_S),
            family=data.get("family", 4),
            pcap=tuple(data.get("pcap", ())),
            scenario=tuple(Step(**step) for step in data.get("scenario", ())),
        )

    @staticmethod
    def parse_text(text: str) -> Spec:
        """The spec that ``text`` gave."""
        return Spec.parse(json.loads(text))

    @staticmethod
    def read(path: Path) -> Spec:
        """The spec in a file that ``write`` wrote."""
        return Spec.parse_text(path.read_text())
