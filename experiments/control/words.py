"""The words: every query and command that a running lab understands.

A word is a subject and a verb: the method ``link_cut`` is ``link.cut`` on the socket, ``poplab link
cut`` on the command line, and ``{link: LHR-CDG, do: cut}`` in a scenario. Its first parameter is
the subject. What is done is written into the lab's log, before it happens if nobody can refuse it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from ipaddress import AddressValueError, IPv4Address, IPv4Network, collapse_addresses, ip_address
from typing import TYPE_CHECKING, Any

from controller.core import ports
from controller.core.lease import SizeError, UnknownTagError
from controller.dhcp import LONGEST_NAME
from experiments.errors import UsageError
from experiments.measure.barrage import DISCARD_PORT
from topologies.emulation.links import Impairment
from topologies.explicit import dump_json
from topologies.family import Address
from topologies.model import Names
from topologies.plan import HostPlan, HostRole, LinkKind, LinkPlan, Plan
from topologies.speakers import numbers
from topologies.units import UnitError, format_rate, parse_rate, parse_share, parse_time

if TYPE_CHECKING:
    from experiments.runs.testbed import Testbed


LEAST_BIT_S, MOST_BIT_S = 10_000, 100_000_000
"""What a flood may send: more than that would fill the machine, and no network."""


class Control:
    """A lab under control. Any thread may call; commands are carried out one after the other.

    Raises UsageError for what the lab does not have, TrialError for what its controller refuses,
    LinkError or LabError for what the lab cannot do, OSError while there is no controller.
    """

    def __init__(self, lab: Testbed, purpose: str) -> None:
        """``purpose`` says why the lab is up: ``up``, or what is run in it."""
        self._lab = lab
        self._purpose = purpose
        self._since = time.time()
        self._one = threading.RLock()

    # -- queries

    def status(self) -> dict[str, Any]:
        """What lab this is, whether it is ready, its switches, what is killed and what flooded."""
        try:
            controller = self._lab.controller_api.status()
        except OSError:
            controller = {"ready": False, "fault": "the controller does not answer", "switches": {}}
        return {
            "network": self._lab.plan.network.name,
            "purpose": self._purpose,
            "up_s": round(time.time() - self._since, 1),
            "ready": controller["ready"],
            "fault": controller["fault"],
            "controllers": [place.name for place in self._lab.controller_places],
            "leader": controller["leader"]["name"] if "leader" in controller else None,
            "links": self._lab.emulator.name if self._lab.emulator else None,
            "switches": controller["switches"],
            "programs": [program.name for program in self._lab.programs()],
            "killed": sorted(self._lab.killed),
            "floods": dict(sorted(self._lab.floods.items())),
        }

    def network(self) -> dict[str, Any]:
        """The network that the lab was built from, in the form of ``topologies.explicit``."""
        described: dict[str, Any] = json.loads(dump_json(self._lab.plan.network))
        return described

    def leases(self) -> list[dict[str, Any]]:
        """Every port set that is not free."""
        return self._lab.controller_api.leases()

    def world(self) -> dict[str, Any]:
        """What steers: policy, overrides, PoPs, ranking, servers, ports, metrics."""
        return self._lab.controller_api.world()

    def why(self, client: str) -> dict[str, Any]:
        """Which PoP a client, or a city, goes to, and what the policy thought of every PoP.

        Where cities are routers ``spoken`` has what the speaker says, its best route first.
        """
        plan = self._lab.plan
        cities = {host.name: host.city for host in plan.hosts}
        cities |= {transit.city: transit.city for transit in plan.transits}
        if client not in cities:
            raise UsageError(f"{plan.network.name} has no client or city {client!r}.")
        found = self._lab.controller_api.why(cities[client])
        return found | ({"spoken": self._spoken(cities[client])} if plan.routers else {})

    def _spoken(self, city: str) -> list[dict[str, Any]]:
        """The routes to the service that a city's speaker knows, in its own words."""
        plan = self._lab.plan
        of, asn = {edge.number: edge.city for edge in plan.edges}, numbers(plan)
        names = {asn[x.name]: plan.network.city(x.city).network for x in plan.transits}
        known = self._lab.speakers.routes(plan.network.service_prefixes[0])
        return [
            {
                "pop": of[route.pop],
                "path": [names.get(number, "(us)") for number in route.path],
                "best": route.best,
                "why": route.why,
            }
            for route in known[plan.transit(city).name]
        ]

    def pool(self) -> dict[str, Any]:
        """What is free and what is taken of the pools, by tag and PoP."""
        return self._lab.controller_api.pool()

    def usage(self) -> list[dict[str, Any]]:
        """Ports in use by PoP, address and destination: five minutes' averages and maxima."""
        return self._lab.usage()

    def metrics(self) -> str:
        """What the controller and the servers' agents count, in Prometheus' text format."""
        return self._lab.metrics()

    def who(self, lease: str, at_ns: int | None = None, ago: str | None = None) -> dict[str, Any]:
        """Who might use a port (203.0.113.0:2048), now or at a time of the book."""
        address, port = find_port(lease)
        if ago is not None and at_ns is not None:
            raise UsageError("Give a time, or how long ago it was: not both.")
        now_ns = time.time_ns()
        if ago is not None:
            at_ns = now_ns - int(_seconds(lease, ago) * 1e9)
        if at_ns is not None and at_ns > now_ns:
            raise UsageError("Nobody knows yet who will use a port: ask for a time that was.")
        return self._lab.controller_api.who(address, port, at_ns)

    def audit(self) -> dict[str, Any]:
        """Book, store and switches compared: is what is lent what the switches let pass?"""
        return self._lab.controller_api.audit()

    def counters(self) -> dict[str, dict[str, dict[str, int]]]:
        """Rules, packets and bytes per switch and rule duty, read from the switches now."""
        return self._lab.controller_api.counters()

    def events(self, after: int = 0, wait_s: int = 0) -> list[dict[str, Any]]:
        """The log after a record; waits for news if there are none."""
        return self._lab.controller_api.events(after, wait_s)

    def names(self) -> dict[str, list[str]]:
        """What there is, by subject: links, PoPs, cities, servers, programs, leases."""
        plan = self._lab.plan
        return {
            "link": [link_name(link) for link in plan.links],
            "pop": [edge.city for edge in plan.edges],
            "city": [transit.city for transit in plan.transits],
            "server": [host.name for host in plan.hosts_of(HostRole.SERVER)],
            "target": [
                *map(str, plan.network.services),
                *(host.name for host in plan.hosts_of(HostRole.SERVER)),
            ],
            "program": [program.name for program in self._lab.all_programs()],
            "lease": [lease_name(lease) for lease in self._leases_or_none()],
        }

    def links(self) -> list[dict[str, Any]]:
        """Every emulated link: its ends, whether it is cut, and what it does each way."""
        emulator, links = self._lab.emulator, self._lab.emulated_links
        assert emulator is not None
        read, stats = emulator.read_many(link.number for link in links), emulator.stats()
        return [
            {
                "link": link_name(link),
                "kind": link.kind.value,
                "cut": link.number in self._lab.cut_links,
                "ways": [
                    shown(way)
                    | {
                        "packets": count.packets,
                        "bytes": count.bytes,
                        "drops": dict(count.drops),
                    }
                    for way, count in zip(read[link.number], stats[link.number], strict=True)
                ],
            }
            for link in links
        ]

    def probe(self) -> list[dict[str, Any]]:
        """Ping the service once from every client: how long each round trip took."""
        return self._lab.probe()

    def explain(
        self,
        host: str,
        destination: str,
        port: int = 80,
        protocol: str = "tcp",
        source: str | None = None,
        source_port: int = 40000,
    ) -> dict[str, Any]:
        """The way of a packet and of its answer, hop by hop, as the switches tell it."""
        from experiments.control import trace

        return trace.explain(self._lab, host, destination, port, protocol, source, source_port)

    # -- links

    def link_cut(self, link: str) -> None:
        """Pull the cable: packets are lost, both ends see no carrier."""
        found = self._link(link)
        with self._doing("link.cut", link=link):
            self._lab.set_link(found, up=False)

    def link_blackhole(self, link: str) -> None:
        """Lose everything silently: both ends still see a carrier."""
        found = self._emulated(link)
        with self._doing("link.blackhole", link=link):
            self._shape(found, replace(self._lab.planned(found), blackhole=True))

    def link_set(
        self,
        link: str,
        delay: str | None = None,
        jitter: str | None = None,
        loss: str | None = None,
        rate: str | None = None,
    ) -> None:
        """Change what a link does, both ways: --delay "30 ms" --loss 1%; the rest stays.

        A rate of "none" takes the one that it has away.
        The controller is not told: like the Internet, it steers by what was planned.
        """
        found = self._emulated(link)
        assert self._lab.emulator is not None
        now, _ = self._lab.emulator.read(found.number)
        try:
            wanted = replace(now, **quantities(delay, jitter, loss, rate))
        except ValueError as error:
            raise _unread(link, error) from None
        if wanted == now:
            raise UsageError(f"{link} does that already: give it another delay, loss or rate.")
        given = {"delay": delay, "jitter": jitter, "loss": loss, "rate": rate}
        with self._doing("link.set", link=link, **given):
            self._shape(found, wanted)

    def link_restore(self, link: str) -> None:
        """Plug the cable, and make the link what the network says."""
        found = self._link(link)
        with self._doing("link.restore", link=link):
            if found in self._lab.emulated_links:
                self._shape(found, self._lab.planned(found))
            self._lab.set_link(found, up=True)

    def link_metric(self, link: str, delay: str | None = None) -> None:
        """Have routes take a link to be so long; without a delay, as long as planned."""
        try:
            delay_ns = None if delay is None else parse_time(delay)
        except ValueError as error:
            raise _unread(link, error) from None
        number = self._link(link).number
        said = {"link": link, "delay": delay}
        self._happen("link.metric", "MetricSet", said, link=number, delay_ns=delay_ns)

    # -- PoPs, cities, servers

    def pop_drain(self, pop: str) -> None:
        """Serve only cities that reach no announced PoP."""
        self._happen("pop.drain", "PopSet", {"pop": pop}, pop=pop, state="drained")

    def pop_withdraw(self, pop: str) -> None:
        """Serve nobody; what is borrowed there stays at home there."""
        self._happen("pop.withdraw", "PopSet", {"pop": pop}, pop=pop, state="withdrawn")

    def pop_announce(self, pop: str) -> None:
        """Serve again."""
        self._happen("pop.announce", "PopSet", {"pop": pop}, pop=pop, state="announced")

    def pop_weigh(self, pop: str, weight: int) -> None:
        """Give a PoP so many shares of the cities (policy weighted); usually it is 1."""
        said = {"pop": pop, "weight": weight}
        self._happen("pop.weigh", "ShareSet", said, pop=pop, weight=weight)

    def pop_prepend(self, pop: str, times: int) -> None:
        """Have a PoP's announcements name us so many times more (policy bgp)."""
        said = {"pop": pop, "times": times}
        self._happen("pop.prepend", "PrependSet", said, pop=pop, times=times)

    def pop_scope(self, pop: str, scope: str) -> None:
        """Announce a PoP to all, to its network's customers, or to nobody else (policy bgp)."""
        said = {"pop": pop, "scope": scope}
        self._happen("pop.scope", "ScopeSet", said, pop=pop, scope=scope)

    def service_withdraw(self, service: str, pop: str) -> None:
        """Have a PoP withdraw one service address, and keep the others."""
        self._announce("service.withdraw", service, pop, announced=False)

    def service_announce(self, service: str, pop: str) -> None:
        """Have a PoP announce a service address again."""
        self._announce("service.announce", service, pop, announced=True)

    def _announce(self, word: str, service: str, pop: str, *, announced: bool) -> None:
        said = {"service": service, "pop": pop}
        self._happen(word, "ServiceSet", said, service=service, pop=pop, announced=announced)

    def city_steer(self, city: str, pop: str) -> None:
        """Send a city to a PoP, whatever the policy says."""
        self._happen("city.steer", "OverrideSet", {"city": city, "pop": pop}, city=city, pop=pop)

    def city_release(self, city: str) -> None:
        """Send a city where the policy says."""
        self._happen("city.release", "OverrideSet", {"city": city}, city=city, pop=None)

    def policy_set(self, policy: str) -> None:
        """Steer by another policy: nearest, bgp, regional, weighted or capacity."""
        self._happen("policy.set", "PolicySet", {"policy": policy}, policy=policy)

    def names_bind(self, names: str, among: str | None = None, without: str | None = None) -> None:
        """Bind names otherwise: random, static or one; to the addresses of --among, less --without.

        Both are prefixes and addresses with commas; all service addresses if there is no --among.
        What resolvers have heard before they keep for its TTL.
        """
        if names not in tuple(Names):
            raise UsageError(f"Names are bound {', '.join(Names)}, not {names!r}.")
        services = self._lab.plan.network.services
        chosen = set(services) if among is None else _prefixes_of(among, services)
        chosen -= set() if without is None else _prefixes_of(without, services)
        if not chosen:
            raise UsageError("No service address is left to bind names to: leave fewer out.")
        with self._doing("names.bind", names=names, among=among, without=without):
            self._lab.bind(Names(names), collapse_addresses(map(IPv4Network, chosen)))

    def balancing_set(self, scheme: str, second_chance: bool = True) -> None:
        """Spread flows over servers by maglev, rendezvous, modulo, or the switch's own group.

        Without a second chance servers hand nothing back, and connections break.
        """
        given = {"scheme": scheme, "second_chance": second_chance}
        self._happen("balancing.set", "BalancingSet", given, **given)

    def server_weigh(self, server: str, weight: int) -> None:
        """Give a server so many shares of its PoP's new connections; usually it is 1."""
        said = {"server": server, "weight": weight}
        self._happen("server.weigh", "WeightSet", said, server=server, weight=weight)

    def server_sick(self, server: str) -> None:
        """Send a server no new connections."""
        self._happen("server.sick", "HealthSet", {"server": server}, server=server, healthy=False)

    def server_well(self, server: str) -> None:
        """Send a server new connections again."""
        self._happen("server.well", "HealthSet", {"server": server}, server=server, healthy=True)

    def server_kill(self, server: str) -> None:
        """End a server's services as a crash would: ports closed, connections reset."""
        self._serve("server.kill", server, up=False)

    def server_restart(self, server: str) -> None:
        """Start a server's services again."""
        self._serve("server.restart", server, up=True)

    def server_borrow(
        self,
        server: str,
        tag: str | None = None,
        client_id: str | None = None,
        psid_bits: int | None = None,
    ) -> dict[str, Any]:
        """Have a server's agent borrow a port set by these names, configure it, and keep it.

        What it has by them already is told, whatever its size.
        """
        if psid_bits is not None and not ports.LEAST_BITS <= psid_bits <= ports.MOST_BITS:
            raise UsageError(f"{SizeError(psid_bits, ports.LEAST_BITS, ports.MOST_BITS)}.")
        tags = {pool.tag for pool in self._lab.plan.network.pools}
        if tag is not None and tag not in tags:
            raise UsageError(f"{UnknownTagError(tag, tags)}.")
        if client_id is not None and len(client_id.encode()) > LONGEST_NAME:
            raise UsageError(f"A client_id has at most {LONGEST_NAME} bytes: shorten it.")
        return self._order("borrow", server, tag=tag, client_id=client_id, psid_bits=psid_bits)

    def server_return(
        self, server: str, tag: str | None = None, client_id: str | None = None
    ) -> None:
        """Have a server's agent give back what it borrowed by these names."""
        self._order("return", server, tag=tag, client_id=client_id)

    # -- leases

    def lease_acquire(
        self,
        server: str,
        tag: str | None = None,
        client_id: str | None = None,
        psid_bits: int | None = None,
    ) -> dict[str, Any]:
        """Lend a server a port set by a client identifier; without one, that of its agent's first.

        What it has by that already is told, whatever its size. Nobody renews it but `lease renew`,
        and no agent configures it.
        """
        names = {"tag": tag, "client_id": client_id, "psid_bits": psid_bits}
        with self._done("lease.acquire", server=server, **names):
            return self._lab.controller_api.acquire(server, **names)

    def lease_renew(self, lease: str) -> dict[str, Any]:
        """Give the holder the full time."""
        return self._change_lease("renew", lease)

    def lease_release(self, lease: str, server: str) -> dict[str, Any]:
        """Return a set in its holder's name."""
        return self._change_lease("release", lease, server=server)

    def lease_revoke(self, lease: str) -> dict[str, Any]:
        """Take a set (203.0.113.0:2048, by any of its ports) from its holder."""
        return self._change_lease("revoke", lease)

    def lease_drain(self, lease: str, time: str) -> dict[str, Any]:
        """Let the holder finish within "30 s", and give it no more time."""
        seconds = _seconds(lease, time)
        with self._done("lease.drain", lease=lease, time=time):
            return self._tell_book("drain", lease, seconds=seconds)

    def lease_move(self, lease: str, server: str, drain: str | None = None) -> dict[str, Any]:
        """Hand a set over to another server, in this PoP or another: at once, or drained first."""
        given = {} if drain is None else {"drain_s": _seconds(lease, drain)}
        with self._done("lease.move", lease=lease, server=server, drain=drain):
            return self._tell_book("move", lease, server=server, **given)

    # -- attacks

    def target_flood(self, target: str, rate: str) -> None:
        """Have all clients together send a target "5 Mbit/s": a host, an address, a port set.

        To the service it lands in the PoP of each client, to a server's own address in one place.
        Flooding it again changes how much.
        """
        aim = find_target(self._lab.plan, target)
        try:
            rate_bit_s = parse_rate(rate)
        except ValueError as error:
            raise _unread(target, error) from None
        if not LEAST_BIT_S <= rate_bit_s <= MOST_BIT_S:
            least, most = format_rate(LEAST_BIT_S), format_rate(MOST_BIT_S)
            raise UsageError(
                f"A flood of {rate} is none that this kit can send: use {least} to {most}."
            )
        with self._doing("target.flood", target=target, rate=rate):
            self._lab.flood(target, *aim, rate_bit_s)

    def target_spare(self, target: str) -> None:
        """End the flood of a target, by the name that it was flooded by."""
        if target not in self._lab.floods:
            raise UsageError(f"Nobody floods {target}.")
        with self._doing("target.spare", target=target):
            self._lab.spare(target)

    # -- programs

    def program_kill(self, program: str) -> None:
        """End a program of the lab as a crash would (SIGKILL)."""
        self._lab.program(program)
        with self._doing("program.kill", program=program):
            self._lab.kill(program)

    def program_end(self, program: str) -> None:
        """Have a program end in good order (SIGTERM); a controller hands over to a standby."""
        self._lab.program(program)
        with self._doing("program.end", program=program):
            self._lab.end(program)

    def program_restart(self, program: str) -> None:
        """Start a program again that was ended or killed."""
        with self._done("program.restart", program=program):
            self._lab.restart(program)

    def program_stop(self, program: str) -> None:
        """Stop a program for now (SIGSTOP)."""
        self._lab.program(program)
        with self._doing("program.stop", program=program):
            self._lab.pause(program)

    def program_continue(self, program: str) -> None:
        """Let a stopped program go on (SIGCONT)."""
        self._lab.program(program)
        with self._doing("program.continue", program=program):
            self._lab.resume(program)

    def say(self, word: str, params: Mapping[str, Any]) -> Any:
        """Say a word, ``link.cut``, as a scenario does."""
        return words()[word](self, **params)

    # -- the log

    def note(self, text: str) -> None:
        """Put words of your own into the log."""
        self._lab.controller_api.happen({"event": "Mark", "text": text})

    # -- inside

    def _leases_or_none(self) -> list[dict[str, Any]]:
        """The leases; none while there is no controller."""
        try:
            return self.leases()
        except OSError:
            return []

    @contextmanager
    def _doing(self, word: str, **params: Any) -> Iterator[None]:
        """Do one thing at a time, and log it first; a lab without a controller has no log."""
        with self._one:
            with suppress(OSError):
                self._log(word, params)
            yield

    @contextmanager
    def _done(self, word: str, **params: Any) -> Iterator[None]:
        """Do one thing at a time, and log it when it is done: the controller may refuse it."""
        with self._one:
            yield
            with suppress(OSError):
                self._log(word, params)

    def _change_lease(self, verb: str, lease: str, **given: Any) -> dict[str, Any]:
        with self._done(f"lease.{verb}", lease=lease, **given):
            return self._tell_book(verb, lease, **given)

    def _tell_book(self, verb: str, lease: str, **given: Any) -> dict[str, Any]:
        return self._lab.controller_api.change_lease(verb, *find_port(lease), **given)

    def _order(self, do: str, server: str, **names: Any) -> dict[str, Any]:
        found = self._lab.order(do, server, **names)  # others need not wait while an agent does
        with self._done(f"server.{do}", server=server, **names):
            return found

    def _serve(self, word: str, server: str, *, up: bool) -> None:
        find_server(self._lab.plan, server)
        with self._done(word, server=server):
            self._lab.serve(server, up)

    def _happen(self, word: str, event: str, subject: dict[str, Any], **fields: Any) -> None:
        """Let an event happen, then log the word."""
        with self._done(word, **subject):
            self._lab.controller_api.happen({"event": event, **fields})

    def _log(self, word: str, params: dict[str, Any]) -> None:
        given = {name: value for name, value in params.items() if value is not None}
        self._lab.controller_api.happen({"event": "Command", "word": word, "params": given})

    def _shape(self, link: LinkPlan, wanted: Impairment) -> None:
        assert self._lab.emulator is not None
        self._lab.emulator.set(link.number, a_to_b=wanted, b_to_a=wanted)

    def _link(self, name: str) -> LinkPlan:
        return find_link(self._lab.plan, name)

    def _emulated(self, name: str) -> LinkPlan:
        link = self._link(name)
        if link not in self._lab.emulated_links:
            raise UsageError(f"{name} is a plain cable without delay: it can only be cut.")
        return link


def quantities(
    delay: str | None, jitter: str | None, loss: str | None, rate: str | None
) -> dict[str, Any]:
    """The fields of an impairment that were given. Raises UnitError."""
    read: dict[str, tuple[str | None, Callable[[str], Any]]] = {
        "delay_ns": (delay, parse_time),
        "jitter_ns": (jitter, parse_time),
        "loss": (loss, parse_share),
        "rate_bit_s": (rate, _rate_or_none),
    }
    return {name: parse(text) for name, (text, parse) in read.items() if text is not None}


def _rate_or_none(text: str) -> int | None:
    return None if text == "none" else parse_rate(text)


def link_name(link: LinkPlan) -> str:
    """How people name a link: by its cities if it joins two, else by its nodes."""
    ends = (link.a.node, link.b.node)
    if link.kind is LinkKind.TRANSIT:
        return "-".join(end[1:] for end in ends)
    return "-".join(ends)


def lease_name(lease: Mapping[str, Any]) -> str:
    """How people name a lease: by its address and its first port."""
    return f"{lease['address']}:{lease['first_port']}"


def find_link(plan: Plan, name: str) -> LinkPlan:
    """The link with this name, its ends in either order. Raises UsageError if there is none."""
    for link in plan.links:
        a, b = link.a.node, link.b.node
        names = {link_name(link), f"{a}-{b}", f"{b}-{a}"}
        if link.kind is LinkKind.TRANSIT:
            names.add(f"{b[1:]}-{a[1:]}")
        if name in names:
            return link
    some = ", ".join(link_name(link) for link in plan.links[:6])
    raise UsageError(f"{plan.network.name} has no link {name!r}; its links are {some}, ...")


def find_links(plan: Plan, names: Iterable[str]) -> tuple[LinkPlan, ...]:
    """The links with these names, each once. Raises as ``find_link``."""
    return tuple({link.number: link for link in (find_link(plan, x) for x in names)}.values())


def find_server(plan: Plan, name: str) -> HostPlan:
    """The server with this name. Raises UsageError if there is none."""
    for server in plan.hosts_of(HostRole.SERVER):
        if server.name == name:
            return server
    raise UsageError(f"{plan.network.name} has no server {name!r}.")


def find_port(lease: str) -> tuple[str, int]:
    """Address and port of ``203.0.113.0:2048``. Raises UsageError."""
    address, _, port = lease.rpartition(":")
    try:
        if port.isascii() and port.isdecimal() and int(port) < 1 << 16:
            return str(IPv4Address(address)), int(port)
    except AddressValueError:
        pass
    raise UsageError(f"{lease!r} names no lease: write its address and any port, 203.0.113.0:2048.")


def find_target(plan: Plan, name: str) -> tuple[Address, int]:
    """Address and port of what can be flooded. Raises UsageError for what the network lacks.

    It is a host's name, an address of a host, the service or a pool, or a port set by any of its
    ports; where no port is named, nobody listens at it.
    """
    if name in {host.name for host in plan.hosts}:
        return plan.host(name).address, DISCARD_PORT
    try:
        address, port = ip_address(name), DISCARD_PORT
    except ValueError:
        try:
            text, port = find_port(name)
        except UsageError:
            raise UsageError(
                f"{plan.network.name} has no target {name!r}: name a host, an address, or a port"
                " set (203.0.113.0:2048)."
            ) from None
        address = IPv4Address(text)
    hosts = (host.at(address.version) for host in plan.hosts)
    pools = plan.network.pools
    if address in {*plan.network.services, *hosts} or any(address in x.prefix for x in pools):
        return address, port
    raise UsageError(f"{address} is no address of {plan.network.name}.")


def _prefixes_of(text: str, services: Sequence[IPv4Address]) -> set[IPv4Address]:
    """The addresses of some prefixes, all of them service addresses. Raises UsageError."""
    try:
        prefixes = [IPv4Network(word.strip()) for word in text.split(",")]
    except ValueError as error:
        raise UsageError(f"{text!r} is no list of prefixes: {error}.") from None
    found = {address for address in services if any(address in prefix for prefix in prefixes)}
    for prefix in collapse_addresses(prefixes):
        if sum(address in prefix for address in found) < prefix.num_addresses:
            foreign = next(address for address in prefix if address not in found)
            raise UsageError(f"{foreign} is no service address of this network.")
    return found


def _seconds(subject: str, text: str) -> float:
    """A time in words as seconds, none before now. Raises UsageError."""
    try:
        found = parse_time(text) / 1e9
    except ValueError as error:
        raise _unread(subject, error) from None
    if found < 0:
        raise UsageError(f"{subject}: {text!r} is less than nothing: give a time from 0 up.")
    return found


def _unread(subject: str, error: ValueError) -> UsageError:
    """What to say of a quantity that cannot be read."""
    mend = f"; {error.mend}" if isinstance(error, UnitError) else ""
    return UsageError(f"{subject}: {error}{mend}.")


def shown(way: Impairment) -> dict[str, Any]:
    """What one direction does, without what it does not."""
    usual = Impairment()
    return {
        field.name: getattr(way, field.name)
        for field in fields(way)
        if getattr(way, field.name) != getattr(usual, field.name)
    }


def words() -> dict[str, Callable[..., Any]]:
    """Every word as it stands on the socket, ``link.cut``, and its method."""
    found = vars(Control).items()
    return {n.replace("_", ".", 1): f for n, f in found if n != "say" and not n.startswith("_")}
