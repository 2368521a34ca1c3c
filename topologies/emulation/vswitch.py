"""A private Open vSwitch, built in one OVSDB transaction and read back.

The protocol is RFC 7047. Mininet starts several processes per switch and loses ports when a
command line grows too long; here every bridge, port and controller goes into one transaction,
and afterwards every port is asked for.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from topologies.emulation.processes import LabError, Program, start, until

RUN = Path("/run/openvswitch")
SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
DATABASE = "Open_vSwitch"


@dataclass(frozen=True, slots=True)
class Port:
    """A bridge port: an interface of the switch's namespace and its OpenFlow number."""

    interface: str
    number: int


@dataclass(frozen=True, slots=True)
class Bridge:
    """One OpenFlow switch."""

    name: str
    dpid: int
    ports: tuple[Port, ...]


class VSwitch:
    """One ovsdb-server and one ovs-vswitchd, alone in their sandbox.

    ``datapath`` is ``netdev`` (user space, works everywhere) or ``system`` (the kernel module).
    """

    def __init__(self, logs: Path, datapath: str = "netdev") -> None:
        self.datapath = datapath
        self._logs = logs
        self._programs: list[Program] = []
        self._socket: socket.socket | None = None
        self._ids = iter(range(1 << 62))

    def start(self) -> None:
        """Start both daemons; returns when the database answers."""
        RUN.mkdir(parents=True, exist_ok=True)
        database, control = RUN / "conf.db", RUN / "db.sock"
        made = start("ovsdb-tool", ["ovsdb-tool", "create", str(database), str(SCHEMA)], self._logs)
        made.process.wait()
        self._launch("ovsdb-server", [str(database), f"--remote=punix:{control}", "--no-chdir"])
        self._await(control.exists, "the OVS database's socket")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(str(control))
        self.transact([{"op": "insert", "table": DATABASE, "row": {}}])
        self._launch("ovs-vswitchd", [f"unix:{control}", "--no-chdir", "-vconsole:warn"])

    def _launch(self, name: str, arguments: list[str]) -> None:
        self._programs.append(start(name, [name, *arguments], self._logs))

    def _await(self, condition: Any, awaited: str) -> None:
        def holds() -> bool:
            self.check()
            return bool(condition())

        until(holds, awaited)

    def check(self) -> None:
        """Raise LabError if one of the daemons has died."""
        for program in self._programs:
            program.check()

    def stop(self) -> None:
        """Kill both daemons; switches vanish with them.

        The kernel needs milliseconds per port to close them. Nobody depends on that end, so it
        is not awaited.
        """
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        for program in reversed(self._programs):
            program.process.kill()
        self._programs.clear()

    def transact(self, operations: list[dict[str, Any]]) -> list[Any]:
        """One atomic OVSDB transaction (RFC 7047 §4.1.3); its results, or LabError."""
        results = self._call("transact", [DATABASE, *operations])
        for result in results:
            if isinstance(result, dict) and "error" in result:
                raise LabError(f"Open vSwitch refused: {result['error']}: {result.get('details')}")
        return list(results)

    def _call(self, method: str, params: list[Any]) -> Any:
        assert self._socket is not None, "start() comes first"
        number = next(self._ids)
        request = {"method": method, "params": params, "id": number}
        self._socket.sendall(json.dumps(request).encode())
        while True:
            answer = self._receive()
            if answer.get("method") == "echo":  # the server probes idle clients
                reply = {"id": answer["id"], "result": answer["params"], "error": None}
                self._socket.sendall(json.dumps(reply).encode())
            elif answer.get("id") == number:
                return answer["result"]

    def _receive(self) -> dict[str, Any]:
        """The next JSON object: the stream has no framing, so read until one parses."""
        assert self._socket is not None
        data = b""
        while True:
            part = self._socket.recv(1 << 20)
            if not part:
                raise LabError("The OVS database closed its connection: see ovsdb-server.log.")
            data += part
            if data.endswith(b"}"):
                try:
                    return dict(json.loads(data))
                except ValueError:
                    continue

    def build(self, bridges: Iterable[Bridge]) -> None:
        """Make every bridge and port and verify them.

        Raises LabError naming the first ports that are not there.
        """
        bridges = tuple(bridges)
        self._configure(_insertions(bridges, self.datapath))
        self._verify(bridges)

    def connect(self, controller: str) -> None:
        """Make every switch connect to ``controller``, like ``tcp:127.0.0.1:6653``.

        It must listen already: a switch that is refused once waits a second. And no rule may
        stand yet: Open vSwitch flushes them when its first controller is set.
        """
        columns = ["_uuid"]
        query = {"op": "select", "table": "Bridge", "where": [], "columns": columns}
        operations: list[dict[str, Any]] = []
        for number, bridge in enumerate(self.transact([query])[0]["rows"]):
            name, row = f"row{number}", {"target": controller, "max_backoff": 1000}
            operations.append(
                {"op": "insert", "table": "Controller", "row": row, "uuid-name": name}
            )
            operations.append(
                {
                    "op": "update",
                    "table": "Bridge",
                    "where": [["_uuid", "==", bridge["_uuid"]]],
                    "row": {"controller": ["named-uuid", name]},
                }
            )
        self._configure(operations)

    def _configure(self, operations: list[dict[str, Any]]) -> None:
        """Carry out a transaction and wait until ovs-vswitchd has followed it."""
        increase = {
            "op": "mutate",
            "table": DATABASE,
            "where": [],
            "mutations": [["next_cfg", "+=", 1]],
        }
        self.transact([*operations, increase])
        wanted = self._configuration("next_cfg")
        self._await(lambda: self._configuration("cur_cfg") >= wanted, "ovs-vswitchd to configure")

    def _configuration(self, column: str) -> int:
        query = {"op": "select", "table": DATABASE, "where": [], "columns": [column]}
        return int(self.transact([query])[0]["rows"][0][column])

    def _verify(self, bridges: tuple[Bridge, ...]) -> None:
        columns = ["name", "ofport", "error"]
        query = {"op": "select", "table": "Interface", "where": [], "columns": columns}
        rows = {row["name"]: row for row in self.transact([query])[0]["rows"]}
        wrong = []
        for bridge in bridges:
            for port in bridge.ports:
                row = rows.get(port.interface, {"ofport": None, "error": "is not there"})
                if row["ofport"] != port.number:
                    wrong.append(f"{bridge.name} port {port.number} ({port.interface}): {row}")
        if wrong:
            raise LabError(f"{len(wrong)} switch ports are wrong, first: {'; '.join(wrong[:3])}")


def _insertions(bridges: tuple[Bridge, ...], datapath: str) -> list[dict[str, Any]]:
    """The operations that insert every row and hang the bridges on the root row."""
    operations: list[dict[str, Any]] = []
    names: list[list[str]] = []

    def insert(table: str, row: dict[str, Any]) -> list[str]:
        name = f"row{len(operations)}"
        operations.append({"op": "insert", "table": table, "row": row, "uuid-name": name})
        return ["named-uuid", name]

    for bridge in bridges:
        ports = []
        # The bridge's own interface exists in every OVS bridge and has no number of ours.
        local = insert("Interface", {"name": bridge.name, "type": "internal"})
        ports.append(insert("Port", {"name": bridge.name, "interfaces": local}))
        for port in bridge.ports:
            row = {"name": port.interface, "ofport_request": port.number}
            interface = insert("Interface", row)
            ports.append(insert("Port", {"name": port.interface, "interfaces": interface}))
        names.append(insert("Bridge", _bridge_row(bridge, ports, datapath)))
    mutation = ["bridges", "insert", ["set", names]]
    operations.append({"op": "mutate", "table": DATABASE, "where": [], "mutations": [mutation]})
    return operations


def _bridge_row(bridge: Bridge, ports: list[list[str]], datapath: str) -> dict[str, Any]:
    identity = [["datapath-id", f"{bridge.dpid:016x}"], ["disable-in-band", "true"]]
    return {
        "name": bridge.name,
        "datapath_type": datapath,
        "fail_mode": "secure",
        "protocols": ["set", ["OpenFlow13"]],
        "other_config": ["map", identity],
        "ports": ["set", ports],
    }
