"""The whole thing, alive: a lab with its Ryu controller and its servers' lending agents."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controller.core.announcing import announcements
from controller.core.world import World
from experiments.control.words import Control, find_link, link_name
from experiments.errors import RefusedError, TrialError
from experiments.measure.capture import Capture
from experiments.measure.ping import EchoProbe, ping
from topologies.emulation import wiring
from topologies.emulation.lab import OPENFLOW, Lab
from topologies.emulation.processes import Program, tell
from topologies.family import Address
from topologies.plan import HostRole, LinkPlan

REST = "127.0.0.1:8080"
"""Where the first controller of a lab answers; the address exists inside the sandbox only."""


@dataclass(frozen=True, slots=True)
class Place:
    """One of a lab's controllers: its program's name, and where it listens (``HOST:PORT``)."""

    name: str
    openflow: str = OPENFLOW
    rest: str = REST

    @classmethod
    def of(cls, number: int) -> Place:
        """That of a number from 1 on."""
        if number == 1:
            return cls("controller")
        return cls(f"controller-{number}", *(_later(x, number - 1) for x in (OPENFLOW, REST)))


def _later(endpoint: str, ports: int) -> str:
    host, _, port = endpoint.rpartition(":")
    return f"{host}:{int(port) + ports}"


PROBE_WITHIN_S = 0.2
"""The clients' probes are spread over so long."""

AGENT_ORDERS = Path("/run/agent.sock")
"""Where the servers' agents take orders."""


class Controller:
    """What the lab's controller says of itself and lets happen, over its REST interface.

    Of several the one that leads is asked. Raises OSError when none answers or leads, RefusedError
    when it refuses.
    """

    def __init__(self, *rest: str) -> None:
        """``rest`` is where each of them answers (``HOST:PORT``)."""
        self._rest = list(rest)

    def _ask(self, path: str, data: Mapping[str, Any] | None = None, patience_s: float = 5) -> Any:
        return json.loads(self._read(f"v1/{path}", data, patience_s))

    def _read(
        self, path: str, data: Mapping[str, Any] | None = None, patience_s: float = 5
    ) -> bytes:
        """What the one that leads answers; it is the first to be asked the next time."""
        body = None if data is None else json.dumps(data).encode()
        cause = OSError("no controller leads")
        for rest in tuple(self._rest):
            try:
                answer = _once(f"http://{rest}/{path}", body, patience_s)
            except OSError as error:
                cause = error
                continue
            self._rest.remove(rest)
            self._rest.insert(0, rest)
            return answer
        raise cause

    def are_there(self, switches: int) -> bool:
        """Whether every controller answers, and those that stand by have so many switches."""
        try:
            return all(_switches_of_standby(rest) in (None, switches) for rest in self._rest)
        except OSError:
            return False

    def status(self) -> dict[str, Any]:
        """Switches, whether all are programmed, packet-ins and changes so far."""
        return dict(self._ask("status"))

    def leases(self) -> list[dict[str, Any]]:
        """Every lease in the book."""
        return list(self._ask("leases"))

    def counters(self) -> dict[str, dict[str, dict[str, int]]]:
        """Rules, packets and bytes per switch and rule duty, read from the switches now."""
        return dict(self._ask("counters"))

    def world(self) -> dict[str, Any]:
        """What steers: policy, overrides, PoPs, ranking, servers, ports, metrics."""
        return dict(self._ask("world"))

    def why(self, city: str) -> dict[str, Any]:
        """Which PoP a city goes to, and what the policy thought of every PoP."""
        return dict(self._ask(f"cities/{urllib.parse.quote(city, safe='')}"))

    def events(self, after: int = 0, wait_s: int = 0) -> list[dict[str, Any]]:
        """The log after a record; waits for news if there are none."""
        return list(self._ask(f"events?after={after}&wait={wait_s}", patience_s=5 + wait_s))

    def happen(self, event: Mapping[str, Any]) -> None:
        """Let an event happen, in the words of ``controller.core.events``.

        Returns when every switch that is there has confirmed what changed. Raises TrialError.
        """
        if not self._ask("events", event, patience_s=15)["confirmed"]:
            raise TrialError(f"{event['event']} has happened, but not every switch confirms it.")

    def acquire(self, server: str, **names: Any) -> dict[str, Any]:
        """Lend a server a port set: the lease, and whether the switches have confirmed it."""
        return dict(self._ask("leases", {"server": server} | names, patience_s=15))

    def change_lease(self, verb: str, address: object, port: int, **given: Any) -> dict[str, Any]:
        """Renew, release, revoke, drain or move the lease of a port; its entry in the book."""
        return dict(self._ask(f"leases/{address}/{port}/{verb}", given, patience_s=15))

    def who(self, address: str, port: int, at_ns: int | None = None) -> dict[str, Any]:
        """Who might use a port at a time of the book; now, if none is given."""
        when = "" if at_ns is None else f"?at_ns={at_ns}"
        return dict(self._ask(f"leases/{address}/{port}/who{when}"))

    def pool(self) -> dict[str, Any]:
        """What is free and what is taken, by tag and PoP."""
        return dict(self._ask("pool"))

    def geofeed(self) -> str:
        """Where the pools' addresses are said to be, in the words of RFC 8805."""
        return self._read("v1/geofeed").decode()

    def metrics(self) -> str:
        """The controller's metrics in Prometheus' text format."""
        return self._read("metrics").decode()

    def audit(self) -> dict[str, Any]:
        """Book, store and switches compared."""
        return dict(self._ask("audit", patience_s=30))

    def is_listening(self) -> bool:
        """Whether a controller leads, and answers."""
        try:
            self.status()
        except (OSError, ValueError):
            return False
        return True

    def is_ready(self) -> bool:
        """Whether every switch is connected and programmed."""
        return bool(self.status()["ready"])


BGP_PATIENCE_S = 120.0
"""For BGP to come to rest, beside MRAI at every router."""


class _StandbyError(OSError):
    """Who was asked does not lead; it has so many switches."""

    def __init__(self, problem: Mapping[str, Any]) -> None:
        self.switches = int(problem["switches"])
        super().__init__(problem["detail"])


def _switches_of_standby(rest: str) -> int | None:
    """How many switches a standby has; None for who leads. Raises OSError."""
    try:
        _once(f"http://{rest}/v1/status", None, 5)
    except _StandbyError as error:
        return error.switches
    return None


def _once(url: str, body: bytes | None, patience_s: float) -> bytes:
    """What is answered there. Raises OSError, RefusedError."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body), timeout=patience_s) as got:
            return bytes(got.read())
    except urllib.error.HTTPError as refused:
        problem = json.load(refused)
        if "leader" in problem:
            raise _StandbyError(problem) from None
        raise RefusedError(problem) from None


def _flood(target: str) -> str:
    """The program that floods a target."""
    return f"flood {target}"


class Testbed(Lab):
    """A lab in which clients are steered and every server has borrowed an address."""

    TERMS: tuple[str, ...] = ()
    """What its controller is told besides, in the words of its command line."""

    def __init__(
        self,
        *args: Any,
        captured: bool = False,
        purpose: str = "up",
        controllers: int = 1,
        **kwargs: Any,
    ) -> None:
        """As for Lab; ``captured`` keeps a digest of every frame, ``purpose`` is for people.

        Of so many ``controllers`` one leads, the others stand by.
        """
        super().__init__(*args, **kwargs)
        self.control = Control(self, purpose)
        self.controller_places = tuple(Place.of(number + 1) for number in range(controllers))
        self.controller_api = Controller(*(place.rest for place in self.controller_places))
        self.probes = 0
        """How many packets ``probe`` has sent."""
        self._floods: dict[str, int] = {}
        self.capture: Capture | None = None
        self._captured = captured

    @property
    def lease_file(self) -> Path:
        """What the agents say they hold."""
        return self.folder / "agents.json"

    @property
    def store(self) -> str:
        """Where the controllers keep the lease book."""
        return str(self.folder / "leases.sqlite")

    def begin(self) -> None:
        """Start the controller first: it takes longer than the wiring."""
        wiring.raise_loopback()
        if self._captured:
            routers = (router.name for router in self.plan.routers)
            switches = dict.fromkeys(self.switch_namespaces.values())
            hosts = (host.name for host in self.plan.hosts)
            self.capture = Capture((*switches, *routers, *hosts))
        self.start_controllers()

    def start(self) -> None:
        """Start controller, network and agents; returns when all leases are in use."""
        super().start()
        with self.phase("controller"):
            self.wait(lambda: self.controller_api.are_there(0), "the controllers to answer")
            self.wait(self.controller_api.is_listening, "a controller to lead")
        with self.phase("programming"):
            self.connect(*(place.openflow for place in self.controller_places))
            self.wait(self.controller_api.is_ready, "the controller to program every switch")
            self.wait(self.stand_by, "every controller to have every switch")
            self.retry_often()
        if self.plan.routers:
            with self.phase("bgp"):
                self.come_to_rest()
        with self.phase("leases"):
            self.launch(
                "agent",
                "controller.agent",
                str(self.network_file),
                "--status",
                str(self.lease_file),
                "--orders",
                str(AGENT_ORDERS),
            )
            self.wait(self._all_lent, "every server to borrow an address")
        if any(pool.more_specifics for pool in self.plan.network.pools):
            with self.phase("pieces"):
                self.come_to_rest()

    def come_to_rest(self, *, told: bool = True) -> None:
        """Wait until BGP has nothing to say: all routers know ways to all that PoPs share.

        Unless no PoP has ``told`` them of it.
        """
        network = self.plan.network
        patience_s = BGP_PATIENCE_S + len(self.plan.routers) * network.timers.advertisement_s
        shared = next(iter(announcements(World(self.plan)).values())).prefixes if told else ()
        self.wait(self.speakers.rest(shared), "BGP to come to rest", patience_s)
        if network.bfd_ns is not None:
            self.wait(self.speakers.hear, "routers to hear each other (BFD)", patience_s)

    def stop(self) -> None:
        """End the capture, then as a Lab."""
        if self.capture is not None:
            self.capture.close()
            self.capture = None
        super().stop()

    def record(self, name: str, file: Path) -> Program:
        """Keep the frames of a link, by its name, in a file: begun when this returns.

        The program that does so has written all of them when it has ended. Raises UsageError.
        """
        link = find_link(self.plan, name)
        ends = (f"{self.namespace(end)}:{end.interface}" for end in (link.a, link.b))
        program = self.launch(f"record {name}", "experiments.measure.recorder", str(file), *ends)
        self.wait(file.exists, f"the frames of {name} to be recorded")
        return program

    def probe(self) -> list[dict[str, Any]]:
        """Ping the first service address once from every client: when (Unix, ns), and the RTT.

        An RTT of None was lost: nothing came within a second.
        """
        clients, service = self.plan.hosts_of(HostRole.CLIENT), self.plan.network.services[0]
        asked = [EchoProbe(client.name, service) for client in clients]
        ahead_ns = time.time_ns() - time.monotonic_ns()
        rows = ping(asked, count=1, interval_s=PROBE_WITHIN_S, timeout_s=1.0)
        self.probes += len(rows)
        return [
            {
                "client": row.host,
                "sent_ns": row.sent_ns + ahead_ns,
                "rtt_ms": None if row.rtt_ns is None else row.rtt_ns / 1e6,
            }
            for row in rows
        ]

    @property
    def floods(self) -> dict[str, int]:
        """What clients flood at this moment, and by how much (bit/s)."""
        return {
            target: bit_s
            for target, bit_s in self._floods.items()
            if self.program(_flood(target)).process.poll() is None
        }

    def flood(self, target: str, address: Address, port: int, bit_s: int) -> None:
        """Have all clients together send a port so much, by the name of a target, until spared."""
        if target in self.floods:
            self.spare(target)
        clients = [client.name for client in self.plan.hosts_of(HostRole.CLIENT)]
        said = (str(address), str(port), str(bit_s), str(self._seed), *clients)
        self.launch(_flood(target), "experiments.measure.flooding", *said)
        self._floods[target] = bit_s

    def spare(self, target: str) -> None:
        """End the flood of a target."""
        self.end(_flood(target))
        del self._floods[target]

    def start_controllers(self) -> None:
        """Start the Ryu controllers on the lab's one durable lease book."""
        for place in self.controller_places:
            self.launch(
                place.name,
                "controller",
                str(self.network_file),
                *("--name", place.name, "--db", self.store),
                *("--openflow", place.openflow, "--rest", place.rest),
                *("--namespaces", *dict.fromkeys(self.switch_namespaces.values())),
                *self.TERMS,
            )

    def stand_by(self) -> bool:
        """Whether any of the controllers could lead at once."""
        return self.controller_api.are_there(len(self.plan.switches))

    def settle(self) -> None:
        """Wait until no switch goes by what it decided before now: it confirms changes sooner.

        Takes up to two seconds. Raises as ``appctl``.
        """
        one_of_each = {daemon: switch for switch, daemon in self.switch_namespaces.items()}
        with ThreadPoolExecutor() as at_once:
            list(at_once.map(self._revalidate, one_of_each.values()))

    def _revalidate(self, switch: str) -> None:
        """Have all flows looked at twice: the first time may have begun before now."""
        for _ in range(2):
            self.appctl(switch, "revalidator/wait")

    def set_by_hand(self, link: LinkPlan, up: bool) -> None:
        """The prompt says the same words as everybody."""
        (self.control.link_restore if up else self.control.link_cut)(link_name(link))

    def leases(self) -> dict[str, dict[str, Any]]:
        """The first lease that each server's agent holds and has configured."""
        return {server: held[0] for server, held in self.all_leases().items()}

    def all_leases(self) -> dict[str, list[dict[str, Any]]]:
        """All that each server's agent holds and has configured, as it asked for them."""
        if not self.lease_file.exists():
            return {}
        return dict(json.loads(self.lease_file.read_text()))

    def _all_lent(self) -> bool:
        held, wanted = self.all_leases(), len(self.plan.network.borrow)
        servers = self.plan.hosts_of(HostRole.SERVER)
        return all(len(held.get(server.name, ())) >= wanted for server in servers)

    def order(self, do: str, server: str, **wish: Any) -> dict[str, Any]:
        """Have a server's agent ``borrow`` or ``return`` a lease; the lease, once it is in use.

        Raises TrialError.
        """
        return self._ask_agents(server, {"do": do, "server": server} | wish)

    def usage(self) -> list[dict[str, Any]]:
        """Ports in use by PoP, address and destination, in buckets of five minutes.

        Raises TrialError.
        """
        return list(self._ask_agents("The servers", {"do": "usage"})["usage"])

    def metrics(self) -> str:
        """All metrics in Prometheus' text format. Raises OSError, TrialError."""
        agents = str(self._ask_agents("The servers", {"do": "metrics"})["metrics"])
        return self.controller_api.metrics() + agents

    def _ask_agents(self, whose: str, order: dict[str, Any]) -> dict[str, Any]:
        try:
            answer = json.loads(tell(AGENT_ORDERS, json.dumps(order), patience_s=30))
        except (OSError, ValueError) as error:
            raise TrialError(f"{whose}: the agent does not answer: {error}.") from None
        if "error" in answer:
            raise TrialError(f"{whose}: {answer['error']}.")
        return dict(answer)
