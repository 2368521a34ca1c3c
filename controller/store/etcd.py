"""Durable leases and the log of events in etcd, where another controller can take them up.

A commit is one transaction: the records, what they change, and the head, which says where the log
ends. It compares two things. The key ``writer`` names the controller that opened the store last,
so one that was replaced writes nothing any more. The head must be as this controller left it, so a
transaction that is sent again, because its answer was lost, is carried out once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from controller.core.events import Event
from controller.core.lease import Lease, LeaseState
from controller.store import layout
from controller.store.etcd_place import ALIVE, HOLD_S, WRITER, EtcdPlace
from controller.store.gateway import (
    Answer,
    Found,
    LostAnswerError,
    delete,
    has,
    put,
    read,
    unchanged,
)
from controller.store.hold import Hold
from controller.store.interface import Deposed, DeposedError, Leader, Lending, Record, StoreError
from controller.store.layout import HEAD, Draft, Head

__all__ = ["EtcdStore", "Reign"]


@dataclass(frozen=True, slots=True)
class Reign:
    """How a leader's time begins: ``writer`` is what the key of this name holds, the head is of
    ``revision``, and ``lease`` is that of etcd on which the key ``alive`` hangs.
    """

    leader: Leader
    writer: bytes
    head: Head
    revision: int
    lease: str


class EtcdStore:
    """A lease store in etcd; `EtcdElection.campaign` makes it.

    Every method raises StoreError when etcd is in trouble or gives no answer in time.
    """

    def __init__(self, place: EtcdPlace, reign: Reign, deposed: Deposed) -> None:
        self.leader = reign.leader
        self._place, self._key = place, place.key
        self._me, self._head, self._revision = reign.writer, reign.head, reign.revision
        self._doubts: dict[str, Draft] = {}
        """Commits that failed for want of an answer; one of them may be in etcd all the same."""
        with contextlib.ExitStack() as opened:
            self._gateway = opened.enter_context(place.gateway())
            alive = opened.enter_context(contextlib.closing(_Alive(place, reign)))
            opened.enter_context(Hold(alive.renew, HOLD_S, deposed))
            self._entries = {entry.key: entry for entry in self.load()}
            self._opened = opened.pop_all()

    # -- reading

    def load(self) -> tuple[Lease, ...]:
        """Every entry, by address and port."""
        with self._place.explained():
            return tuple(layout.parse_entry(x.value) for x in self._all(layout.ENTRIES))

    def lendings(self) -> int:
        """The number of the last lending, 0 before the first."""
        return self._head.lendings

    def who(self, address: IPv4Address, port: int, at_ns: int) -> Lending | None:
        """Who might use a port of an address at that time of the book's clock."""
        ranges = layout.lendings_of(address, port, at_ns)
        newest = [read(self._key(begin), self._key(end), limit=1) for begin, end in ranges]
        with self._place.explained():
            for found in self._gateway.transact([], newest).found:
                for lending in (layout.parse_lending(x.value) for x in found):
                    going_on = lending.ended_ns is None or lending.ended_ns > at_ns
                    if going_on and port <= lending.last_port:
                        return lending
        return None

    def records(self, after: int = 0) -> tuple[Record, ...]:
        """The log, from the record after this number on."""
        with self._place.explained():
            commits = (layout.parse_log(x.value) for x in self._all(layout.LOG, after + 1))
            return tuple(x for records in commits for x in records if x.number > after)

    def settings(self) -> tuple[Event, ...]:
        """The events of the log that changed the world and are about no lease, in order."""
        with self._place.explained():
            return tuple(layout.parse_event(x.value) for x in self._all(layout.SETTINGS))

    def last(self) -> Record | None:
        """The newest record."""
        return next(iter(self.records(self._head.last - 1)), None) if self._head.last else None

    def _all(self, kind: str, number: int | None = None) -> Iterator[Found]:
        """Every key of a kind, or those from that number on."""
        begin = kind if number is None else layout.numbered(kind, number)
        return self._gateway.all(self._key(begin), self._key(kind)[:-1] + "0")

    # -- writing

    def commit(self, records: Iterable[Record]) -> None:
        """Keep these records, and the entries of those that are about leases, all or none.

        Returns only when that is durable. Raises DeposedError when another leads.
        """
        try:
            draft = Draft(self._head, self._entries, tuple(records))
        except ValueError as error:
            raise self._place.error(str(error), "start the controller anew") from error
        self._revision = self._carry_out(draft)
        self._head = draft.head
        self._doubts.clear()
        for place, lease in draft.entries.items():
            if lease.state is LeaseState.FREE:
                self._entries.pop(place, None)
            else:
                self._entries[place] = lease

    def _carry_out(self, draft: Draft) -> int:
        """Have a draft made, once, and nothing that failed before: the revision of etcd then."""
        while True:
            try:
                answer = self._transact(draft.after, self._revision)
            except LostAnswerError:
                self._doubts[draft.head.commit] = draft
                raise
            if answer.succeeded:
                return answer.revision
            found = self._still_mine(answer)
            commit = self._place.head_in(found).commit
            if commit == draft.head.commit:  # the answer to the first sending was lost
                return found.revision
            if commit == self._head.commit:  # the answer to undoing was lost
                self._revision = found.revision
            elif commit in self._doubts:
                self._undo(self._doubts[commit], found.revision)
            else:
                raise self._place.error("somebody else wrote to it", "start the controller anew")

    def _undo(self, doubt: Draft, revision: int) -> None:
        """Undo a commit that was told as failed, and was made all the same."""
        answer = self._transact(doubt.before, revision)
        if answer.succeeded:
            self._revision = answer.revision

    def _transact(self, changes: Mapping[str, bytes | None], revision: int) -> Answer:
        """Change keys, if this controller is the writer and the head is of that revision."""
        return self._gateway.transact(
            [has(self._key(WRITER), self._me), unchanged(self._key(HEAD), revision)],
            [
                delete(self._key(key)) if value is None else put(self._key(key), value)
                for key, value in changes.items()
            ],
            [read(self._key(WRITER)), read(self._key(HEAD))],
        )

    def _still_mine(self, answer: Answer) -> Found:
        """The head as it is, from an answer that refuses.

        Raises StoreError; DeposedError for another writer.
        """
        writer, head = (next(iter(found), None) for found in answer.found)
        if writer is None or head is None:
            raise self._place.error("its keys were removed", "start the controller anew")
        if writer.value != self._me:
            leader = self._place.leader_in(writer)
            raise DeposedError(str(self._place.error(f"{leader.name} leads by now", "wait for it")))
        return head

    def close(self) -> None:
        """Let go of the store, so that another can lead at once."""
        self._opened.close()


class _Alive:
    """The key ``alive``, a leader's sign of life: it hangs on a lease of etcd, and goes with it."""

    def __init__(self, place: EtcdPlace, reign: Reign) -> None:
        self._gateway, self._lease = place.gateway(), reign.lease
        self._alive, self._writer = place.key(ALIVE), place.key(WRITER)
        self._me = reign.writer

    def renew(self) -> bool:
        """Renew etcd's lease, or replace one that lapsed; False if another leads by now."""
        if "TTL" in self._gateway.ask("lease/keepalive", {"ID": self._lease})["result"]:
            return True
        self._lease = str(self._gateway.ask("lease/grant", {"TTL": HOLD_S})["ID"])
        answer = self._gateway.transact(
            [has(self._writer, self._me), unchanged(self._alive, 0)],
            [put(self._alive, self._me, self._lease)],
            [read(self._writer)],
        )
        # Where it was refused and we are the writer, the answer to the first sending was lost.
        return answer.succeeded or any(x.value == self._me for x in answer.found[0])

    def close(self) -> None:
        """Show life no more."""
        with contextlib.suppress(StoreError):  # what is not given back lapses
            self._gateway.ask("lease/revoke", {"ID": self._lease})
        self._gateway.close()
