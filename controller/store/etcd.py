"""Durable leases and the log of events in etcd, where another controller can take them up.

A commit is one transaction: the records, what they change, and the head, which says where the log
ends. It compares two things. The key ``writer`` names the controller that opened the store last,
so one that was replaced writes nothing any more. The head must be as this controller left it, so a
transaction that is sent again, because its answer was lost, is carried out once.

The key ``alive`` hangs on a lease of etcd, which a thread renews: while it is there, nobody else
can open the store. When its controller dies, it goes ``HOLD_S`` later.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import zlib
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address
from urllib.parse import urlsplit

from eventlet.patcher import original

from controller.core.events import Event
from controller.core.lease import Lease, LeaseState
from controller.store import layout
from controller.store.gateway import (
    PAUSE_S,
    Answer,
    Found,
    Gateway,
    LostAnswerError,
    delete,
    has,
    put,
    read,
    unchanged,
)
from controller.store.interface import Lending, Record, StoreError
from controller.store.layout import HEAD, SCHEME, Draft, Head

__all__ = ["EtcdStore"]

HOLD_S = 5
"""How long a store is held for a controller that shows no life; etcd counts whole seconds."""

LAPSE_S = 3.0
"""At most so much later etcd has removed what lapsed."""

WRITER, ALIVE = "writer", "alive"

_clock, _threads = original("time"), original("threading")


class EtcdStore:
    """A lease store below one prefix of an etcd, 3.4 or later, without TLS and passwords.

    Opening waits until the hold of a controller that died has lapsed. Raises StoreError if etcd
    cannot be reached, another controller is alive, or the prefix holds anything but a store of
    this version. Every other method raises it too, when etcd is in trouble or gives no answer in
    time; ``commit`` also when another controller has taken the store over.
    """

    def __init__(self, host: str, port: int, prefix: str) -> None:
        self._where, self._below = f"{SCHEME}{host}:{port}/{prefix}", f"{prefix}/"
        self._doubts: dict[str, Draft] = {}
        """Commits that failed for want of an answer; one of them may be in etcd all the same."""
        name = f"{socket.gethostname()}, process {os.getpid()}"
        self._me = f"{name}; {secrets.token_hex(8)}".encode()
        with contextlib.ExitStack() as opened:
            self._gateway = opened.enter_context(Gateway(host, port, self._where))
            self._head, self._revision, lease = self._take()
            alive = (self._key(ALIVE), self._key(WRITER), self._me)
            opened.enter_context(_Hold(Gateway(host, port, self._where), lease, *alive))
            self._entries = {entry.key: entry for entry in self.load()}
            self._opened = opened.pop_all()

    @classmethod
    def at(cls, where: str) -> EtcdStore:
        """The store at ``etcd://HOST:PORT/PREFIX``. Raises StoreError."""
        try:
            parts = urlsplit(where)
            host, port, prefix = parts.hostname, parts.port, parts.path.strip("/")
        except ValueError:
            host = port = prefix = None
        if not (host and port and prefix):
            raise StoreError(f"lease store {where}: write {SCHEME}HOST:PORT/PREFIX")
        return cls(host, port, prefix)

    # -- taking it up

    def _take(self) -> tuple[Head, int, str]:
        """Become the writer: the head, its revision, and etcd's lease that shows the life in it."""
        self._wait_for_hold()
        head, revision = self._check()
        lease = str(self._gateway.ask("lease/grant", {"TTL": HOLD_S})["ID"])
        answer = self._gateway.transact(
            [unchanged(self._key(ALIVE), 0), unchanged(self._key(HEAD), revision)],
            [
                put(self._key(ALIVE), self._me, lease),
                put(self._key(WRITER), self._me),
                put(self._key(HEAD), head.dump()),
            ],
            [read(self._key(ALIVE))],
        )
        if answer.succeeded:
            return head, answer.revision, lease
        holder = next(iter(answer.found[0]), None)
        if holder is None or holder.value != self._me:
            raise self._held(holder)
        return head, holder.revision, lease  # the answer to the first sending was lost

    def _wait_for_hold(self) -> None:
        """Return when nobody holds the store. Raises StoreError if somebody goes on to."""
        deadline = _clock.monotonic() + HOLD_S + LAPSE_S
        while (holder := self._gateway.one(self._key(ALIVE))) is not None:
            if _clock.monotonic() > deadline:
                raise self._held(holder)
            _clock.sleep(PAUSE_S)

    def _check(self) -> tuple[Head, int]:
        """The head and its revision, 0 for a new store. Raises StoreError if it is none of ours."""
        found = self._gateway.one(self._key(HEAD))
        if found is None:
            if next(self._all(""), None) is not None:
                raise self._error("there are other keys below it", "give --db another prefix")
            return Head(), 0
        head = self._head_in(found)
        if head.version != layout.VERSION:
            cause = f"made by version {head.version}, this is {layout.VERSION}"
            raise self._error(cause, "give --db another prefix")
        return head, found.revision

    # -- reading

    def load(self) -> tuple[Lease, ...]:
        """Every entry, by address and port."""
        with self._explained():
            return tuple(layout.parse_entry(x.value) for x in self._all(layout.ENTRIES))

    def lendings(self) -> int:
        """The number of the last lending, 0 before the first."""
        return self._head.lendings

    def who(self, address: IPv4Address, port: int, at_ns: int) -> Lending | None:
        """Who might use a port of an address at that time of the book's clock."""
        ranges = layout.lendings_of(address, port, at_ns)
        newest = [read(self._key(begin), self._key(end), limit=1) for begin, end in ranges]
        with self._explained():
            for found in self._gateway.transact([], newest).found:
                for lending in (layout.parse_lending(x.value) for x in found):
                    going_on = lending.ended_ns is None or lending.ended_ns > at_ns
                    if going_on and port <= lending.last_port:
                        return lending
        return None

    def records(self, after: int = 0) -> tuple[Record, ...]:
        """The log, from the record after this number on."""
        with self._explained():
            commits = (layout.parse_log(x.value) for x in self._all(layout.LOG, after + 1))
            return tuple(x for records in commits for x in records if x.number > after)

    def settings(self) -> tuple[Event, ...]:
        """The events of the log that changed the world and are about no lease, in order."""
        with self._explained():
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

        Returns only when that is durable.
        """
        try:
            draft = Draft(self._head, self._entries, tuple(records))
        except ValueError as error:
            raise self._error(str(error), "start the controller anew") from error
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
            commit = self._head_in(found).commit
            if commit == draft.head.commit:  # the answer to the first sending was lost
                return found.revision
            if commit == self._head.commit:  # the answer to undoing was lost
                self._revision = found.revision
            elif commit in self._doubts:
                self._undo(self._doubts[commit], found.revision)
            else:
                raise self._error("somebody else wrote to it", "start the controller anew")

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
        """The head as it is, from an answer that refuses. Raises StoreError for another writer."""
        writer, head = (next(iter(found), None) for found in answer.found)
        if writer is None or head is None:
            raise self._error("its keys were removed", "start the controller anew")
        if writer.value != self._me:
            raise self._held(writer)
        return head

    def close(self) -> None:
        """Let go of the store, so that another controller can open it at once."""
        self._opened.close()

    # -- words

    def _key(self, key: str) -> str:
        return self._below + key

    def _head_in(self, found: Found) -> Head:
        with self._explained():
            return Head.parse(found.value)

    def _held(self, holder: Found | None) -> StoreError:
        who = holder.value.decode().partition(";")[0] if holder else "it came at the same time"
        return self._error(f"another controller holds it ({who})", "let only one of the two run")

    def _error(self, cause: str, mend: str) -> StoreError:
        return StoreError(f"lease store {self._where}: {cause}; {mend}")

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Makes a StoreError of values that are none of ours."""
        try:
            yield
        except (ValueError, TypeError, KeyError, zlib.error) as error:
            raise self._error(f"damaged: {error}", "give --db another prefix") from error


class _Hold:
    """The sign that a writer lives: the key ``alive``, for as long as this is open.

    The thread is one of the system's, so that it renews while the controller is deep in work.
    """

    def __init__(self, gateway: Gateway, lease: str, alive: str, writer: str, me: bytes) -> None:
        self._gateway, self._lease = gateway, lease
        self._alive, self._writer, self._me = alive, writer, me
        self._ended = _threads.Event()
        self._thread = _threads.Thread(target=self._renew_for_ever, daemon=True)

    def __enter__(self) -> _Hold:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(StoreError):  # what is not given back lapses
            self._gateway.ask("lease/revoke", {"ID": self._lease})
        self._gateway.close()

    def _renew_for_ever(self) -> None:
        while not self._ended.wait(HOLD_S / 3):
            with contextlib.suppress(StoreError):
                self._renew()

    def _renew(self) -> None:
        """Renew etcd's lease; one that lapsed is replaced, unless another writer came."""
        if "TTL" in self._gateway.ask("lease/keepalive", {"ID": self._lease})["result"]:
            return
        self._lease = str(self._gateway.ask("lease/grant", {"TTL": HOLD_S})["ID"])
        self._gateway.transact(
            [has(self._writer, self._me), unchanged(self._alive, 0)],
            [put(self._alive, self._me, self._lease)],
        )
