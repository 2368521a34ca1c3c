"""What people see while a run goes on: one line that moves, and a mark for each thing done."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.progress_bar import ProgressBar


class ClockBar(BarColumn):
    """A bar that runs by the clock: a trial that measures cannot be asked how far it is."""

    def render(self, task: Task) -> ProgressBar:
        """The share of the expected seconds that has gone by; it pulses if none are known."""
        bar = super().render(task)
        bar.completed = min(task.elapsed or 0.0, task.total or 0.0)
        return bar


class Ticker:
    """Shows a trial's progress messages (see ``experiments.trial``); a context manager."""

    def __init__(self, title: str, console: Console) -> None:
        """``console`` should write to standard error, so that results can be piped."""
        columns = (SpinnerColumn(), TextColumn("{task.description}"), ClockBar(24))
        self._progress = Progress(*columns, TimeElapsedColumn(), console=console, transient=True)
        self._console = console
        self._title = title
        self._lab_s = 0.0
        self._step: tuple[str, float] | None = None
        self._task = self._progress.add_task(f"{title}: the lab", total=None)

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
        if "phase" in message:
            self._lab_s += message["seconds"]
            self._progress.update(self._task, description=f"{self._title}: {message['phase']}")
        elif "step" in message:
            self._finish_step()
            self._begin_step(message["step"], message["expected_s"])

    def _begin_step(self, name: str, expected_s: float) -> None:
        self._step = (name, time.monotonic())
        self._progress.remove_task(self._task)
        self._task = self._progress.add_task(f"{self._title}: {name}", total=expected_s or None)

    def _finish_step(self) -> None:
        name, seconds = "lab up, programmed, all addresses lent", self._lab_s
        if self._step is not None:
            name, seconds = self._step[0], time.monotonic() - self._step[1]
        self._console.print(f"  [green]✓[/] {name} [dim]{seconds:.1f} s[/]", highlight=False)
