"""A lab in which port sets change hands while replies pour in, and who received them, as JSON.

``python -m benchmarks.replies_inside PACKETS PER_S``: an open loop of replies from an origin in
each city to random ports of a pool, whose sets are lent, moved at once and drained, taken away,
returned and lent again meanwhile. In the end a rule is forged: would the judge have seen it?
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import NamedTuple

from benchmarks.landlord import Landlord
from experiments.measure import forge
from experiments.measure.kernel import await_stamps
from experiments.measure.tenure import Act, Arrival, Tenures, judge
from experiments.measure.witness import Arrivals
from experiments.runs.testbed import Testbed
from topologies.model import Attachment, Pool
from topologies.plan import GATEWAY_MAC, HostPlan, HostRole
from topologies.sources import load

FOLDER = Path("/run/bench")
RESTLESS = Pool(IPv4Network("198.18.0.0/29"), tag="restless")
"""Nobody's kernel takes these addresses for its own, so nobody answers."""
NETWORK = load("triangle")
NETWORK = replace(
    NETWORK,
    pools=(*NETWORK.pools, RESTLESS),
    pops=tuple(replace(pop, servers=3) for pop in NETWORK.pops),
    origins=tuple(Attachment(city.code) for city in NETWORK.cities),
    port_set_bits=4,
)
LANDLORDS = 4
REPLIES = 10_000
"""Different replies of one origin; then the same again."""
BUSY = 4096
"""Every so many ports, one has as much traffic as all between: its way is in the switch's cache."""
GRACE_S = 1.0
"""How long Open vSwitch's cache may take to follow rules that are confirmed."""
TICK_S, COLLECT_S = 0.002, 0.02
LAST_S = 1.0
"""From the last packet sent until all have arrived; the longest way is shorter."""
TRIED = 100
"""Packets by which the judge is tried."""


class Restless(Testbed):
    """No lease ends by itself, and what was returned is soon lent again."""

    TERMS = ("--lease-time", "3600", "--quarantine", "1")


class Reply(NamedTuple):
    """A frame, and for whom it is."""

    frame: bytes
    address: int
    port: int


def replies(origin: HostPlan) -> list[Reply]:
    """Datagrams and segments to random ports of random addresses of the pool."""
    dice, addresses = random.Random(origin.name), list(RESTLESS.prefix)
    made = []
    for number in range(REPLIES):
        address, port = dice.choice(addresses), dice.randrange(0, 65536, BUSY if number % 2 else 1)
        like = reply(origin, address, port)
        frame = dice.choice((forge.Forged.frame, forge.segment))(like)
        made.append(Reply(frame, int(address), port))
    return made


def reply(origin: HostPlan, address: IPv4Address, port: int) -> forge.Forged:
    """What an origin answers to a port of an address."""
    return forge.Forged(origin.mac, GATEWAY_MAC, origin.address, address, 443, port)


def pour(origin: HostPlan, made: Sequence[Reply], packets: int, per_s: float) -> array[int]:
    """Send so many replies, so many a second; when each was sent."""
    times = array("q")
    with forge.on_the_wire(origin.name) as raw:
        began = time.monotonic()
        while len(times) < packets:
            due = min(packets, int((time.monotonic() - began) * per_s) + 1)
            for number in range(len(times), due):
                raw.send(made[number % REPLIES].frame)
                times.append(time.monotonic_ns())
            time.sleep(TICK_S)
    return times


def owed(tenures: Tenures, made: Sequence[Reply], times: Sequence[int]) -> int:
    """How many were for a port that one server held from before they were sent to long after."""
    grace = int(GRACE_S * 1e9)
    return sum(
        len(before) == 1 and before == tenures.holders(to.address, to.port, at + grace)
        for number, at in enumerate(times)
        for to in [made[number % REPLIES]]
        for before in [tenures.holders(to.address, to.port, at)]
    )


@contextmanager
def collecting(arrivals: Arrivals) -> Iterator[list[Arrival]]:
    """Take in what arrives, until all has."""
    found: list[Arrival] = []
    over = threading.Event()

    def collect() -> None:
        while not over.wait(COLLECT_S):
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
    """Have a switch give the datagrams of a lent set to its holder's neighbour, who is named."""
    holder = lab.plan.host(act.after)
    thief = next(x for x in lab.plan.servers_of(holder.city) if x is not holder)
    mask = 0xFFFF & ~(act.last_port - act.first_port)
    where = f"udp,nw_dst={IPv4Address(act.address)},tp_dst={act.first_port:#x}/{mask:#x}"
    actions = f"set_field:{thief.mac}->eth_dst,output:{thief.port}"
    rule = f"cookie=0x77,table=20,priority=900,{where},actions={actions}"
    management = f"unix:/run/openvswitch/{holder.switch}.mgmt"
    subprocess.run(["ovs-ofctl", "-O", "OpenFlow13", "add-flow", management, rule], check=True)
    return thief.name


def convicted(lab: Testbed, arrivals: Arrivals, acts: Sequence[Act]) -> float:
    """The share of some packets that a forged rule misdelivers, which the judge finds."""
    tenures, now_ns = Tenures(acts), time.monotonic_ns()
    act = next(x for x in acts if tenures.holders(x.address, x.first_port, now_ns) == {x.after})
    thief, origin = forge_rule(lab, act), lab.plan.hosts_of(HostRole.ORIGIN)[0]
    like = reply(origin, IPv4Address(act.address), act.first_port)
    time.sleep(GRACE_S)
    with collecting(arrivals) as found:
        forge.send(origin.name, [like.frame()] * TRIED)
    wrong = judge(tenures, found, int(GRACE_S * 1e9)).wrong
    return sum(x.server == thief for x in wrong) / TRIED


def poured(lab: Testbed, arrivals: Arrivals, packets: int, per_s: float) -> dict[str, float]:
    """What came of it, and whether the judge can be believed."""
    origins = lab.plan.hosts_of(HostRole.ORIGIN)
    made = {origin: replies(origin) for origin in origins}
    share, each = -(-packets // len(origins)), per_s / len(origins)
    landlords = [Landlord(lab, RESTLESS.tag, number) for number in range(LANDLORDS)]
    for landlord in landlords:
        landlord.settle()
    over = threading.Event()
    with ThreadPoolExecutor(len(landlords) + len(origins)) as pool:
        busy = [pool.submit(landlord.run, over) for landlord in landlords]
        with collecting(arrivals) as found:
            began = time.monotonic()
            works = {x: pool.submit(pour, x, made[x], share, each) for x in origins}
            times = {origin: work.result() for origin, work in works.items()}
            took = time.monotonic() - began
        over.set()
        for work in busy:
            work.result()
    acts = [act for landlord in landlords for act in landlord.acts]
    tenures = Tenures(acts)
    judged = judge(tenures, found, int(GRACE_S * 1e9))
    due = sum(owed(tenures, made[origin], times[origin]) for origin in origins)
    return {
        "sent": share * len(origins),
        "per_s": share * len(origins) / took,
        "owed": due,
        "delivered": judged.delivered,
        "in_change": judged.in_change,
        "late": judged.late,
        "latest_s": judged.latest_ns / 1e9,
        "misdelivered": len(judged.wrong),
        "acts": len(acts),
        "refused": sum(landlord.refused for landlord in landlords),
        "confirmed_p50_s": statistics.median(x.confirmed_ns - x.asked_ns for x in acts) / 1e9,
        "convicted": convicted(lab, arrivals, acts),
    }


def main() -> None:
    """Pour, judge, and try the judge."""
    packets, per_s = int(sys.argv[1]), float(sys.argv[2])
    with Restless(NETWORK, folder=FOLDER) as lab:
        servers = [server.name for server in lab.plan.hosts_of(HostRole.SERVER)]
        with Arrivals(servers, [RESTLESS.prefix]) as arrivals:
            await_stamps(servers[0])
            found = poured(lab, arrivals, packets, per_s)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
