"""A network written in Python, for people who come from Mininet's ``Topo``.

The same words as in a network file, with the same defaults, and checked in the same way.
"""

from __future__ import annotations

from typing import Any, Self

from topologies.model import Network

__all__ = ["NetworkBuilder"]


class NetworkBuilder:
    """Collects cities, links, PoPs, clients and origins; ``network()`` checks them as a whole.

    >>> net = NetworkBuilder("two-cities")
    >>> net.city("LHR").city("JFK").link("LHR", "JFK")
    >>> net.pop("LHR", servers=2).pop("JFK", servers=2)
    >>> net.clients("LHR", 3).clients("JFK", 3).origin("JFK")
    >>> run("latency", network=net)

    Quantities are text with units: ``delay="10 ms"``, ``loss="1 %"``, ``rate="1 Gbit"``. More keys
    are those of ``topologies.schema``.
    """

    def __init__(self, name: str, **more: Any) -> None:
        """``more`` are keys of the whole network: ``pools``, ``services``, ``path_stretch`` ..."""
        self._data: dict[str, Any] = {"name": name, **more}

    def city(self, code: str, **more: Any) -> Self:
        """A city: an IATA code, or any code with ``lat`` and ``lon``."""
        return self._add("cities", code=code, **more)

    def link(self, a: str, b: str, **line: Any) -> Self:
        """A long-haul link; without ``delay`` as long as the fibre between the cities."""
        return self._add("links", between=[a, b], **line)

    def pop(self, city: str, servers: int = 2, **more: Any) -> Self:
        """A PoP in a city, with servers."""
        return self._add("pops", city=city, servers=servers, **more)

    def backbone(self, a: str, b: str, **line: Any) -> Self:
        """A private link between two PoPs."""
        return self._add("backbone", between=[a, b], **line)

    def clients(self, city: str, count: int = 1, **more: Any) -> Self:
        """Clients in a city, or in every city: ``clients("every city")``."""
        return self._add("clients", city=city, count=count, **more)

    def origin(self, city: str, count: int = 1, **more: Any) -> Self:
        """Origins in a city."""
        return self._add("origins", city=city, count=count, **more)

    def network(self) -> Network:
        """The network. Raises NetworkError with everything that is wrong."""
        from topologies.files import understand

        return understand(self._data)

    def _add(self, part: str, **fields: Any) -> Self:
        self._data.setdefault(part, []).append(fields)
        return self
