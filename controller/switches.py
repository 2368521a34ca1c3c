"""A switch as the controller sees it: what it should hold, what was sent, what it has confirmed.

Changes come in two steps. `Switch.aim` says at once what the switch should hold; `Switch.send`
brings some of it there, when its turn has come. What is sent is worked out at that moment, from
what should be and what was sent before, so changes that overtake each other do no harm. A switch
that is not connected only learns what it should hold: the next connection starts with reading what
is there and sending the difference as one atomic bundle. So does whatever a switch refuses.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import eventlet
from eventlet.event import Event

from controller import openflow
from controller.core.reconcile import (
    AddGroup,
    AddRule,
    Change,
    DeleteGroup,
    DeleteRule,
    ModifyGroup,
    ModifyRule,
    changes,
)
from controller.core.rules import Group, Program, Rule, RuleKey
from controller.session import Session, SwitchError
from topologies.plan import Plan, SwitchPlan

__all__ = ["News", "Switch", "Topic"]

LOG = logging.getLogger("controller.switches")
RETRY_S = 0.2

Key = RuleKey | int
"""A rule's key, or a group's number."""

Topic = tuple[str, Key]
"""What may be lacking: an entry of a switch, by the switch's name."""

Entries = dict[Key, Rule | Group]


class News:
    """Lets green threads wait for what they lack; who is told of something else sleeps on.

    Many may wait at once, for different things: were all to look again at every news, the work
    would grow with the square of what is under way.
    """

    def __init__(self) -> None:
        self._waiting: defaultdict[Hashable, set[Event]] = defaultdict(set)

    def tell(self, *topics: Hashable) -> None:
        """Something has changed about these topics: let who waits for them look again."""
        for topic in topics:
            for waiting in self._waiting.pop(topic, ()):
                waiting.send()

    def tell_all(self) -> None:
        """Much may have changed: let all look again."""
        self.tell(*self._waiting)

    def wait(self, lacking: Callable[[], Hashable | None]) -> None:
        """Return when nothing is lacking; until then it names a topic, of which it will be told."""
        while (topic := lacking()) is not None:
            told = Event()
            self._waiting[topic].add(told)
            try:
                told.wait()
            except BaseException:  # a time is up
                others = self._waiting[topic]
                others.discard(told)
                if not others:
                    del self._waiting[topic]
                raise


@dataclass(frozen=True, slots=True)
class _Step:
    """A change of one entry: what stands under the key from then on."""

    key: Key
    entry: Rule | Group | None


def _step(change: Change) -> _Step:
    match change:
        case AddRule(rule) | ModifyRule(rule):
            return _Step(rule.key, rule)
        case DeleteRule(rule):
            return _Step(rule.key, None)
        case AddGroup(group) | ModifyGroup(group):
            return _Step(group.group_id, group)
        case DeleteGroup(group):
            return _Step(group.group_id, None)


class Switch:
    """One switch of the plan, led in a ``generation``.

    ``changes`` counts flow and group messages sent.
    """

    def __init__(
        self, plan: Plan, switch: SwitchPlan, program: Program, news: News, generation: int
    ) -> None:
        self.plan = switch
        self._generation = generation
        self.changes = 0
        self.ports = {
            end.port: end.interface
            for end in (link.near(switch.name) for link in plan.links_of(switch.name))
        }
        self._news = news
        self._desired = _entries(program)
        self._sent: Entries = {}
        self._confirmed: Entries = {}
        self._behind: set[Key] = set(self._desired)  # where not all three are the same
        self._session: Session | None = None
        self._read = False  # what it holds is known, so changes may be sent

    # -- questions

    @property
    def connected(self) -> bool:
        """Whether the switch talks to us."""
        return self._session is not None

    @property
    def programmed(self) -> bool:
        """Whether it holds exactly what it should, confirmed by a barrier."""
        return self._read and not self._behind

    @property
    def rules(self) -> int:
        """How many rules it should hold."""
        return len(self._desired) - self.groups

    @property
    def groups(self) -> int:
        """How many groups it should hold."""
        return sum(isinstance(entry, Group) for entry in self._desired.values())

    @property
    def behind(self) -> int:
        """How many entries it does not hold as it should, or has not confirmed yet."""
        return len(self._behind)

    @property
    def session(self) -> Session:
        """The live connection. Raises SwitchError when there is none."""
        if self._session is None:
            raise SwitchError(f"{self.plan.name} is not connected")
        return self._session

    def lacking(self, rules: Iterable[Rule]) -> Iterator[Topic]:
        """Those of these rules that the switch has not confirmed, or that were taken away since."""
        for rule in rules:
            if self._confirmed.get(rule.key) != rule:
                yield self.plan.name, rule.key

    def may_hold(self, keys: Iterable[Key]) -> Iterator[Topic]:
        """Those of these keys under which anything may stand, as far as it was ever heard of."""
        for key in keys:
            if key in self._sent or key in self._confirmed:
                yield self.plan.name, key

    def unsettled(self, steps: Iterable[Change]) -> Iterator[Topic]:
        """Where a connected switch is not as these changes would have it."""
        if self.connected:
            for key in (_step(change).key for change in steps):
                if not self._read or key in self._behind:
                    yield self.plan.name, key

    def differences(self) -> tuple[set[Rule], set[Rule | str]] | None:
        """The rules that it lacks and those that it has too many, read from it now.

        Anybody's rules count, what it is just being told does not. None if it is away.
        """
        if self._session is None or not self._read:
            return None
        try:
            held = set(openflow.read_flows_or_words(self._session.flows(anybodys=True).wait()))
        except SwitchError:
            return None
        told = {rule for rule in self._desired.values() if isinstance(rule, Rule)}
        missing = {rule for rule in told - held if rule.key not in self._behind}
        extra = {x for x in held - told if isinstance(x, str) or x.key not in self._behind}
        return missing, extra

    def session_on(self, datapath: Any) -> Session | None:
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
        """The connection is gone. What the switch confirmed is all that is known of it."""
        session, self._session = self._session, None
        self._read = False
        if session is not None:
            session.on_gone()
        self._news.tell_all()

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
        """Become its master, read what is there, send the difference. Raises SwitchError."""
        led, flows, groups = session.lead(self._generation), session.flows(), session.groups()
        led.wait()
        held_flows, held_groups = flows.wait(), groups.wait()
        if session is not self._session:
            return
        wipe = False
        try:
            rules = frozenset(openflow.read_flows(held_flows))
            installed = Program(rules, frozenset(openflow.read_groups(held_groups)))
        except openflow.UnknownEncodingError as error:
            LOG.warning("%s: %s; starting it over", self.plan.name, error)
            wipe, installed = True, Program(frozenset())
        self._sent, self._confirmed = _entries(installed), _entries(installed)
        self._behind = {
            key
            for key in self._desired.keys() | self._confirmed.keys()
            if self._desired.get(key) != self._confirmed.get(key)
        }
        difference = changes(_program(self._desired), installed)
        # No other work runs between here and the sending, so later changes come after it.
        self._read = True
        LOG.info("%s read: %d changes to make", self.plan.name, len(difference))
        if difference or wipe:
            self._stream(session, difference, wipe)
        self._news.tell_all()

    # -- changes

    def aim(self, steps: Iterable[Change]) -> None:
        """The switch should hold what these changes lead to."""
        for step in map(_step, steps):
            _put(self._desired, step)
            self._compare(step.key)

    def send(self, steps: Iterable[Change]) -> None:
        """Bring the entries that these changes are about to what they should be by now.

        To a switch that is not there, or is being read, nothing need be sent.
        """
        if self._session is None or not self._read:
            return
        keys = {_step(change).key for change in steps}
        desired = {key: self._desired[key] for key in keys if key in self._desired}
        sent = {key: self._sent[key] for key in keys if key in self._sent}
        difference = changes(_program(desired), _program(sent))
        if not difference:
            return
        try:
            self._stream(self._session, difference)
        except SwitchError:
            self.disconnect()

    def _stream(self, session: Session, difference: tuple[Change, ...], wipe: bool = False) -> None:
        self.changes += len(difference)
        steps = [_step(change) for change in difference]

        def done(error: SwitchError | None) -> None:
            if session is not self._session:
                return
            if error is not None:
                self._again(session, error)
                return
            for step in steps:
                _put(self._confirmed, step)
                self._compare(step.key)
            self._news.tell(*((self.plan.name, step.key) for step in steps))

        for step in steps:
            _put(self._sent, step)
        session.change(difference, done, wipe)

    def miss(self, key: Key) -> None:
        """The switch says that a rule is gone. If it was not we who sent for it, put it back."""
        if self._session is not None and self._read and key in self._sent:
            self._confirmed.pop(key, None)
            self._compare(key)
            self._again(
                self._session, SwitchError(f"{self.plan.name} lost a rule that we put there")
            )

    def _again(self, session: Session, error: SwitchError) -> None:
        """Something is not as it was sent: read the switch and put it right, all of it at once."""
        if self._read:
            LOG.error("%s", error)
            self._read = False
            eventlet.spawn_after(RETRY_S, self._serve, session)

    def _compare(self, key: Key) -> None:
        if self._desired.get(key) == self._confirmed.get(key) == self._sent.get(key):
            self._behind.discard(key)
        else:
            self._behind.add(key)


def _put(entries: Entries, step: _Step) -> None:
    if step.entry is None:
        entries.pop(step.key, None)
    else:
        entries[step.key] = step.entry


def _entries(program: Program) -> Entries:
    found: Entries = {rule.key: rule for rule in program.rules}
    return found | {group.group_id: group for group in program.groups}


def _program(entries: Entries) -> Program:
    values = entries.values()
    return Program(
        frozenset(entry for entry in values if isinstance(entry, Rule)),
        frozenset(entry for entry in values if isinstance(entry, Group)),
    )
