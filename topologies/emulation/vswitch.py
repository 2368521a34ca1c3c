"""A private Open vSwitch, built in one OVSDB transaction and read back.

Mininet starts several processes per switch and loses ports when a command line grows too long.
Here a daemon finds all its bridges and ports in its database when it starts, and afterwards every
port is asked for.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from topologies.emulation import netns
from topologies.emulation.options import DatapathChoice
from topologies.emulation.ovsdb import DATABASE, Connection, Operation
from topologies.emulation.processes import LabError, Program, start, until

RUN = Path("/run/openvswitch")
"""Where every bridge has its management socket, so that `ovs-ofctl` finds it by name."""

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")

# The daemon's main thread alone moves packets in user space; more threads only cost memory.
_THREADS = [["n-handler-threads", "1"], ["n-revalidator-threads", "1"]]


_TYPES = {"userspace": "netdev", "kernel": "system"}
"""Open vSwitch's names of the datapaths."""

_PUNTED = {"controller_rate_limit": 500, "controller_burst_limit": 500}
"""Packets a second that a switch hands to its controller, ports in turn (ovs-vswitchd.conf.db(5)):
a server that floods the way up is served no more often than its neighbours."""

YOUNG_KERNEL_S = 11.0
"""Open vSwitch counts CPUs once its clock is past 10 s after boot. A daemon that starts before
that believes in none, and takes no packet from the kernel's datapath."""


@dataclass(frozen=True, slots=True)
class Port:
    """A bridge port: an interface of the switch's namespace and its OpenFlow number.

    ``bfd_ms`` is how often it tells the far end that the link lives, and how often it wants to be
    told; None for never.
    """

    interface: str
    number: int
    bfd_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Bridge:
    """One OpenFlow switch."""

    name: str
    dpid: int
    ports: tuple[Port, ...]


@cache
def _empty_database() -> bytes:
    """A fresh database file. Made once: the tool takes longer than all that follows."""
    made = RUN / "empty.db"
    subprocess.run(["ovsdb-tool", "create", str(made), str(SCHEMA)], check=True)
    return made.read_bytes()


class VSwitch:
    """One ovsdb-server and one ovs-vswitchd with the bridges of one network namespace.

    ``namespace`` is a name in /run/netns, None for the present one. ``datapath`` is where packets
    are forwarded: in user space (works everywhere) or in the kernel, if it has openvswitch.
    """

    def __init__(
        self, logs: Path, namespace: str | None = None, datapath: DatapathChoice = "userspace"
    ) -> None:
        self.namespace = namespace
        self.folder = RUN / "daemons" / namespace if namespace else RUN
        self._datapath = datapath
        self._name = namespace or "ovs"
        self._logs = logs
        self._bridges: tuple[Bridge, ...] = ()
        self._programs: list[Program] = []
        self._database: Connection | None = None

    @property
    def control(self) -> Path:
        """The socket for ``ovs-appctl --target``."""
        return self.folder / "vswitchd.ctl"

    def start_database(self) -> None:
        """Start the database server; it may not answer yet."""
        self.folder.mkdir(parents=True, exist_ok=True)
        database = self.folder / "conf.db"
        database.write_bytes(_empty_database())
        self._launch("ovsdb-server", str(database), f"--remote=punix:{self._socket}")

    @property
    def _socket(self) -> Path:
        return self.folder / "db.sock"

    def start(self, bridges: Sequence[Bridge] = ()) -> None:
        """Start the switch daemon on a database that has all bridges; their interfaces exist."""
        self._bridges = tuple(bridges)
        self._await(self._connected, "the database server to answer")
        root = {"other_config": ["map", _THREADS], "next_cfg": 1}
        insert = {"op": "insert", "table": DATABASE, "row": root}
        self._db.transact([insert, *_insertions(self._bridges, _TYPES[self._datapath])])
        if self._datapath == "kernel":
            time.sleep(max(0.0, YOUNG_KERNEL_S - time.monotonic()))
        self._launch("ovs-vswitchd", f"unix:{self._socket}", f"--unixctl={self.control}")

    def verify(self) -> None:
        """Wait until the daemon has built its bridges; LabError naming ports that are not there."""
        self._await(self._is_current, "ovs-vswitchd to build its bridges")
        rows = {row["name"]: row for row in self._db.select("Interface", "name", "ofport", "error")}
        wrong = []
        for bridge in self._bridges:
            for port in bridge.ports:
                row = rows[port.interface]
                if row["ofport"] != port.number:
                    wrong.append(f"{bridge.name} port {port.number}: {row}")
        if wrong:
            raise LabError(f"{len(wrong)} switch ports are wrong, first: {'; '.join(wrong[:3])}")

    def hears(self) -> bool:
        """Whether every port that is told by its far end that the link lives (BFD) has been.

        Both ends must know: until then the far end announces, and is given, seconds of silence
        (RFC 5880, section 6.8.3).
        """
        asked = {p.interface for bridge in self._bridges for p in bridge.ports if p.bfd_ms}
        rows = self._db.select("Interface", "name", "bfd_status") if asked else ()
        told = [dict(row["bfd_status"][1]) for row in rows if row["name"] in asked]
        return all(bfd.get("state") == bfd.get("remote_state") == "up" for bfd in told)

    def connect(self, *controllers: str) -> None:
        """Make every switch connect to these controllers, like ``tcp:127.0.0.1:6653``.


        They must listen already: a switch that is refused waits a second, then two, four, eight.
        And no rule may stand yet: Open vSwitch flushes them when its first controller is set.
        """
        operations: list[Operation] = []
        for number, bridge in enumerate(self._db.select("Bridge", "_uuid")):
            names = [f"row{number}_{place}" for place in range(len(controllers))]
            for name, controller in zip(names, controllers, strict=True):
                row = {"target": controller, **_PUNTED}
                operations.append(
                    {"op": "insert", "table": "Controller", "row": row, "uuid-name": name}
                )
            change = {"controller": ["set", [["named-uuid", name] for name in names]]}
            where = [["_uuid", "==", bridge["_uuid"]]]
            operations.append({"op": "update", "table": "Bridge", "where": where, "row": change})
        self._db.transact(operations)

    def retry_often(self) -> None:
        """Let no switch wait longer than a second before it tries a lost controller again.

        The controllers are connected: Open vSwitch 3.1 heeds this for connections that are up when
        it is set, and then for good.
        """
        change = {"max_backoff": 1000}
        self._db.transact([{"op": "update", "table": "Controller", "where": [], "row": change}])

    @property
    def programs(self) -> tuple[Program, ...]:
        """Both daemons."""
        return tuple(self._programs)

    def check(self) -> None:
        """Raise LabError if one of the daemons has died."""
        for program in self._programs:
            program.check()

    def stop(self) -> None:
        """Kill both daemons; switches vanish with them.

        The kernel needs milliseconds per port to close them. Nobody depends on that end, so it
        is not awaited.
        """
        if self._database is not None:
            self._database.close()
        for program in reversed(self._programs):
            program.process.kill()
        self._programs.clear()

    @property
    def _db(self) -> Connection:
        assert self._database is not None, "start() comes first"
        return self._database

    def _connected(self) -> bool:
        """Whether the database server takes connections: its socket's file is there before."""
        with suppress(FileNotFoundError, ConnectionRefusedError):
            self._database = Connection(self._socket)
        return self._database is not None

    def _is_current(self) -> bool:
        row = self._db.select(DATABASE, "cur_cfg", "next_cfg")[0]
        return bool(row["cur_cfg"] >= row["next_cfg"])

    def _launch(self, program: str, *arguments: str) -> None:
        words = [program, *arguments, "--no-chdir", "-vconsole:warn", "-vsyslog:off"]
        with ExitStack() as stack:
            if self.namespace:
                stack.enter_context(netns.inside(self.namespace))
            self._programs.append(start(f"{self._name}-{program}", words, self._logs))

    def _await(self, condition: Callable[[], bool], awaited: str) -> None:
        def holds() -> bool:
            self.check()
            return condition()

        until(holds, awaited)


def _insertions(bridges: tuple[Bridge, ...], datapath: str) -> list[Operation]:
    """The operations that insert every row and hang the bridges on the root row."""
    operations: list[Operation] = []
    names: list[list[str]] = []

    def insert(table: str, row: dict[str, Any]) -> list[str]:
        name = f"row{len(operations)}"
        operations.append({"op": "insert", "table": table, "row": row, "uuid-name": name})
        return ["named-uuid", name]

    for bridge in bridges:
        # The bridge's own interface exists in every OVS bridge and has no number of ours.
        local = insert("Interface", {"name": bridge.name, "type": "internal"})
        ports = [insert("Port", {"name": bridge.name, "interfaces": local})]
        for port in bridge.ports:
            interface = insert("Interface", _interface_row(port))
            ports.append(insert("Port", {"name": port.interface, "interfaces": interface}))
        names.append(insert("Bridge", _bridge_row(bridge, ports, datapath)))
    mutation = ["bridges", "insert", ["set", names]]
    operations.append({"op": "mutate", "table": DATABASE, "where": [], "mutations": [mutation]})
    return operations


def _interface_row(port: Port) -> dict[str, Any]:
    row: dict[str, Any] = {"name": port.interface, "ofport_request": port.number}
    if port.bfd_ms is not None:
        every = str(port.bfd_ms)
        row["bfd"] = ["map", [["enable", "true"], ["min_tx", every], ["min_rx", every]]]
    return row


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
