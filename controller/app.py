"""The Ryu application: events in, core called, messages out.

Ryu delivers events one by one, replies among them, so no handler here ever waits: what must
wait runs in a green thread of its own.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import eventlet
from ryu.base import app_manager
from ryu.controller import ofp_event
from ryu.controller.handler import MAIN_DISPATCHER, set_ev_cls
from ryu.ofproto import ofproto_v1_3

from controller import openflow
from controller.checker import Checker
from controller.clock import BookClock
from controller.core.events import LeaderSet, PortStatus, SwitchSet
from controller.core.lease import Terms, check_places
from controller.core.lending import Book
from controller.core.rules import Duty, duty_of
from controller.dhcp_desk import DhcpDesk, tell
from controller.icmp_desk import IcmpDesk
from controller.identity import by_port
from controller.lender import Lender
from controller.loop import ControlLoop
from controller.ryu_compat import hear_all
from controller.shedder import Shedder
from controller.store import Store
from controller.switches import Switch
from topologies.plan import HostRole, Plan

__all__ = ["Controller", "Settings"]

LOG = logging.getLogger("controller")
LINK_DOWN, LIVE = ofproto_v1_3.OFPPS_LINK_DOWN, ofproto_v1_3.OFPPS_LIVE


@dataclass(frozen=True, slots=True)
class Settings:
    """What a controller needs: it leads the ``store``."""

    plan: Plan
    store: Store
    terms: Terms


class Controller(app_manager.RyuApp):
    """Programs every switch of the plan and lends addresses to its servers.

    ``counts``: packet_ins (but for answers to health checks); health_answers, health_malformed;
    those of ``DhcpDesk`` and ``IcmpDesk``; unknown_switches,
    refused_switches (a second one by the name of one that is there).
    """

    OFP_VERSIONS = (ofproto_v1_3.OFP_VERSION,)

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        hear_all(self)
        plan = settings.plan
        self.started = datetime.now(UTC)
        self.counts: Counter[str] = Counter()
        self.store = settings.store
        entries, last = self.store.load(), self.store.last()
        self.servers = {host.name: host for host in plan.hosts_of(HostRole.SERVER)}
        check_places(entries, {host.name: host.city for host in self.servers.values()})
        network, lendings = plan.network, self.store.lendings()
        book = Book.restore(
            entries,
            network.pools,
            network.port_set_bits,
            settings.terms,
            lendings,
            dict.fromkeys(network.borrow, len(self.servers)),
        )
        self.loop = ControlLoop(plan, self.store, BookClock(last.at_ns if last else 0))
        self.switches = self.loop.switches
        self.lender = Lender(book, self.loop, partial(tell, self.loop))
        self.dhcp = DhcpDesk(self.loop, self.lender, self.counts)
        self.shedder = Shedder(self.loop)
        self.checker = Checker(self.loop, self.counts)
        self.icmp = IcmpDesk(self.loop, self.lender, self.counts)
        self._by_dpid = {s.plan.dpid: s for s in self.switches.values()}
        self._by_port = by_port(plan, self.servers.values())
        LOG.info("%d switches, %d leases", len(self.switches), len(book.live()))

    def start(self) -> None:
        """Begin to serve, when everything is there."""
        super().start()
        leader = self.store.leader
        self.loop.note(LeaderSet(leader.name, leader.generation))
        self.threads.append(eventlet.spawn(self.lender.sweep_for_ever))
        self.threads.append(eventlet.spawn(self.loop.settle_for_ever))
        self.threads.append(eventlet.spawn(self.shedder.shed_for_ever))
        self.threads.append(eventlet.spawn(self.checker.check_for_ever))
        for voice in self.loop.voices.values():
            self.threads.append(eventlet.spawn(voice.follow_for_ever))

    @property
    def ready(self) -> bool:
        """Whether every switch is programmed, every PoP announced, and lending goes on."""
        announced = all(voice.announces for voice in self.loop.voices.values())
        programmed = all(switch.programmed for switch in self.switches.values())
        return programmed and announced and self.loop.fault is None

    # -- switches

    def arrive(self, datapath: Any) -> None:
        """A switch is there."""
        switch = self._by_dpid.get(datapath.id)
        if switch is None:
            self.counts["unknown_switches"] += 1
            LOG.warning("a switch with dpid %#x is not in the plan: ignored", datapath.id)
        elif switch.connected:
            self.counts["refused_switches"] += 1
            LOG.warning("a second switch says that it is %s: refused", switch.plan.name)
            datapath.close()
        else:
            switch.connect(datapath)
            self.loop.note(SwitchSet(switch.plan.name, connected=True))
            self._look_at_ports(switch, datapath.ports.values())

    def leave(self, datapath: Any) -> None:
        """A switch went away."""
        switch = self._by_dpid.get(datapath.id)
        if switch is not None and switch.session_on(datapath):
            LOG.warning("%s went away", switch.plan.name)
            switch.disconnect()
            self.loop.note(SwitchSet(switch.plan.name, connected=False))

    @set_ev_cls(  # type: ignore[untyped-decorator]
        [ofp_event.EventOFPBarrierReply, ofp_event.EventOFPRoleReply], MAIN_DISPATCHER
    )
    def on_done(self, event: Any) -> None:
        """A switch has done everything up to a barrier, or has given us a role."""
        session = self._session(event)
        if session is not None:
            session.on_done(event.msg.xid)

    @set_ev_cls(  # type: ignore[untyped-decorator]
        [ofp_event.EventOFPFlowStatsReply, ofp_event.EventOFPGroupDescStatsReply], MAIN_DISPATCHER
    )
    def on_multipart(self, event: Any) -> None:
        """A switch says what it holds."""
        session = self._session(event)
        if session is not None:
            session.on_multipart(event.msg)

    @set_ev_cls(ofp_event.EventOFPPortDescStatsReply, MAIN_DISPATCHER)  # type: ignore[untyped-decorator]
    def on_ports(self, event: Any) -> None:
        """A switch says which ports it has, when asked again."""
        message = event.msg
        message.datapath.ports.update((port.port_no, port) for port in message.body)
        if (switch := self._by_dpid.get(message.datapath.id)) is not None:
            self._look_at_ports(switch, message.body)

    @set_ev_cls(ofp_event.EventOFPPortStatus, MAIN_DISPATCHER)  # type: ignore[untyped-decorator]
    def on_port(self, event: Any) -> None:
        """A port got a carrier or lost it, or its far end has fallen silent or speaks again."""
        message = event.msg
        switch = self._by_dpid.get(message.datapath.id)
        if switch is not None and message.reason != ofproto_v1_3.OFPPR_DELETE:
            self._look_at_ports(switch, [message.desc])

    def _look_at_ports(self, switch: Switch, ports: Iterable[Any]) -> None:
        """Tell the loop which ports of the plan are not what the world takes them for."""
        name, down = switch.plan.name, self.loop.world.down
        seen = {
            port.port_no: port.state & (LINK_DOWN | LIVE) == LIVE
            for port in ports
            if port.port_no in switch.ports
        }
        changed = [
            PortStatus(name, number, up)
            for number, up in sorted(seen.items())
            if up is ((name, number) in down)
        ]
        for status in changed:
            LOG.warning("%s port %d is %s", name, status.port, "up" if status.up else "down")
        self.loop.observe(*changed)

    @set_ev_cls(ofp_event.EventOFPFlowRemoved, MAIN_DISPATCHER)  # type: ignore[untyped-decorator]
    def on_removed(self, event: Any) -> None:
        """A rule is gone, by our wish or by somebody else's."""
        switch = self._by_dpid.get(event.msg.datapath.id)
        key = openflow.removed_key(bytes(event.msg.buf))
        if switch is not None and key is not None and switch.session_on(event.msg.datapath):
            switch.miss(key)

    @set_ev_cls(ofp_event.EventOFPErrorMsg, MAIN_DISPATCHER)  # type: ignore[untyped-decorator]
    def on_error(self, event: Any) -> None:
        """A switch refused something."""
        session = self._session(event)
        if session is not None:
            LOG.error("%s", session.on_error(event.msg))

    def _session(self, event: Any) -> Any:
        datapath = event.msg.datapath
        switch = self._by_dpid.get(datapath.id)
        return None if switch is None else switch.session_on(datapath)

    # -- packets

    @set_ev_cls(ofp_event.EventOFPPacketIn, MAIN_DISPATCHER)  # type: ignore[untyped-decorator]
    def on_packet(self, event: Any) -> None:
        """A packet was handed up: DHCP, ICMP about a shared address, an answer to a check, or one
        whose hops have run out.
        """
        message = event.msg
        identity = (message.datapath.id, message.match["in_port"])
        if duty_of(message.cookie) is Duty.HEALTH:
            if (server := self._by_port.get(identity)) is not None:
                self.checker.hear(server, bytes(message.data))
            return
        self.counts["packet_ins"] += 1
        if message.reason == ofproto_v1_3.OFPR_INVALID_TTL:
            self.icmp.exceed(identity, bytes(message.data))
        elif duty_of(message.cookie) is Duty.ICMP:
            self.icmp.forward(identity, bytes(message.data))
        else:
            self.dhcp.hear(identity, bytes(message.data))
