"""The agents' metrics, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from controller.agent.server import Server
from controller.agent.usage import Usage

__all__ = ["metrics"]


def metrics(servers: Mapping[str, Server], usage: Usage) -> str:
    """All of them, in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Metrics(servers, usage))
    return generate_latest(registry).decode()


class _Metrics(Collector):
    def __init__(self, servers: Mapping[str, Server], usage: Usage) -> None:
        self._servers = servers
        self._usage = usage

    def collect(self) -> Iterator[Metric]:
        """What servers hold, what of it is in use, and what went wrong."""
        held = GaugeMetricFamily(
            "poplab_agent_ports", "Ports that a server holds.", labels=["server", "tag"]
        )
        exhausted = CounterMetricFamily(
            "poplab_agent_exhausted",
            "Connections that the egress proxy refused because all ports were in use.",
            labels=["server", "tag"],
        )
        dropped = CounterMetricFamily(
            "poplab_agent_dropped", "DHCP messages that nobody waited for.", labels=["server"]
        )
        for name, server in self._servers.items():
            for tag, ports in server.ports_by_tag().items():
                held.add_metric([name, tag], ports)
            for tag, times in server.proxy.exhausted.items():
                exhausted.add_metric([name, tag], times)
            dropped.add_metric([name], server.dropped)
        yield from (held, exhausted, dropped)
        yield from self._used()

    def _used(self) -> Iterator[Metric]:
        labels = ["pop", "address", "origin", "protocol"]
        used = GaugeMetricFamily("poplab_egress_ports_used", "Ports in use.", labels=labels)
        for towards, many in self._usage.now.items():
            (pop, address), origin, protocol = towards
            used.add_metric([pop, str(address), origin, protocol], many)
        ports = GaugeMetricFamily(
            "poplab_egress_ports", "Ports of an address held in a PoP.", labels=["pop", "address"]
        )
        for place, many in self._usage.ports.items():
            ports.add_metric([place.pop, str(place.address)], many)
        yield from (used, ports)
