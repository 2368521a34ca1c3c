"""What monitoring asks: GET /metrics, in Prometheus' text format or OpenMetrics.

All is read when it is asked for; nothing is kept for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from ryu.app.wsgi import ControllerBase, route
from webob import Response

from controller.app import Controller
from controller.core.usage import usage

POOL = {
    "there_are": ("poplab_pool_addresses", "Addresses of the pools."),
    "taken": ("poplab_pool_addresses_taken", "Addresses of which anything is not free."),
    "ports": ("poplab_pool_ports", "Ports of the pools that can be lent in parts."),
}
SWITCH = {
    "connected": ("poplab_switch_connected", "Whether a switch is there."),
    "programmed": ("poplab_switch_programmed", "Whether it has confirmed all its rules."),
    "rules": ("poplab_switch_rules", "Rules that it should have."),
    "groups": ("poplab_switch_groups", "Groups that it should have."),
    "changes": ("poplab_switch_changes_total", "Changes that were sent to it."),
}


class MetricsDoors(ControllerBase):
    """One instance answers one request; Ryu makes it."""

    def __init__(self, request: Any, link: Any, data: dict[str, Any], **config: Any) -> None:
        super().__init__(request, link, data, **config)
        self._controller: Controller = data["controller"]

    @route("metrics", "/metrics", methods=["GET", "HEAD"])  # type: ignore[untyped-decorator]
    def metrics(self, request: Any, **_: Any) -> Response:
        """Every metric, as the client likes to read it."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(Metrics(self._controller))
        encode, kind = choose_encoder(request.headers.get("Accept", ""))
        return Response(body=encode(registry), headerlist=[("Content-Type", kind)])


class Metrics(Collector):
    """A controller's metrics as they are now."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def collect(self) -> Iterator[Metric]:
        """Health, switches, pools, leases, and what happened so often."""
        controller, book = self._controller, self._controller.lender.book
        yield GaugeMetricFamily(
            "poplab_ready",
            "Whether all switches are programmed and lending goes on.",
            value=controller.ready,
        )
        yield CounterMetricFamily(
            "poplab_lendings", "Port sets that were ever lent.", value=book.lendings
        )
        yield _counted("poplab_messages", "Messages by what became of them.", controller.counts)
        yield _counted(
            "poplab_refusals", "Wishes that the book refused, by cause.", controller.lender.refused
        )
        switches = {
            name: {key: getattr(switch, key) for key in SWITCH}
            for name, switch in controller.switches.items()
        }
        yield from _table("switch", SWITCH, switches)
        network = controller.loop.world.plan.network
        pools = usage(network.pools, book.entries())
        yield from _table("tag", POOL, pools)
        yield from _leases(pools)


def _counted(name: str, what: str, counts: Mapping[str, int]) -> Metric:
    """Counters that differ by their kind."""
    family = CounterMetricFamily(name, what, labels=["kind"])
    for kind, count in sorted(counts.items()):
        family.add_metric([kind], count)
    return family


def _table(
    label: str, columns: Mapping[str, tuple[str, str]], rows: Mapping[str, Mapping[str, Any]]
) -> Iterator[Metric]:
    """A metric for each column of a table whose rows are named by a label."""
    for key, (name, what) in columns.items():
        kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
        family = kind(name, what, labels=[label])
        for row, values in rows.items():
            family.add_metric([row], float(values[key]))
        yield family


def _leases(pools: Mapping[str, Any]) -> Iterator[Metric]:
    """How much is lent, where, and in which state."""
    ports = GaugeMetricFamily(
        "poplab_lease_ports", "Ports that are not free.", labels=["tag", "pop", "state"]
    )
    sets = GaugeMetricFamily(
        "poplab_lease_sets", "Port sets that are not free.", labels=["tag", "pop"]
    )
    for tag, pool in pools.items():
        for pop, found in pool["pops"].items():
            sets.add_metric([tag, pop], found["sets"])
            for state in found.keys() - {"sets", "addresses"}:
                ports.add_metric([tag, pop, state], found[state])
    yield from (ports, sets)
