"""Wait for a state by polling it, with a deadline: never sleep and hope."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["until"]

Value = TypeVar("Value")


def until(
    predicate: Callable[[], Value],
    timeout_s: float,
    awaited: str,
    *,
    interval_s: float = 0.01,
    tolerate: tuple[type[Exception], ...] = (),
) -> Value:
    """Call ``predicate`` until it gives something true, and return that.

    ``awaited`` names the state for people ("the controller's rules on every switch"). The
    predicate is called at least once, and once more after the deadline. Exceptions of the
    types in ``tolerate`` count as "not yet".

    Raises TimeoutError that names what was awaited and the last value (or exception) seen.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        expired = time.monotonic() >= deadline
        last: object
        cause: Exception | None = None
        try:
            value = predicate()
            if value:
                return value
            last = value
        except tolerate as error:
            last = cause = error
        if expired:
            raise TimeoutError(
                f"waited {timeout_s:g} s for {awaited}; the last value was {last!r}"
            ) from cause
        time.sleep(max(0.0, min(interval_s, deadline - time.monotonic())))
