"""A switch at the far end of an OpenFlow connection, as far as bytes go: tables, no packets."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from ryu.ofproto import ofproto_v1_3 as ofp

from controller import openflow
from controller.core.rules import Program
from controller.switches import Switch

FLOW_MOD, GROUP_MOD, EXPERIMENTER, MULTIPART, BARRIER, ROLE = 14, 15, 4, 18, 20, 24


@dataclass
class Tables:
    """What a switch holds, in bytes; survives its connections."""

    flows: dict[tuple[int, int, bytes], tuple[int, bytes]] = field(default_factory=dict)
    groups: dict[int, bytes] = field(default_factory=dict)
    generation: int = 0
    master: Wire | None = None

    def program(self) -> Program:
        rules = frozenset(openflow.read_flows(self.flow_entries()))
        return Program(rules, frozenset(openflow.read_groups(b"".join(self.groups.values()))))

    def flow_entries(self) -> bytes:
        entries = []
        for (table, priority, match), (cookie, instructions) in self.flows.items():
            body = match + instructions
            head = (48 + len(body), table, 0, 0, priority, 0, 0, 0, cookie, 0, 0)
            entries.append(struct.pack("!HBxIIHHHH4xQQQ", *head) + body)
        return b"".join(entries)

    def apply(self, message: bytes) -> None:
        if message[1] == GROUP_MOD:
            command, kind, number = struct.unpack_from("!HBxI", message, 8)
            if command == ofp.OFPGC_DELETE:
                self.groups.pop(number, None)
                if number == ofp.OFPG_ALL:
                    self.groups.clear()
            else:
                assert (number in self.groups) == (command == ofp.OFPGC_MODIFY)
                body = message[16:]
                self.groups[number] = struct.pack("!HBxI", 8 + len(body), kind, number) + body
            return
        cookie, mask, table, command, _, _, priority = struct.unpack_from("!QQBBHHH", message, 8)
        length = struct.unpack_from("!H", message, 50)[0]
        at = 48 + length + (-length % 8)
        key = (table, priority, message[48:at])
        if command == ofp.OFPFC_ADD:
            self.flows[key] = (cookie, message[at:])
        elif command == ofp.OFPFC_DELETE_STRICT:
            if key in self.flows and self.flows[key][0] & mask == cookie & mask:
                del self.flows[key]
        else:
            kept = {k: v for k, v in self.flows.items() if v[0] & mask != cookie & mask}
            self.flows = kept


class Wire:
    """Stands in for Ryu's Datapath: takes bytes, answers when asked to.

    ``hold`` keeps the answers back until `release`; ``refuse`` makes the next bundle fail.
    """

    def __init__(self, switch: Switch, tables: Tables, ports: dict[int, str] | None = None) -> None:
        self.switch = switch
        self.tables = tables
        self.xid = 100
        self.bundles = 0
        self.reads = 0
        self.refuse = False
        self.hold = False
        self.alive = True
        names = switch.ports if ports is None else ports
        self.ports = {n: SimpleNamespace(name=name.encode()) for n, name in names.items()}
        self.ofproto_parser = SimpleNamespace(OFPPortDescStatsRequest=lambda *_: None)
        self._bundle: list[bytes] = []
        self._held: list[Any] = []

    def connect(self) -> None:
        self.switch.connect(self)

    def send_msg(self, _message: Any) -> None:
        """Ryu asks for the ports again: nothing changes here."""

    def send(self, data: bytes) -> bool:
        if not self.alive:
            return False
        while data:
            _, kind, length, xid = struct.unpack_from("!BBHI", data)
            self._take(kind, xid, data[:length])
            data = data[length:]
        if not self.hold:
            self.release()
        return True

    def release(self) -> None:
        held, self._held = self._held, []
        for answer, message in held:
            answer(message)

    def _take(self, kind: int, xid: int, message: bytes) -> None:
        session = self.switch.session
        if kind == BARRIER:
            self._held.append((session.on_done, xid))
        elif kind == ROLE:
            self._give_role(xid, message)
        elif kind == MULTIPART:
            flows = message[8:10] == b"\0\1"
            self.reads += flows
            body = self.tables.flow_entries() if flows else b"".join(self.tables.groups.values())
            # In two parts, as a switch with many rules answers.
            for part, flags in ((body[: len(body) // 2], 1), (body[len(body) // 2 :], 0)):
                reply = SimpleNamespace(xid=xid, buf=bytes(16) + part, flags=flags)
                self._held.append((session.on_multipart, reply))
        elif kind == EXPERIMENTER:
            self._bundled(xid, message)

    def _give_role(self, xid: int, message: bytes) -> None:
        """Make a master of who asks, unless a later generation has asked before."""
        role, generation = struct.unpack_from("!I4xQ", message, 8)
        assert role == ofp.OFPCR_ROLE_MASTER
        if generation < self.tables.generation:
            self._refuse(xid, ofp.OFPET_ROLE_REQUEST_FAILED, ofp.OFPRRFC_STALE)
            return
        self.tables.generation, self.tables.master = generation, self
        self._held.append((self.switch.session.on_done, xid))

    def _refuse(self, xid: int, kind: int, code: int) -> None:
        error = SimpleNamespace(xid=xid, type=kind, code=code)
        self._held.append((self.switch.session.on_error, error))

    def _bundled(self, xid: int, message: bytes) -> None:
        subtype = struct.unpack_from("!I", message, 12)[0]
        if subtype == ofp.ONF_ET_BUNDLE_ADD_MESSAGE:
            self._bundle.append(message[24:])
            return
        step = struct.unpack_from("!H", message, 20)[0]
        if step != ofp.ONF_BCT_COMMIT_REQUEST:
            return
        inner, self._bundle = self._bundle, []
        if self.tables.master is not self:
            self._refuse(xid, ofp.OFPET_BAD_REQUEST, ofp.OFPBRC_IS_SLAVE)
            return
        if self.refuse:
            self.refuse = False
            bad = struct.unpack_from("!I", inner[-1], 4)[0]
            self._refuse(bad, ofp.OFPET_FLOW_MOD_FAILED, 0)
            return
        self.bundles += 1
        for part in inner:
            self.tables.apply(part)
