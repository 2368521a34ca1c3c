"""The JSON file that tells others which server holds what; replaced whole at every change."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

__all__ = ["Status"]


class Status:
    """By server, its leases in the order in which it asked for them."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._leases: dict[str, Sequence[dict[str, Any]]] = {}
        self._left: dict[str, list[dict[str, Any]]] = {}
        if path is not None and path.exists():
            self._left = json.loads(path.read_text())

    def left(self, server: str) -> set[IPv4Address]:
        """The addresses that an agent before this one left configured, if it was killed."""
        return {IPv4Address(entry["address"]) for entry in self._left.get(server, ())}

    def put(self, server: str, leases: Sequence[dict[str, Any]]) -> None:
        """Say what a server holds now."""
        self._leases[server] = leases
        self.write()

    def write(self) -> None:
        """Put the file there."""
        if self._path is None:
            return
        held = {server: leases for server, leases in self._leases.items() if leases}
        draft = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        draft.write_text(json.dumps(held, indent=1, sort_keys=True) + "\n")
        draft.replace(self._path)
