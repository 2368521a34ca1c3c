"""A switch as the controller sees it: what it should hold, what it holds, and how to get there.

`Switch.want` is the only way in which rules change. While the switch is connected and read,
changes stream to it in order; otherwise they only alter what it should hold, and the next
connection starts with reading what is there and sending the difference as one atomic bundle.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import eventlet
from eventlet.event import Event

from controller import openflow
from controller.core.reconcile import Change, changes
from controller.core.rules import Group, Program, Rule
from controller.session import Pending, Session, SwitchError
from topologies.plan import Plan, SwitchPlan

__all__ = ["Delta", "Switch"]

LOG = logging.getLogger("controller.switches")
RETRY_S = 0.2
PROGRAM_S = 5.0
"""How long a change may wait for a switch that is not programmed yet."""


@dataclass(frozen=True, slots=True)
class Delta:
    """Rules to take away and rules to put in, in one step."""

    remove: frozenset[Rule] = frozenset()
    add: frozenset[Rule] = frozenset()


class Switch:
    """One switch of the plan. ``changes`` counts flow and group messages sent."""

    def __init__(self, plan: Plan, switch: SwitchPlan, program: Program) -> None:
        self.plan = switch
        self.changes = 0
        self.ports = {
            end.port: end.interface
            for end in (link.near(switch.name) for link in plan.links_of(switch.name))
        }
        self._rules = {rule.key: rule for rule in program.rules}
        self._groups = {group.group_id: group for group in program.groups}
        self._session: Session | None = None
        self._read = False  # what it holds is known, so changes may stream
        self._programmed = Event()

    # -- questions

    @property
    def connected(self) -> bool:
        """Whether the switch talks to us."""
        return self._session is not None

    @property
    def programmed(self) -> bool:
        """Whether it holds exactly what it should, confirmed by a barrier."""
        return bool(self._programmed.ready())

    @property
    def rules(self) -> int:
        """How many rules it should hold."""
        return len(self._rules)

    @property
    def groups(self) -> int:
        """How many groups it should hold."""
        return len(self._groups)

    @property
    def session(self) -> Session:
        """The live connection. Raises SwitchError when there is none."""
        if self._session is None:
            raise SwitchError(f"{self.plan.name} is not connected")
        return self._session

    def holds(self, datapath: Any) -> Session | None:
        """The session on this connection, None if it is not the present one."""
        session = self._session
        return session if session is not None and session.datapath is datapath else None

    # -- the connection

    def connect(self, datapath: Any) -> None:
        """Take over a fresh connection and bring the switch to what it should hold."""
        self.disconnect()
        self._session = Session(self.plan.name, datapath)
        eventlet.spawn(self._serve, self._session)

    def disconnect(self) -> None:
        """The connection is gone; what the switch holds is unknown from now on."""
        session, self._session = self._session, None
        self._read = False
        if self._programmed.ready():
            self._programmed = Event()
        if session is not None:
            session.on_gone()

    def _serve(self, session: Session) -> None:
        """Program the switch; try again while the connection lasts."""
        said = ""
        while session is self._session:
            try:
                self._check_ports(session.datapath)
                self._program(session)
                return
            except SwitchError as error:
                if str(error) != said:
                    said = str(error)
                    LOG.error("%s", said)
                self._read = False
                eventlet.sleep(RETRY_S)

    def _check_ports(self, datapath: Any) -> None:
        """The plan's ports must be there under their numbers. Raises SwitchError."""
        found = {number: port.name.decode() for number, port in datapath.ports.items()}
        wrong = [
            f"port {number} is {found.get(number, 'missing')}, not {name}"
            for number, name in self.ports.items()
            if number is not None and found.get(number) != name
        ]
        if wrong:
            request = datapath.ofproto_parser.OFPPortDescStatsRequest(datapath, 0)
            datapath.send_msg(request)
            raise SwitchError(
                f"{self.plan.name} is not as planned: {'; '.join(wrong[:3])}; waiting for its ports"
            )

    def _program(self, session: Session) -> None:
        """Read what is there, send the difference. Raises SwitchError."""
        flows, groups = session.flows(), session.groups()
        held_flows, held_groups = flows.wait(), groups.wait()
        wipe = False
        desired = Program(frozenset(self._rules.values()), frozenset(self._groups.values()))
        try:
            rules = frozenset(openflow.read_flows(held_flows))
            installed = Program(rules, frozenset(openflow.read_groups(held_groups)))
            difference = changes(desired, installed)
        except openflow.UnknownEncodingError as error:
            LOG.warning("%s: %s; starting it over", self.plan.name, error)
            wipe, difference = True, changes(desired, Program(frozenset()))
        # No other work runs between here and the sending, so later changes come after it.
        pending = self._stream(session, difference, wipe) if difference else None
        self._read = True
        if pending is not None:
            pending.wait()
        if session is self._session:
            self._programmed.send()
            LOG.info("%s programmed: %d changes", self.plan.name, len(difference))

    def _stream(self, session: Session, steps: Iterable[Change], wipe: bool = False) -> Pending:
        steps = tuple(steps)
        self.changes += len(steps)
        return session.change(steps, wipe)

    # -- changes

    def want(self, delta: Delta) -> Pending | None:
        """Change what the switch should hold, and send it if it is being kept up to date.

        `settle` on the result returns when the switch has done so.
        """
        if not delta.remove and not delta.add:
            return None
        before = Program(delta.remove)
        steps = changes(Program(delta.add), before)
        for rule in delta.remove:
            self._rules.pop(rule.key, None)
        self._rules.update((rule.key, rule) for rule in delta.add)
        if self._session is None or not self._read:
            return None
        try:
            return self._stream(self._session, steps)
        except SwitchError:
            self.disconnect()
            return None

    def settle(self, pending: Pending | None) -> None:
        """Wait until the switch holds what `want` asked for. Raises SwitchError.

        A switch that refuses is read anew and brought to what it should hold.
        """
        with eventlet.Timeout(PROGRAM_S, SwitchError(f"{self.plan.name} is not programmed")):
            self._programmed.wait()
        if pending is None:
            return
        try:
            pending.wait()
        except SwitchError:
            self._again()
            raise

    def _again(self) -> None:
        session = self._session
        if session is not None:
            self._read = False
            if self._programmed.ready():
                self._programmed = Event()
            eventlet.spawn(self._serve, session)

    def desired(self) -> tuple[dict[Any, Rule], dict[int, Group]]:
        """What the switch should hold, by key (for audits)."""
        return dict(self._rules), dict(self._groups)
