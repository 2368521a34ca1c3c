"""The whole thing, alive: a lab with its Ryu controller and its servers' lending agents."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

from experiments.measure.capture import Capture
from topologies.emulation import wiring
from topologies.emulation.lab import OPENFLOW, Lab
from topologies.plan import HostRole

REST = "127.0.0.1:8080"
"""Where the controller of a lab answers; the address exists inside the sandbox only."""


class Controller:
    """What the lab's controller says of itself, over its REST interface."""

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://{REST}{path}", timeout=5) as answer:
            return json.load(answer)

    def status(self) -> dict[str, Any]:
        """Switches, whether all are programmed, packet-ins and changes so far."""
        return dict(self._get("/v1/status"))

    def leases(self) -> list[dict[str, Any]]:
        """Every lease in the book."""
        return list(self._get("/v1/leases"))

    def counters(self) -> dict[str, dict[str, dict[str, int]]]:
        """Packets and bytes per switch and rule duty, read from the switches now."""
        return dict(self._get("/v1/counters"))

    def is_listening(self) -> bool:
        """Whether the controller answers at all."""
        try:
            self.status()
        except (OSError, ValueError):
            return False
        return True

    def is_ready(self) -> bool:
        """Whether every switch is connected and programmed."""
        return bool(self.status()["ready"])


class Testbed(Lab):
    """A lab in which clients are steered and every server has borrowed an address."""

    def __init__(self, *args: Any, captured: bool = False, **kwargs: Any) -> None:
        """As for Lab; ``captured`` keeps a digest of every frame from the start."""
        super().__init__(*args, **kwargs)
        self.controller_api = Controller()
        self.capture: Capture | None = None
        self._captured = captured

    @property
    def lease_file(self) -> Path:
        """What the agents say they hold."""
        return self.folder / "agents.json"

    def begin(self) -> None:
        """Start the controller first: it takes longer than the wiring."""
        wiring.raise_loopback()
        if self._captured:
            hosts = (host.name for host in self.plan.hosts)
            self.capture = Capture((*dict.fromkeys(self.switch_namespaces.values()), *hosts))
        self.start_controller()

    def start(self) -> None:
        """Start controller, network and agents; returns when all leases are in use."""
        super().start()
        with self.phase("controller"):
            self.wait(self.controller_api.is_listening, "the controller to answer")
        with self.phase("programming"):
            self.connect()
            self.wait(self.controller_api.is_ready, "the controller to program every switch")
        with self.phase("leases"):
            self.launch(
                "agent",
                "controller.agent",
                str(self.network_file),
                "--status",
                str(self.lease_file),
            )
            servers = {host.name for host in self.plan.hosts_of(HostRole.SERVER)}
            self.wait(lambda: servers <= self.leases().keys(), "every server to borrow an address")

    def stop(self) -> None:
        """End the capture, then as a Lab."""
        if self.capture is not None:
            self.capture.close()
            self.capture = None
        super().stop()

    def start_controller(self) -> None:
        """Start the Ryu controller on the lab's durable lease book."""
        arguments = ["--db", str(self.folder / "leases.sqlite")]
        arguments += ["--openflow", OPENFLOW, "--rest", REST, "--namespaces"]
        arguments += dict.fromkeys(self.switch_namespaces.values())
        self.launch("controller", "controller", str(self.network_file), *arguments)

    def kill_controller(self) -> None:
        """SIGKILL the controller, as a crash would."""
        self._programs.pop("controller").kill()

    def leases(self) -> dict[str, dict[str, Any]]:
        """The lease that each server's agent holds and has configured."""
        if not self.lease_file.exists():
            return {}
        status = json.loads(self.lease_file.read_text())
        return {server: lease for server, lease in status.items() if lease is not None}
