"""Which PoP serves whom in a run: as the study found, else by the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from experiments.verdict.oracle import oracle
from topologies.model import Network
from topologies.plan import HostRole, Plan

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = {"client", "city", "pop"}
"""A study's table with these says who was served where."""

MEASURED = "the one that answered in this run"
BY_MODEL = "the one with the least delay, by the model; this study does not ask"

Served = tuple[str, str]
"""A client's city, and the PoP that serves it."""


@dataclass(frozen=True, slots=True)
class Catchment:
    """A PoP, and what it serves: clients by city, most first."""

    pop: str
    name: str
    servers: int
    clients: int
    cities: Sequence[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Catchments:
    """Who is served where. ``source`` says how that is known, ``by_city`` where most go."""

    source: str
    pops: Sequence[Catchment]
    by_city: Mapping[str, str]
    unserved: int


def catchments(plan: Plan, tables: Mapping[str, pd.DataFrame]) -> Catchments:
    """Who is served where, from the study's table if one tells, else from the oracle."""
    network = plan.network
    found = _measured(network, tables)
    source = BY_MODEL if found is None else MEASURED
    served = _modelled(plan) if found is None else found
    clients = sum(at.count for at in network.clients)
    pairs = Counter(served)
    by_pop = [_catchment(network, pop.city, pop.servers, pairs) for pop in network.pops]
    return Catchments(
        source,
        by_pop,
        {city: pop for (city, pop), _ in reversed(pairs.most_common())},
        clients - sum(pop.clients for pop in by_pop),
    )


def _measured(network: Network, tables: Mapping[str, pd.DataFrame]) -> list[Served] | None:
    """From the study's own table; of several arms it is that of the network's own policy."""
    for table in tables.values():
        if not set(table.columns) >= COLUMNS:
            continue
        mine = table[table["arm"] == network.steering.value] if "arm" in table else table
        if len(mine):
            known = mine[mine["pop"].isin([pop.city for pop in network.pops])]
            return list(zip(known["city"], known["pop"], strict=True))
    return None


def _modelled(plan: Plan) -> Iterable[Served]:
    model = oracle(plan)
    for client in plan.hosts_of(HostRole.CLIENT):
        for pop in model.anycast_pops(client.name, model.pops)[:1]:
            yield client.city, pop


def _catchment(network: Network, pop: str, servers: int, pairs: Counter[Served]) -> Catchment:
    mine = [(city, count) for (city, to), count in pairs.most_common() if to == pop]
    name = network.city(pop).name
    return Catchment(pop, name, servers, sum(count for _, count in mine), mine)
