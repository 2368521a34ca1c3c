"""A network that runs: built, programmed and verified, or an error that says what is not.

Runs inside a sandbox. A Lab is a Mininet network, so ``lab['LHR-c1'].cmd(...)``, ``lab.pingAll``
and the Mininet CLI work; but it is wired by netlink and one OVSDB transaction from a plan.
"""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network
from pathlib import Path
from types import TracebackType
from typing import Self

from mininet.log import error, output
from mininet.net import Mininet

from topologies.emulation import netns, routers, second_chance, wiring
from topologies.emulation.links import (
    End,
    Impairment,
    LinkAttachment,
    LinkBackend,
    LinkEnds,
    open_backend,
)
from topologies.emulation.nodes import LabHost, LabLink, LabRouter, LabSwitch
from topologies.emulation.options import USUAL, LabOptions
from topologies.emulation.processes import PATIENCE_S, LabError, Program, start, tell, until
from topologies.emulation.speakers import Speakers
from topologies.emulation.vswitch import Bridge, Port, VSwitch
from topologies.model import Names, Network
from topologies.plan import End as PlannedEnd
from topologies.plan import HostRole, LinkKind, LinkPlan, Plan, SwitchPlan, plan
from topologies.sources import dump_json
from topologies.speakers import speakers

NAMES = Path("/run/hosts")
"""What a sandbox shows as ``/etc/hosts``, so that names resolve in every host."""

RESOLVER = Path("/run/resolver")
"""What a sandbox shows as ``/etc/resolv.conf``: hosts ask the servers for other names."""

ORDERS = Path("/run/endpoints.sock")
"""Where the program of the hosts' services takes orders."""

OPENFLOW = "127.0.0.1:6653"
"""Where the switches of a lab look for their controller."""


def _unwatched(_phase: str, _seconds: float) -> None:
    """Nobody wants to know about phases."""


FILES, FILES_PER_NODE = 256, 8
"""How many open files a lab's programs must be allowed."""


class Lab(Mininet):
    """One network, alive. Use as a context manager inside a sandbox.

    ``folder`` receives ``network.json`` and ``logs/``. ``options`` say what carries it, ``seed``
    picks the packets that lossy links lose and the addresses that names get. ``on_phase`` is told
    the name and the seconds of each phase of the start; ``phases`` keeps them.
    """

    def __init__(
        self,
        network: Network,
        *,
        folder: Path,
        options: LabOptions = USUAL,
        seed: int = 0,
        on_phase: Callable[[str, float], None] = _unwatched,
    ) -> None:
        """Describe the lab; nothing is touched before ``start``."""
        Mininet.inited = True  # else it raises limits of the whole host; we raise our own
        super().__init__(topo=None, build=False, controller=None)
        self.plan: Plan = plan(network)
        self.folder = folder
        self.phases: dict[str, float] = {}
        self.emulator: LinkBackend | None = None
        self.options = options.resolved()
        self.switch_namespaces = wiring.switch_namespaces(self.plan, self.options.datapath)
        self._seed = seed
        self._on_phase = on_phase
        self.cut_links: set[int] = set()
        """The numbers of the links whose cable is pulled."""
        self.killed: set[str] = set()
        """The hosts whose services were ended."""
        self._programs: dict[str, Program] = {}
        self._modules: dict[str, tuple[str, ...]] = {}
        self._absent: set[str] = set()
        self._vswitches: list[VSwitch] = []
        said = speakers(self.plan)
        self.speakers = Speakers(said, self.logs, network.timers, network.bfd_ns)
        """They speak if the upstream is BGP."""

    @property
    def logs(self) -> Path:
        """The folder of the programs' logs."""
        return self.folder / "logs"

    @property
    def network_file(self) -> Path:
        """The resolved network, from which every program of the lab computes the same plan."""
        return self.folder / "network.json"

    def __enter__(self) -> Self:
        """Start; whatever was started is stopped again if that fails."""
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time one phase of the start and report it."""
        begin = time.monotonic()
        yield
        self.phases[name] = time.monotonic() - begin
        self._on_phase(name, self.phases[name])

    def write_network(self) -> None:
        """Write the resolved network for the lab's programs, and its hosts' names for all."""
        self.logs.mkdir(parents=True, exist_ok=True)
        lines = [f"{host.address} {host.name}" for host in self.plan.hosts]
        NAMES.write_text("\n".join(["127.0.0.1 localhost", *lines, ""]))
        RESOLVER.write_text(f"nameserver {self.plan.network.services[0]}\n")
        self.network_file.write_text(dump_json(self.plan.network))

    def build(self) -> None:
        """Make Mininet's objects for the plan; the kernel is not touched."""
        for router in self.plan.routers:  # `pingAll` and the like leave them in peace
            self.nameToNode[router.name] = LabRouter(router.name, plan=router)
        for host in self.plan.hosts:
            address = f"{host.address}/32"
            if host.role is HostRole.SPEAKER:
                node = LabHost(host.name, plan=host, ip=address, mac=host.mac)
                self.nameToNode[host.name] = node
            else:
                self.addHost(host.name, cls=LabHost, plan=host, ip=address, mac=host.mac)
        for switch in self.plan.switches:
            namespace = self.switch_namespaces[switch.name]
            self.addSwitch(switch.name, cls=LabSwitch, plan=switch, namespace=namespace)
        for link in self.plan.links:
            ends = (link.a, link.b)
            self.addLink(self[link.a.node], self[link.b.node], cls=LabLink, ends=ends)
        self.built = True

    def start(self) -> None:
        """Bring up namespaces, cables, switches, links and endpoints, and verify them.

        Raises LabError naming what is missing.
        """
        self.write_network()
        raise_file_limit(self.plan)
        if not self.built:
            self.build()
        with self.phase("namespaces"):
            wiring.make_namespaces(self.plan, self.switch_namespaces)
        self.begin()
        with self.phase("wiring"):
            links_netns = str(netns.path(wiring.LINKS))
            self.emulator = open_backend(self.options.links, links_netns, self.logs)
            wiring.wire(self.plan, self.switch_namespaces, self.emulator.needs_inner)
            if self.plan.network.second_chance and second_chance.is_possible():
                servers = self.plan.hosts_of(HostRole.SERVER)
                flow_ports = self.plan.network.second_chance_udp
                second_chance.give(servers, wiring.families(), flow_ports)
            if self.plan.routers:
                routers.configure(self.plan)
                routers.join(self.plan, self.plan.links)
        with self.phase("switches"):
            self._start_switches()
        with self.phase("links"):
            self.emulator.attach_many(map(self._attachment, self.emulated_links))
            self.wait(self.hear, "the switches to hear each other")
        if self.plan.routers:
            with self.phase("speakers"):
                self.speakers.start({})
                self.wait(self.speakers.listen, "the BGP speakers to listen")
        with self.phase("endpoints"):
            self._start_endpoints()
        with self.phase("verification"):
            self._verify()

    def hear(self) -> bool:
        """Whether every switch hears its neighbours, as far as the network wants it to (BFD)."""
        return all(vswitch.hears() for vswitch in self._vswitches)

    def begin(self) -> None:
        """Called when the namespaces exist: start here what may start beside the wiring."""

    def stop(self) -> None:
        """End every program and shell. Interfaces and namespaces end with the sandbox."""
        for program in self._programs.values():
            program.kill()
        self._programs.clear()
        self.speakers.stop()
        if self.emulator is not None:
            self.emulator.close()
            self.emulator = None
        for vswitch in self._vswitches:
            vswitch.stop()
        for node in self.nameToNode.values():
            node.terminate()

    def check(self) -> None:
        """Raise LabError if any program of the lab has died, with the end of its log."""
        self._check_programs()
        if self.emulator is not None:
            self.emulator.check()

    def programs(self) -> tuple[Program, ...]:
        """Every program of the lab that should be running."""
        return tuple(x for x in self.all_programs() if x.name not in self._absent)

    def all_programs(self) -> tuple[Program, ...]:
        """Every program of the lab, those that were ended on purpose too."""
        daemons = (program for vswitch in self._vswitches for program in vswitch.programs)
        links = self.emulator.program if self.emulator is not None else None
        speakers = self.speakers.programs.values()
        return (*daemons, *speakers, *self._programs.values(), *((links,) if links else ()))

    def kill(self, name: str) -> None:
        """SIGKILL a program on purpose: nobody misses it. Raises LabError for an unknown one."""
        program = self.program(name)
        self._absent.add(name)
        program.kill()

    def end(self, name: str) -> None:
        """SIGTERM a program on purpose; it has ended then. Raises LabError for an unknown one."""
        program = self.program(name)
        self._absent.add(name)
        program.stop()

    def pause(self, name: str) -> None:
        """SIGSTOP a program on purpose. Raises LabError for an unknown one."""
        program = self.program(name)
        self._absent.add(name)
        program.process.send_signal(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Let a program go on that was stopped. Raises LabError for one that has ended."""
        program = self.program(name)
        if program.process.poll() is not None:
            raise LabError(f"{name} has ended: it can only be restarted.")
        program.process.send_signal(signal.SIGCONT)
        self._absent.discard(name)

    def restart(self, name: str) -> None:
        """Start one of our own modules again that was killed. Raises LabError for another one."""
        if name not in self._modules:
            ours = ", ".join(self._modules)
            raise LabError(f"{name} cannot be started again; these can: {ours}.")
        if self.program(name).process.poll() is None:
            raise LabError(f"{name} is running: kill it first.")
        self.launch(name, *self._modules[name])

    def program(self, name: str) -> Program:
        """The program with this name. Raises LabError if there is none."""
        found = {program.name: program for program in self.all_programs()}
        if name not in found:
            raise LabError(f"The lab has no program {name!r}: {', '.join(found)}.")
        return found[name]

    def _check_programs(self) -> None:
        for program in self.programs():
            program.check()

    def connect(self, *controllers: str) -> None:
        """Make the switches connect to these controllers, ``HOST:PORT``; without any, to OPENFLOW.

        They must listen there in every switch's namespace.
        """
        for vswitch in self._vswitches:
            vswitch.connect(*(f"tcp:{place}" for place in controllers or (OPENFLOW,)))

    def retry_often(self) -> None:
        """Let switches look for a lost controller every second, now that all are connected."""
        for vswitch in self._vswitches:
            vswitch.retry_often()

    def launch(self, name: str, module: str, *arguments: str) -> Program:
        """Start one of our own modules as a program of the lab, with a log of its name."""
        program = start(name, [sys.executable, "-m", module, *arguments], self.logs)
        self._programs[name] = program
        self._modules[name] = (module, *arguments)
        self._absent.discard(name)
        return program

    def wait(self, condition: Callable[[], bool], awaited: str, timeout_s: float = 15.0) -> None:
        """Poll until ``condition`` holds; LabError when time is up or a program has died."""

        def holds() -> bool:
            self._check_programs()  # asking the kernel for every link would cost more than waiting
            return condition()

        until(holds, awaited, timeout_s)

    def serve(self, host: str, up: bool) -> None:
        """Start (True) or end what a host serves, as a crash would. Raises LabError."""
        _order(f"{'start' if up else 'stop'} {host}")
        (self.killed.discard if up else self.killed.add)(host)

    def bind(self, how: Names, among: Iterable[IPv4Network]) -> None:
        """Bind names otherwise, to the addresses of some prefixes. Raises LabError."""
        _order(f"bind {how} {' '.join(map(str, among))}")

    def _start_endpoints(self) -> None:
        ready = self.folder / "endpoints.ready"
        self.launch(
            "endpoints",
            "topologies.emulation.endpoints",
            str(self.network_file),
            "--ready-file",
            str(ready),
            "--orders",
            str(ORDERS),
            "--seed",
            str(self._seed),
        )
        self.wait(ready.exists, "the services on servers and origins to listen")

    def _start_switches(self) -> None:
        """One daemon for each namespace of switches, started side by side."""
        logs = self.logs / "openvswitch"
        logs.mkdir(exist_ok=True)
        bridges: defaultdict[str, list[Bridge]] = defaultdict(list)
        for switch, namespace in self.switch_namespaces.items():
            bridges[namespace].append(_bridge(self.plan, self.plan.switch(switch)))
        self._vswitches = [VSwitch(logs, namespace, self.options.datapath) for namespace in bridges]
        for vswitch in self._vswitches:
            vswitch.start_database()
        for vswitch, own in zip(self._vswitches, bridges.values(), strict=True):
            vswitch.start(own)
        for vswitch in self._vswitches:
            vswitch.verify()

    def set_link(self, link: LinkPlan, up: bool) -> None:
        """Pull (False) or plug (True) a cable: both ends see it, and hosts keep their routes."""
        if wiring.is_emulated(link):
            assert self.emulator is not None
            self.emulator.carrier(link.number, up)
        else:
            wiring.set_port(self.switch_namespaces, link, up)
        (self.cut_links.discard if up else self.cut_links.add)(link.number)
        if self.plan.routers and link.kind is LinkKind.TRANSIT:
            still = (x for x in self.plan.links if x.number not in self.cut_links)
            routers.join(self.plan, still)
        if up:
            routers.restore(self.plan, link)
            ends = {link.a.node, link.b.node}
            for host in (host for host in self.plan.hosts if host.name in ends):
                wiring.restore(host)

    def set_by_hand(self, link: LinkPlan, up: bool) -> None:
        """What the prompt does with a link."""
        self.set_link(link, up)

    def configLinkStatus(self, src: str, dst: str, status: str) -> None:  # noqa: N802
        """Mininet's ``link SRC DST up|down``: every link between two nodes, as ``set_link``."""
        found = [link for link in self.plan.links if {link.a.node, link.b.node} == {src, dst}]
        if not found or status not in ("up", "down"):
            error(f"no link {src} - {dst} to set {status}\n")
        for link in found:
            self.set_by_hand(link, status == "up")
        if found and status == "down":
            output(f"*** {src} - {dst} is cut: packets are lost there, both ends see no carrier\n")

    def appctl(self, switch: str, *command: str) -> str:
        """Run ``ovs-appctl`` on the daemon of a switch, e.g. ``ofproto/trace``.

        Raises CalledProcessError if it refuses, LabError if it does not answer.
        """
        namespace = self.switch_namespaces[switch]
        control = next(v.control for v in self._vswitches if v.namespace == namespace)
        words = ["ovs-appctl", f"--target={control}", *command]
        try:
            done = subprocess.run(
                words, capture_output=True, text=True, check=True, timeout=PATIENCE_S
            )
        except subprocess.TimeoutExpired:
            raise LabError(f"{switch} did not answer for {PATIENCE_S:g} s.") from None
        return done.stdout

    def _attachment(self, link: LinkPlan) -> LinkAttachment:
        ends = []
        for end, inner in zip((link.a, link.b), link.inner, strict=True):
            ends.append(End(str(netns.path(self.namespace(end))), end.interface, inner))
        both = self.planned(link)
        return LinkAttachment(link.number, LinkEnds(*ends), both, both, self._seed)

    def namespace(self, end: PlannedEnd) -> str:
        """Where the interface at an end of a link is."""
        return wiring.namespace_of(self.switch_namespaces, end.node)

    def planned(self, link: LinkPlan) -> Impairment:
        """What the network says that a link does, either way."""
        return Impairment.of(link.line)

    @property
    def emulated_links(self) -> tuple[LinkPlan, ...]:
        """The links that the emulator carries; the others are plain cables."""
        return tuple(link for link in self.plan.links if wiring.is_emulated(link))

    def _verify(self) -> None:
        """Every address and every delay is there; ports were verified when they were made."""
        wrong = [host.name for host in self.plan.hosts if not wiring.is_configured(host)]
        if wrong:
            raise LabError(f"{len(wrong)} hosts lack address or route, first: {wrong[0]}.")
        assert self.emulator is not None
        read = self.emulator.read_many(link.number for link in self.emulated_links)
        for link in self.emulated_links:
            wanted = self.planned(link)
            for direction in read[link.number]:
                if direction != wanted:
                    ends = f"{link.a.node} - {link.b.node}"
                    raise LabError(f"Link {ends} has {direction}, but {wanted} was asked for.")


def _bridge(plan: Plan, switch: SwitchPlan) -> Bridge:
    ports = []
    for link in plan.links_of(switch.name):
        end, far = link.near(switch.name), link.far(switch.name).node
        fabric = any(far == other.name for other in plan.switches)
        assert end.port is not None
        asked = plan.network.bfd_ns if fabric else None
        ports.append(Port(end.interface, end.port, None if asked is None else asked // 10**6))
    return Bridge(switch.name, switch.dpid, tuple(ports))


def raise_file_limit(plan: Plan) -> None:
    """A namespace each, and a probe engine holds sockets in each host. Raises LabError."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    nodes = len(plan.hosts) + len(plan.switches) + len(plan.routers)
    needed = FILES + FILES_PER_NODE * nodes
    limit = max(hard, needed)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    except (OSError, ValueError) as error:
        raise LabError(
            f"This lab needs {needed} open files and may have {hard}: raise the limit "
            f"(`ulimit -n {needed}`)."
        ) from error


def _order(order: str) -> None:
    """Have the program of the hosts' services do something. Raises LabError."""
    try:
        answer = tell(ORDERS, order)
    except OSError as error:
        raise LabError(f"The hosts' services do not answer: {error}.") from None
    if answer != "ok":
        raise LabError(f"{answer}.")
