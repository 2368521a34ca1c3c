"""What a controller answers that does not lead: who does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from controller.rest.answers import refuse
from controller.store import Leader, StoreError

__all__ = ["Standby"]


class Standby:
    """An application that refuses everything, as a problem (RFC 9457).

    It says who leads, and how many switches are here and could be led.
    """

    def __init__(self, leader: Callable[[], Leader | None], switches: Callable[[], int]) -> None:
        self._leader, self._switches = leader, switches

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer as WSGI wants it."""
        try:
            leader = self._leader()
        except StoreError:
            leader = None
        who = "nobody leads yet" if leader is None else f"{leader.name} leads, at {leader.at}"
        where = None if leader is None else leader.at
        detail, switches = f"this controller is a standby: {who}", self._switches()
        refused = refuse(503, detail, leader=where, switches=switches)
        answered: Iterable[bytes] = refused(environ, start_response)
        return answered
