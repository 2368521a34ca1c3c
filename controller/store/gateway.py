"""As much of etcd's v3 API as the lease store needs, through its JSON gateway.

A controller's sockets are eventlet's, and let other work run while they wait; a commit must not.
So these are sockets as the system made them, waited for at most ``PATIENCE_S``. (That is also why
this is not etcd3gw: its connections, those of ``requests``, are eventlet's in a controller.)

A request whose answer is lost is sent again, so each must be fit to be carried out twice: reads
are, transactions that compare what they change, and leases, for one that nobody uses lapses.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Any

from controller.store import native
from controller.store.interface import StoreError

__all__ = [
    "Answer",
    "Found",
    "Gateway",
    "LostAnswerError",
    "delete",
    "has",
    "put",
    "read",
    "unchanged",
]

PATIENCE_S = 4.0
"""How long a request is tried; a switch gives a silent controller up after 10 s at the earliest."""

PAUSE_S = 0.05
"""Between two tries."""

PAGE = 500
"""Keys in one answer."""

GROUP = 64
"""Operations in a group: as many groups as this stay within etcd's default limit, 128 for a
transaction and the groups in it."""

REACH = "start etcd there, or correct --db"
ANSWER = "see whether etcd runs, reaches most of its members and has a disk that keeps up"

_REFUSED = frozenset({3, 5, 7, 8, 9, 11, 12, 16})
"""gRPC's codes for what was surely not done: bad, not found, forbidden, too much, and so on."""

SPACE = "compact and defragment etcd and disarm its alarm, or raise its --quota-backend-bytes"
SIZE = "raise etcd's --max-request-bytes"

_FULL = "space exceeded"
_MENDS = {
    "space exceeded": SPACE,
    "too many operations": "raise etcd's --max-txn-ops",
    "too large": SIZE,
    "larger than max": SIZE,
}

Operation = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Found:
    """A key, its value, and the revision of etcd in which it was written."""

    key: str
    value: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class Answer:
    """Of a transaction: whether what was compared was so; etcd's revision; what was read."""

    succeeded: bool
    revision: int
    found: tuple[tuple[Found, ...], ...]


def put(key: str, value: bytes, lease: str = "0") -> Operation:
    """Write a key; with a lease of etcd, until that ends."""
    return {"request_put": {"key": _text(key), "value": _coded(value), "lease": lease}}


def delete(key: str) -> Operation:
    """Remove a key, if it is there."""
    return {"request_delete_range": {"key": _text(key)}}


def read(key: str, end: str = "", limit: int = 0) -> Operation:
    """Read a key; with ``end``, all from it to before that, or the first so many of them."""
    return {"request_range": {"key": _text(key), "range_end": _text(end), "limit": limit}}


def has(key: str, value: bytes) -> Operation:
    """Compare: the key has this value."""
    return {"key": _text(key), "target": "VALUE", "value": _coded(value)}


def unchanged(key: str, revision: int) -> Operation:
    """Compare: the key was last written in that revision; 0: it is not there."""
    return {"key": _text(key), "target": "MOD", "mod_revision": str(revision)}


class Gateway:
    """One etcd by one kept connection, for one thread. Every method raises StoreError.

    ``where`` names the store in errors.
    """

    def __init__(self, host: str, port: int, where: str) -> None:
        self._connection = _Connection(host, port)
        self._where = where

    def transact(
        self,
        compare: Sequence[Operation],
        success: Sequence[Operation],
        failure: Sequence[Operation] = (),
    ) -> Answer:
        """Do ``success`` if all that is compared is so, else ``failure``: all of it or nothing."""
        words = {"compare": compare, "success": _grouped(success), "failure": failure}
        got = self.ask("kv/txn", words)
        ranges = [x["response_range"] for x in got.get("responses", ()) if "response_range" in x]
        found = tuple(tuple(map(_found, x.get("kvs", ()))) for x in ranges)
        return Answer(got.get("succeeded", False), int(got["header"]["revision"]), found)

    def one(self, key: str) -> Found | None:
        """What a key holds, None if it is not there."""
        return next(self.all(key, ""), None)

    def all(self, key: str, end: str) -> Iterator[Found]:
        """Every key from one to before another, in order, as they are at one moment."""
        revision = "0"
        while True:
            words = read(key, end, PAGE)["request_range"]
            got = self.ask("kv/range", words | {"revision": revision})
            page = [_found(x) for x in got.get("kvs", ())]
            yield from page
            if not got.get("more"):
                return
            key, revision = page[-1].key + "\0", got["header"]["revision"]

    def ask(self, what: str, words: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request, which is sent again when its answer is lost."""
        deadline, sent = native.clock.monotonic() + PATIENCE_S, False
        while True:
            try:
                self._connection.reach(deadline)
            except OSError as error:
                cause: Exception = error
                if not sent:
                    raise self._error(f"cannot be reached ({error})", REACH) from error
            else:
                try:
                    return self._once(what, words)
                except (OSError, HTTPException, _UnsureError) as error:
                    cause, sent = error, True
                except StoreError as error:
                    if sent:  # what is refused now may have been carried out before
                        raise LostAnswerError(str(error)) from error
                    raise
            if native.clock.monotonic() > deadline:
                why = str(cause) or repr(cause)
                raise LostAnswerError(self._words(f"no answer in time ({why})", ANSWER)) from cause
            native.clock.sleep(PAUSE_S)

    def _once(self, what: str, words: dict[str, Any]) -> dict[str, Any]:
        """One try. Raises OSError, HTTPException or _UnsureError when nobody knows."""
        try:
            self._connection.request("POST", f"/v3/{what}", json.dumps(words))
            got = self._connection.getresponse().read()
        except BaseException:
            self._connection.close()  # what may still come would be taken for the next answer
            raise
        try:
            answer: dict[str, Any] = json.loads(got)
            refused = answer.get("error", answer)
        except (ValueError, AttributeError):
            answer = refused = {}
        if isinstance(refused, str):
            refused = answer
        if "message" in refused or "error" in refused:  # one or both, by etcd's version
            raise self._refusal(refused)
        if not answer.keys() & {"header", "result"}:
            cause = "what answers is no etcd of version 3.4 or later"
            raise LostAnswerError(self._words(cause, REACH))
        return answer

    def _refusal(self, said: dict[str, Any]) -> Exception:
        """What etcd's error means."""
        text = str(said.get("message") or said.get("error"))
        code = said.get("code", said.get("grpc_code"))
        if code not in _REFUSED:
            return _UnsureError(text)
        mends = (mend for words, mend in _MENDS.items() if words in text)
        told = self._words(f"etcd refuses: {text}", next(mends, "see to etcd"))
        # etcd says so of the write that filled it, too, which it has carried out.
        return LostAnswerError(told) if _FULL in text else StoreError(told)

    def _error(self, cause: str, mend: str) -> StoreError:
        return StoreError(self._words(cause, mend))

    def _words(self, cause: str, mend: str) -> str:
        return f"lease store {self._where}: {cause}; {mend}"

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def __enter__(self) -> Gateway:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Connection(HTTPConnection):
    """Over a socket that is not eventlet's."""

    def reach(self, deadline: float) -> None:
        """Be connected, and wait for nothing much longer than until then. Raises OSError."""
        wait_s = max(PAUSE_S, deadline - native.clock.monotonic())
        if self.sock is not None and self._is_over():
            self.close()
        if self.sock is None:
            self.sock = native.sockets.create_connection((self.host, self.port), wait_s)
            self.sock.setsockopt(native.sockets.IPPROTO_TCP, native.sockets.TCP_NODELAY, 1)
        self.sock.settimeout(wait_s)

    def _is_over(self) -> bool:
        """Whether the far end has hung up; what is sent then gets no answer."""
        self.sock.settimeout(0)
        try:
            self.sock.recv(1, native.sockets.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True


class LostAnswerError(StoreError):
    """A request was sent, and nobody knows whether it was carried out."""


class _UnsureError(Exception):
    """etcd gave an answer that does not say whether the request was carried out."""


def _grouped(operations: Sequence[Operation]) -> Sequence[Operation]:
    """The same in fewer operations: transactions inside of the one, which compare nothing."""
    if len(operations) <= GROUP:
        return operations
    groups = [operations[n : n + GROUP] for n in range(0, len(operations), GROUP)]
    return [{"request_txn": {"success": group}} for group in groups]


def _found(pair: dict[str, Any]) -> Found:
    value = b64decode(pair.get("value", ""))
    return Found(b64decode(pair["key"]).decode(), value, int(pair["mod_revision"]))


def _text(text: str) -> str:
    return _coded(text.encode())


def _coded(data: bytes) -> str:
    return b64encode(data).decode()
