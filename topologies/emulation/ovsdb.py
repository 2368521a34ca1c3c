"""A connection to an OVSDB server: RFC 7047 over a Unix socket, one request at a time."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from topologies.emulation.processes import PATIENCE_S, LabError

DATABASE = "Open_vSwitch"

Operation = dict[str, Any]
"""One operation of a transaction (RFC 7047 §5.2)."""


class Connection:
    """An open connection to the server that listens on ``path``."""

    def __init__(self, path: Path) -> None:
        """Connect; OSError if nobody listens."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(PATIENCE_S)
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise
        self._requests = 0

    def close(self) -> None:
        """Close; what was transacted stays."""
        self._socket.close()

    def transact(self, operations: list[Operation]) -> list[Any]:
        """One atomic transaction (RFC 7047 §4.1.3) and its results, or LabError."""
        results = self._call("transact", [DATABASE, *operations])
        for result in results:
            if isinstance(result, dict) and "error" in result:
                raise LabError(f"Open vSwitch refused: {result['error']}: {result.get('details')}")
        return list(results)

    def select(self, table: str, *columns: str) -> list[dict[str, Any]]:
        """All rows of a table, with these columns."""
        query = {"op": "select", "table": table, "where": [], "columns": list(columns)}
        return list(self.transact([query])[0]["rows"])

    def _call(self, method: str, params: list[Any]) -> Any:
        self._requests += 1
        request = {"method": method, "params": params, "id": self._requests}
        self._socket.sendall(json.dumps(request).encode())
        while True:
            answer = self._receive()
            if answer.get("method") == "echo":  # the server probes idle clients
                reply = {"id": answer["id"], "result": answer["params"], "error": None}
                self._socket.sendall(json.dumps(reply).encode())
            elif answer.get("id") == self._requests:
                return answer["result"]

    def _receive(self) -> dict[str, Any]:
        """The next JSON object: the stream has no framing, so read until one parses."""
        data = b""
        while True:
            try:
                part = self._socket.recv(1 << 20)
            except TimeoutError:
                raise LabError(f"The OVS database did not answer for {PATIENCE_S:g} s.") from None
            if not part:
                raise LabError("The OVS database closed its connection: see ovsdb-server's log.")
            data += part
            if data.endswith(b"}"):
                try:
                    return dict(json.loads(data))
                except ValueError:
                    continue
