"""A study without a lab needs no fake: it computes, once for each network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from typing import Any

from experiments.runs import runner
from experiments.study import Trial, study
from experiments.verdict.oracle import Oracle
from topologies.model import Network
from topologies.plan import Plan, plan


class Kept:
    """A reporter that keeps rows."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def emit(self, row: Mapping[str, Any]) -> None:
        self.rows.append(dict(row))

    def event(self, name: str, detail: str) -> None:
        pass

    def step(self, name: str, expected_s: float) -> None:
        pass


def computed(made: Plan, _oracle: Oracle) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What the study internet finds on a small Internet, as it comes out of its archive."""
    return deepcopy(_computed(made.network))


@cache
def _computed(network: Network) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    spec = runner.make_spec("internet", network, quick=True)
    made, kept = plan(spec.network), Kept()
    t = Trial(spec, None, made, Oracle(made), {}, kept)
    study("internet").trial(t)
    return kept.rows, json.loads(json.dumps(t.observed))
