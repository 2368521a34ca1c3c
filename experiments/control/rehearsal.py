"""A scenario's rehearsal: its words are said to a lab that is nothing but its plan.

What is wrong with a word comes out as it would in the lab. Only what no plan tells is taken as it
is said: which port sets are lent by then, and to whom; which programs run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from controller.core.events import Event, parse
from controller.core.lease import LendingError
from controller.core.lending import Book
from controller.core.world import UnknownError, World
from experiments.control.words import Control, find_server
from experiments.errors import TrialError, UsageError
from topologies.emulation import wiring
from topologies.emulation.links import Impairment
from topologies.plan import LinkPlan, Plan

if TYPE_CHECKING:
    from experiments.control.scenario import Step
    from experiments.runs.testbed import Testbed

__all__ = ["rehearse"]


def rehearse(steps: Iterable[tuple[int, Step]], plan: Plan) -> dict[int, str]:
    """Say steps, each by a number, one after the other; what is wrong with some, by number."""
    control = Control(cast("Testbed", _Stage(plan)), "rehearsal")
    wrong: dict[int, str] = {}
    for number, step in steps:
        try:
            control.say(step.word, step.params)
        except (UsageError, TrialError) as error:
            wrong[number] = str(error)
    return wrong


class _Stage:
    """What ``Control`` asks of a lab, its emulator, its controller and agents: all of it works."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.emulator = self.controller_api = self
        self.emulated_links = tuple(link for link in plan.links if wiring.is_emulated(link))
        self.floods: dict[str, int] = {}
        self._shapes = {link.number: self.planned(link) for link in self.emulated_links}
        self._world = World(plan)
        self._book = Book(plan.network.pools, plan.network.port_set_bits)

    # -- the lab

    def planned(self, link: LinkPlan) -> Impairment:
        return Impairment.of(link.line)

    def all_programs(self) -> tuple[Any, ...]:
        return ()

    def bind(self, *_: object, **__: object) -> None:
        pass

    set_link = serve = program = kill = end = restart = pause = resume = bind

    def flood(self, target: str, *_: object) -> None:
        self.floods[target] = 1

    def spare(self, target: str) -> None:
        del self.floods[target]

    # -- the emulator

    def read(self, number: int) -> tuple[Impairment, Impairment]:
        return self._shapes[number], self._shapes[number]

    def set(self, number: int, *, a_to_b: Impairment, b_to_a: Impairment) -> None:
        assert a_to_b == b_to_a
        self._shapes[number] = a_to_b

    # -- the controller and the agents

    def leases(self) -> list[dict[str, Any]]:
        return []

    def happen(self, event: Mapping[str, Any]) -> None:
        try:
            said = parse(dict(event))
            if isinstance(said, Event):
                self._world = self._world.after(said)
        except (UnknownError, ValueError) as error:
            raise TrialError(str(error)) from None

    def acquire(self, server: str, **names: Any) -> dict[str, Any]:
        city = find_server(self.plan, server).city
        given = {name: value for name, value in names.items() if value is not None}
        try:
            self._book.acquire(server, city, 0, **given)
        except LendingError as error:
            raise TrialError(str(error)) from None
        return {}

    def change_lease(self, _verb: str, *_: object, server: str | None = None, **__: Any) -> None:
        if server is not None:
            find_server(self.plan, server)

    def order(self, do: str, server: str, **names: Any) -> dict[str, Any]:
        if do == "borrow":
            return self.acquire(server, **names)
        find_server(self.plan, server)
        return {}
