"""A running lab on a terminal: one table of PoPs, one list of what happened last."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.live import Live
from rich.text import Text

from controller.core.events import of_record, sentence
from experiments.control.client import GoneError
from experiments.errors import TrialError
from experiments.show.report import table

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from experiments.control.client import Remote

EVERY_S = 0.5
LAST = 10
"""How many events are shown."""


@dataclass(frozen=True, slots=True)
class View:
    """What a lab says of itself at one moment."""

    status: dict[str, Any]
    world: dict[str, Any]
    leases: list[dict[str, Any]]


def look(remote: Remote) -> View:
    """Ask a lab. Raises GoneError; TrialError while it has no controller."""
    return View(remote.call("status"), remote.call("world"), remote.call("leases"))


def overview(view: View) -> RenderableType:
    """A line about the lab, and a line for every PoP."""
    status, world = view.status, view.world
    catchment = Counter(pops[0] for pops in world["ranking"].values() if pops)
    lent = Counter(lease["pop"] for lease in view.leases if lease["state"] == "lent")
    addresses = Counter(pop for pop, _ in {(x["pop"], x["address"]) for x in view.leases})
    rows = []
    for pop, state in world["pops"].items():
        weights = {n: w for n, w in world["servers"].items() if n.startswith(f"{pop}-s")}
        switch = status["switches"].get(f"e{pop}")  # nobody may have led a moment ago
        rows.append(
            (
                pop,
                state,
                str(catchment[pop]),
                f"{sum(map(bool, weights.values()))} of {len(weights)}",
                str(lent[pop]),
                str(addresses[pop]),
                _switch(switch),
            )
        )
    columns = ("PoP", "state", "cities", "serving", "lent", "addresses", "switch")
    nobody = [city for city, pops in world["ranking"].items() if not pops]
    parts: list[RenderableType] = [_headline(status, world["policy"]), table("", columns, rows)]
    if world["down"]:
        parts.append(Text(f"no carrier: {', '.join(world['down'])}", style="red"))
    if nobody:
        parts.append(Text(f"served by nobody: {', '.join(nobody)}", style="red"))
    return Group(*parts)


def _headline(status: dict[str, Any], policy: str) -> Text:
    ready = ("ready", "green") if status["ready"] else ("not ready", "red")
    fault = (f"  {status['fault']}", "red") if status["fault"] else ""
    leads = f"  {status['leader']} leads" if len(status["controllers"]) > 1 else ""
    return Text.assemble(
        (status["network"], "bold"),
        f"  {status['purpose']}, policy {policy}, up {status['up_s']:.0f} s  ",
        ready,
        leads,
        fault,
    )


def _switch(switch: dict[str, Any] | None) -> str:
    if switch is None:
        return "unknown"
    if not switch["connected"]:
        return "not connected"
    return f"{switch['behind']} behind" if switch["behind"] else f"{switch['rules']} rules"


def show(remote: Remote, console: Console) -> None:
    """Show a lab until it is gone, or Ctrl-C. Raises TrialError if it cannot be asked at first."""
    view = look(remote)
    last: deque[str] = deque(maxlen=LAST)
    threading.Thread(target=_gather, args=(remote, last), daemon=True).start()
    with Live(_whole(view, last), console=console, auto_refresh=False, screen=False) as live:
        while True:
            live.update(_whole(view, last), refresh=True)
            time.sleep(EVERY_S)
            try:
                view = look(remote)
            except GoneError:
                break
            except TrialError as error:
                view.status.update(ready=False, fault=str(error))
    console.print("The lab is gone.")


def _whole(view: View, last: Sequence[str]) -> RenderableType:
    lines = [Text(line, no_wrap=True, overflow="ellipsis") for line in list(last)]
    return Group(overview(view), *lines)


class Sieve:
    """Tells what is news to people: all but the renewals of leases."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, int], tuple[str, int]] = {}

    def passes(self, record: Mapping[str, Any]) -> bool:
        """Whether a record of the log, the next one, is news."""
        lease = record.get("lease")
        if lease is None:
            return True
        key = (lease["address"], lease["psid"], lease["psid_bits"])
        state = (lease["state"], lease["number"])
        if self._known.get(key) == state:
            return False
        self._known[key] = state
        return True


def _gather(remote: Remote, last: deque[str]) -> None:
    """Keep the last events that are news."""
    sieve = Sieve()
    after = 0
    with suppress(GoneError):
        while True:
            for event in remote.events(after):
                after = event["number"]
                if sieve.passes(event):
                    last.append(line(event))
            time.sleep(EVERY_S)  # its controller is away for a moment


def line(record: Mapping[str, Any]) -> str:
    """A record of the log as people read it: UTC to the millisecond, and what happened."""
    at = datetime.fromtimestamp(record["at_ns"] / 1e9, UTC).strftime("%H:%M:%S.%f")[:-3]
    return f"{at}  {sentence(of_record(record))}"
