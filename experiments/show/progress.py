"""What people see while a run goes on: one line that moves, and a mark for each thing done."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress_bar import ProgressBar
from rich.text import Text


class ClockBar(BarColumn):
    """A bar that runs by the trial's clock: one that measures cannot be asked how far it is."""

    def render(self, task: Task) -> ProgressBar:
        """The share of the expected seconds that has gone by; it pulses if none are known."""
        bar = super().render(task)
        gone = task.fields.get("virtual_s", task.elapsed)
        bar.completed = min(gone or 0.0, task.total or 0.0)
        return bar


class VirtualSeconds(ProgressColumn):
    """Virtual seconds beside the wall's, where there are any."""

    def render(self, task: Task) -> Text:
        """How much virtual time this step has taken so far."""
        seconds = task.fields.get("virtual_s")
        return Text("" if seconds is None else f"{seconds:.1f} s virtual", style="dim")


LAB_UP = "lab up, programmed, all addresses lent"
"""What is done before a study's first step, if a lab told of its phases."""


class Ticker:
    """Shows a trial's progress messages (see ``experiments.runs.trial``); a context manager.

    Messages may come from any thread.
    """

    def __init__(self, title: str, console: Console) -> None:
        """``console`` should write to standard error, so that results can be piped."""
        columns = (SpinnerColumn(), TextColumn("{task.description}"), ClockBar(24))
        clocks = (TimeElapsedColumn(), VirtualSeconds())
        self._progress = Progress(*columns, *clocks, console=console, transient=True)
        self._console = console
        self._lock = threading.Lock()
        self._title = title
        self._step = ""
        self._began_s = time.monotonic()
        self._virtual_s: float | None = None
        self._virtual_began_s = 0.0
        self._task = self._progress.add_task(title, total=None)

    def __enter__(self) -> Self:
        """Show the line."""
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the line away; the marks stay."""
        if kind is None:
            self._finish_step()
        self._progress.stop()

    def __call__(self, message: Mapping[str, Any]) -> None:
        """Take in one message."""
        with self._lock:
            self._take(message)

    def _take(self, message: Mapping[str, Any]) -> None:
        if "virtual_s" in message:
            self._virtual_s = message["virtual_s"]
            gone = message["virtual_s"] - self._virtual_began_s
            self._progress.update(self._task, virtual_s=gone)
        elif "phase" in message:
            self._step = LAB_UP
            self._progress.update(self._task, description=f"{self._title}: {message['phase']}")
        elif "warning" in message:
            self._console.print(Text(f"  ! {message['warning']}", style="yellow"))
        elif "step" in message:
            self._finish_step()
            self._begin_step(message["step"], message["expected_s"])

    def _begin_step(self, name: str, expected_s: float) -> None:
        self._step, self._began_s = name, time.monotonic()
        self._virtual_began_s = self._virtual_s or 0.0
        self._progress.remove_task(self._task)
        self._task = self._progress.add_task(f"{self._title}: {name}", total=expected_s or None)

    def _finish_step(self) -> None:
        if not self._step:  # nothing was begun: there is no lab
            return
        seconds = time.monotonic() - self._began_s
        told = Text.assemble("  ", ("✓", "green"), f" {self._step} ", (f"{seconds:.1f} s", "dim"))
        self._console.print(told)
