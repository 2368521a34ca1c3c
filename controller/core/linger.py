"""How long connections of before a change are waited for."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from controller.core.events import CitySettled, Event, PopSettled
from controller.core.world import World


class Linger:
    """Tells what has settled: what PoPs and cities were before, and nothing has changed since.

    Times are those of the caller's clock. One that was not looking before, as after a restart,
    waits from its first look.
    """

    def __init__(self, linger_ns: int) -> None:
        self._linger_ns = linger_ns
        self._since: dict[Event, tuple[Hashable, int]] = {}

    def settled(self, world: World, now_ns: int) -> tuple[Event, ...]:
        """The events of what has waited long enough by now."""
        kept = _remembered(world)
        self._since = {
            event: seen if seen[0] == value else (value, now_ns)
            for event, value in kept.items()
            for seen in [self._since.get(event, (value, now_ns))]
        }
        over = now_ns - self._linger_ns
        return tuple(event for event, (_, since) in self._since.items() if since <= over)


def _remembered(world: World) -> Mapping[Event, Hashable]:
    """What a world remembers, by the event that makes it forget."""
    kept: dict[Event, Hashable] = {}
    for pop, former in world.former.items():
        kept[PopSettled(pop)] = (world.spread(pop), former)
    for city, trail in world.trails.items():
        kept[CitySettled(city)] = trail
    return kept
