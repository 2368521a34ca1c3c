"""A lab in which port sets change hands while replies pour in, and who received them, as JSON.

``python -m benchmarks.replies_inside PACKETS PER_S``: replies from an origin in every city to random
ports of a pool, an open loop; meanwhile its sets are lent, moved at once or drained, taken away,
returned and lent again. In the end a rule is forged, so that it shows whether the judge would see it.
"""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from experiments.errors import TrialError
from experiments.measure import forge
from experiments.measure.kernel import await_stamps
from experiments.measure.tenure import NOBODY, Act, Arrival, Tenures, judge
from experiments.measure.witness import Arrivals
from experiments.runs.testbed import Testbed
from topologies.emulation.processes import Program, until
from topologies.model import Attachment, Pool
from topologies.plan import GATEWAY_MAC, HostPlan, HostRole
from topologies.sources import load

FOLDER = Path("/run/bench")
TAG = "restless"
RESTLESS = Pool(IPv4Network("198.18.0.0/29"), tag=TAG)
"""Nobody's kernel takes these addresses for its own, so nobody answers."""
NETWORK = load("triangle")
NETWORK = replace(
    NETWORK,
    pools=(*NETWORK.pools, RESTLESS),
    pops=tuple(replace(pop, servers=3) for pop in NETWORK.pops),
    origins=tuple(Attachment(city.code) for city in NETWORK.cities),
    port_set_bits=4,
)
TERMS = ("--lease-time", "3600", "--quarantine", "1")
"""No lease ends by itself, and what was returned is soon lent again."""
LANDLORDS = 4
PAUSE_S = 0.05
"""Between two acts of one landlord."""
DRAIN_S = 0.3
MOST_HELD = 40
"""Sets that a landlord keeps lent."""
SIZES = (4, 5, 6, 8)
"""PSID bits: sets of 2048 to 256 ports."""
VERBS = ("acquire", "move", "drain", "revoke", "release")
FRAMES = 20_000
"""Different replies of one origin; then the same again."""
TICK_S = 0.002
LAST_S = 1.0
"""From the last packet sent until all have arrived; the longest way is shorter."""


class Restless(Testbed):
    """A testbed whose controller lends by these terms."""

    def launch(self, name: str, module: str, *arguments: str) -> Program:
        """As a testbed does."""
        return super().launch(name, module, *arguments, *(TERMS if name == "controller" else ()))


@dataclass
class Landlord:
    """Has sets change hands, one after the other, and notes what was said of it and when."""

    lab: Testbed
    number: int
    acts: list[Act] = field(default_factory=list)
    refused: int = 0

    def __post_init__(self) -> None:
        """Begin with nothing lent."""
        self._api = self.lab.controller_api
        self._servers = [server.name for server in self.lab.plan.hosts_of(HostRole.SERVER)]
        self._dice = random.Random(self.number)
        self._turns = itertools.count()
        self._held: list[dict[str, Any]] = []

    def run(self, over: threading.Event) -> None:
        """Until it is over."""
        while not over.wait(PAUSE_S):
            try:
                self._act(self._dice.choice(VERBS))
            except TrialError:
                self.refused += 1  # the quota, or a dry pool: nothing has changed

    def acquire(self) -> None:
        """Lend one more set."""
        asked = time.monotonic_ns()
        name = f"{self.number}-{next(self._turns)}"
        server, size = self._dice.choice(self._servers), self._dice.choice(SIZES)
        lease = self._api.acquire(server, tag=TAG, client_id=name, psid_bits=size)
        self._held.append(lease)
        self._note(lease, NOBODY, server, asked)

    def _act(self, verb: str) -> None:
        if len(self._held) < MOST_HELD // 2 or verb == "acquire":
            if len(self._held) < MOST_HELD:
                self.acquire()
            return
        lease = self._dice.choice(self._held)
        if verb == "drain":
            self._drain(lease)
        elif verb == "move":
            self._change(lease, verb, self._dice.choice(self._servers), {"server"})
        else:
            self._change(lease, verb, NOBODY, {"server"} if verb == "release" else set())

    def _change(self, lease: dict[str, Any], verb: str, after: str, given: set[str]) -> None:
        """A change that is over when it is answered."""
        before, asked = lease["server"], time.monotonic_ns()
        said = {name: after or before for name in given}
        changed = self._api.change_lease(verb, lease["address"], lease["first_port"], **said)
        self._note(changed, before, after, asked)
        self._replace(lease, after)

    def _drain(self, lease: dict[str, Any]) -> None:
        """A change that comes by itself, not before its time, and is confirmed when it is seen."""
        before, heir = lease["server"], self._dice.choice(self._servers)
        at, earliest = (lease["address"], lease["first_port"]), time.monotonic_ns()
        earliest += int(DRAIN_S * 1e9)
        self._api.change_lease("move", *at, server=heir, drain_s=DRAIN_S)
        until(lambda: self._holder(*at) != before, "a drained set to change hands")
        after = self._holder(*at)
        until(self._programmed, "the switches to confirm it")
        self._note(lease | {"confirmed": True}, before, after, earliest)
        self._replace(lease, after)

    def _holder(self, address: str, port: int) -> str:
        with suppress(TrialError):
            return str(self._api.who(address, port)["server"])
        return NOBODY

    def _programmed(self) -> bool:
        switches = self._api.status()["switches"].values()
        return all(switch["programmed"] for switch in switches)

    def _note(self, lease: dict[str, Any], before: str, after: str, asked_ns: int) -> None:
        if not lease["confirmed"]:
            raise TrialError(f"a change of {lease['address']} was not confirmed")
        ports = lease["first_port"], lease["last_port"]
        address, now = int(IPv4Address(lease["address"])), time.monotonic_ns()
        self.acts.append(Act(address, *ports, before, after, asked_ns, now))

    def _replace(self, lease: dict[str, Any], holder: str) -> None:
        self._held.remove(lease)
        if holder != NOBODY:
            self._held.append(lease | {"server": holder})


def reply(origin: HostPlan, address: IPv4Address, port: int) -> forge.Forged:
    """What an origin answers to a port of an address."""
    return forge.Forged(origin.mac, GATEWAY_MAC, origin.address, address, 443, port)


def replies(origin: HostPlan) -> list[bytes]:
    """Datagrams and segments to random ports of random addresses of the pool."""
    dice, addresses = random.Random(origin.name), list(RESTLESS.prefix)
    like = (reply(origin, dice.choice(addresses), dice.randrange(65536)) for _ in range(FRAMES))
    return [dice.choice((forge.Forged.frame, forge.segment))(one) for one in like]


def pour(origin: HostPlan, packets: int, per_s: float) -> None:
    """Send so many replies from an origin, so many a second."""
    frames, sent = itertools.cycle(replies(origin)), 0
    with forge.on_the_wire(origin.name) as raw:
        began = time.monotonic()
        while sent < packets:
            due = min(packets, int((time.monotonic() - began) * per_s) + 1)
            for frame in itertools.islice(frames, due - sent):
                raw.send(frame)
            sent = due
            time.sleep(TICK_S)


@contextmanager
def collecting(arrivals: Arrivals) -> Iterator[list[Arrival]]:
    """Take in what arrives, until all has."""
    found: list[Arrival] = []
    over = threading.Event()

    def collect() -> None:
        while not over.wait(0.02):
            found.extend(arrivals.arrived())

    thread = threading.Thread(target=collect)
    thread.start()
    try:
        yield found
        time.sleep(LAST_S)
    finally:
        over.set()
        thread.join()
    found.extend(arrivals.arrived())
    arrivals.check()


def forge_rule(lab: Testbed, act: Act) -> str:
    """Have a switch give the datagrams of a lent set to a neighbour of its holder, who is named."""
    holder = lab.plan.host(act.after)
    thief = next(x for x in lab.plan.servers_of(holder.city) if x is not holder)
    mask = 0xFFFF & ~(act.last_port - act.first_port)
    where = f"udp,nw_dst={IPv4Address(act.address)},tp_dst={act.first_port:#x}/{mask:#x}"
    rule = f"cookie=0x77,table=20,priority=900,{where},"
    rule += f"actions=set_field:{thief.mac}->eth_dst,output:{thief.port}"
    management = f"unix:/run/openvswitch/{holder.switch}.mgmt"
    subprocess.run(["ovs-ofctl", "-O", "OpenFlow13", "add-flow", management, rule], check=True)
    return thief.name


def convicted(lab: Testbed, arrivals: Arrivals, acts: list[Act]) -> float:
    """The share of some misdelivered packets that the judge finds when a rule is forged."""
    act = next(x for x in reversed(acts) if x.after != NOBODY)
    thief, sent = forge_rule(lab, act), 100
    origin = lab.plan.hosts_of(HostRole.ORIGIN)[0]
    with collecting(arrivals) as found:
        like = reply(origin, IPv4Address(act.address), act.first_port)
        forge.send(origin.name, [like.frame()] * sent)
    wrong = judge(Tenures(acts), found).wrong
    return sum(x.server == thief for x in wrong) / sent


def main() -> None:
    """Pour, judge, and try the judge."""
    packets, per_s = int(sys.argv[1]), float(sys.argv[2])
    with Restless(NETWORK, folder=FOLDER) as lab:
        origins = lab.plan.hosts_of(HostRole.ORIGIN)
        servers = [server.name for server in lab.plan.hosts_of(HostRole.SERVER)]
        landlords = [Landlord(lab, number) for number in range(LANDLORDS)]
        for landlord in landlords:
            for _ in range(MOST_HELD):
                with suppress(TrialError):
                    landlord.acquire()
        over = threading.Event()
        with Arrivals(servers, [RESTLESS.prefix]) as arrivals, ThreadPoolExecutor() as pool:
            await_stamps(servers[0])
            busy = [pool.submit(landlord.run, over) for landlord in landlords]
            began = time.monotonic()
            with collecting(arrivals) as found:
                share = packets // len(origins)
                each = per_s / len(origins)
                pouring = [pool.submit(pour, origin, share, each) for origin in origins]
                for work in pouring:
                    work.result()
                took = time.monotonic() - began
            over.set()
            for work in busy:
                work.result()
            acts = [act for landlord in landlords for act in landlord.acts]
            tenures = Tenures(acts)
            judged = judge(tenures, found)
            late = [tenures.since_confirmed_ns(x) for x in judged.wrong]
            for x in judged.wrong[:40]:
                sys.stderr.write(f"{x}\n")
                for a in tenures._acts.get((x.address, x.port // 16), []):
                    sys.stderr.write(f"   {(a.asked_ns-x.at_ns)/1e6:.3f} {(a.confirmed_ns-x.at_ns)/1e6:.3f} {a.before} {a.after} {a.first_port} {a.last_port}\n")
            sys.stderr.write(f"late {sorted(x / 1e6 for x in late if x)[-50:]}\n")
            shown = convicted(lab, arrivals, acts)
        audit = lab.controller_api.audit()
    spans = sorted(a.confirmed_ns - a.asked_ns for a in acts)
    found_ = {
        "sent": share * len(origins),
        "per_s": share * len(origins) / took,
        "delivered": judged.delivered,
        "in_change": judged.in_change,
        "misdelivered": len(judged.wrong),
        "acts": len(acts),
        "acts_per_s": len(acts) / took,
        "refused": sum(x.refused for x in landlords),
        "confirmed_p50_s": spans[len(spans) // 2] / 1e9,
        "confirmed_max_s": spans[-1] / 1e9,
        "convicted": shown,
    }
    sys.stdout.write(json.dumps(found_) + "\n")


if __name__ == "__main__":
    main()
