"""What people see while a sweep goes on: trials done, failed and invalid, and the time left."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from experiments.sweeps.design import Turn
from experiments.sweeps.fleet import Outcome


class Trials:
    """A bar over all trials; a context manager. Without a console nothing is shown."""

    def __init__(self, title: str, total: int, console: Console | None) -> None:
        """``total`` trials are to be done."""
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[failed]} failed"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=console is None,
        )
        self._task = self._progress.add_task(title, total=total, failed=0)
        self._title, self._failed = title, 0

    def __enter__(self) -> Self:
        """Show the bar."""
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take it away."""
        self._progress.stop()

    def over(self, turn: Turn, outcome: Outcome) -> None:
        """A trial is over."""
        del turn
        self._failed += outcome.archive is None
        self._progress.update(self._task, advance=1, failed=self._failed, description=self._title)

    def idle(self) -> None:
        """No worker offers a lab."""
        told = "no worker offers a lab yet (`poplab worker` starts one)"
        self._progress.update(self._task, description=told)
