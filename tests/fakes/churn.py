"""What connections would go through in a perfect lab, by the model of the study churn."""

from __future__ import annotations

from typing import Any

from controller.core.events import BalancingSet
from controller.core.world import World
from experiments.studies import churn
from experiments.verdict.oracle import Oracle
from experiments.verdict.placement import Flow, Placement
from topologies.model import Balancing
from topologies.plan import HostRole, Plan

CONNECTIONS = 120


def churned(made: Plan, oracle: Oracle) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows and observations: what moves breaks, but with a second chance, and but for a crash."""
    rows = [row for arm in churn.ARMS for row in _Connections(made, oracle, arm).rows()]
    moved = [r for r in rows if r["arm"] == churn.OURS.name and r["model"] != r["before"]]
    return rows, {
        "steady": {arm.name: {"ok": 100} for arm in churn.ARMS},
        "handed_back": {churn.OURS.name: 2 * len(moved)},
        "crashed": _crashed(made, oracle),
    }


def _crashed(made: Plan, oracle: Oracle) -> str:
    return str(next(churn.changes(made, oracle)).params["server"])


class _Connections:
    """Those of one arm."""

    def __init__(self, made: Plan, oracle: Oracle, arm: churn.Arm) -> None:
        self._plan, self._oracle, self._arm = made, oracle, arm
        self._holders: dict[int, str] = {}

    def rows(self) -> list[dict[str, Any]]:
        """An exchange on each connection after each change; what broke is opened again."""
        # The switch's own group has to be something: nobody looks at what.
        usual = BalancingSet(Balancing.RENDEZVOUS, second_chance=False)
        world = World(self._plan).after(self._arm.event if self._arm.predicted else usual)
        acts = [churn.Change(churn.OPENED), *churn.changes(self._plan, self._oracle)]
        acts += [churn.Change(churn.CRASHED)] if self._arm is churn.OURS else []
        found = []
        for change in acts:
            world = world if change.event is None else world.after(change.event)
            place = Placement(world)
            found += [self._asked(n, change.name, place) for n in range(CONNECTIONS)]
        return found

    def _asked(self, number: int, change: str, place: Placement) -> dict[str, Any]:
        clients = self._plan.hosts_of(HostRole.CLIENT)
        client, port = clients[number % len(clients)], 40000 + number
        service = self._plan.services(4)[0]
        now = place.server(client.city, Flow(client.address, service, port))
        assert now is not None
        before = self._holders.get(number)
        broken = self._breaks(change, before, now)
        self._holders[number] = now if broken or before is None else before
        server = None if broken else self._holders[number]
        rtt_ms = server and self._oracle.borrowed_rtt_ms(
            server, client.name, (place.pop(client.city),)
        )
        return {
            "arm": self._arm.name,
            "change": change,
            "connection": number,
            "host": client.name,
            "port": port,
            "outcome": "reset" if broken else "ok",
            "before": before,
            "server": server,
            "model": now if self._arm.predicted else None,
            "rtt_ms": rtt_ms,
            "model_rtt_ms": rtt_ms,
        }

    def _breaks(self, change: str, before: str | None, now: str) -> bool:
        if change == churn.CRASHED:
            return before == _crashed(self._plan, self._oracle)
        return before is not None and not self._arm.second_chance and before != now
