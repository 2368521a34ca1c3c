"""The sign of life of a leader: a thread that renews it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from controller.store import native
from controller.store.interface import Deposed, StoreError

__all__ = ["Hold"]


class Hold:
    """Calls ``renew`` thrice in ``term_s`` seconds, for as long as this is open.

    When that is False, another leads: ``deposed`` is called, and no more is renewed. The thread is
    one of the system's, so that it renews while the controller is deep in work.
    """

    def __init__(self, renew: Callable[[], bool], term_s: float, deposed: Deposed) -> None:
        self._renew, self._deposed = renew, deposed
        self._every_s = term_s / 3
        self._ended = native.threads.Event()
        self._thread = native.threads.Thread(target=self._renew_for_ever, daemon=True)

    def __enter__(self) -> Hold:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _renew_for_ever(self) -> None:
        while not self._ended.wait(self._every_s):
            with contextlib.suppress(StoreError):  # the next time it may be well again
                if not self._renew():
                    self._deposed()
                    return
