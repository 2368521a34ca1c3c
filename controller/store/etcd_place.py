"""Where a lease store lies in an etcd: its keys, and what is said of its errors."""

from __future__ import annotations

import contextlib
import json
import zlib
from collections.abc import Iterator
from urllib.parse import urlsplit

from controller.store.gateway import Found, Gateway
from controller.store.interface import Leader, StoreError
from controller.store.layout import SCHEME, Head

__all__ = ["ALIVE", "HOLD_S", "WRITER", "EtcdPlace"]

HOLD_S = 5
"""How long a store is held for a controller that shows no life; etcd counts whole seconds."""

WRITER, ALIVE = "writer", "alive"


class EtcdPlace:
    """A prefix of an etcd, 3.4 or later, without TLS and passwords."""

    def __init__(self, host: str, port: int, prefix: str) -> None:
        self._host, self._port = host, port
        self._where, self._below = f"{SCHEME}{host}:{port}/{prefix}", f"{prefix}/"

    @classmethod
    def at(cls, where: str) -> EtcdPlace:
        """``etcd://HOST:PORT/PREFIX``. Raises StoreError."""
        try:
            parts = urlsplit(where)
            host, port, prefix = parts.hostname, parts.port, parts.path.strip("/")
        except ValueError:
            host = port = prefix = None
        if not (host and port and prefix):
            raise StoreError(f"lease store {where}: write {SCHEME}HOST:PORT/PREFIX")
        return cls(host, port, prefix)

    def gateway(self) -> Gateway:
        """A connection for one thread, made when it is needed."""
        return Gateway(self._host, self._port, self._where)

    def key(self, key: str) -> str:
        """A key of the store as etcd has it."""
        return self._below + key

    def head_in(self, found: Found) -> Head:
        """The head that a key holds. Raises StoreError."""
        with self.explained():
            return Head.parse(found.value)

    def leader_in(self, found: Found) -> Leader:
        """Who leads, by the key WRITER or ALIVE. Raises StoreError."""
        with self.explained():
            return parse_writer(found.value)

    def error(self, cause: str, mend: str) -> StoreError:
        """What is wrong with the store, and what mends it."""
        return StoreError(f"lease store {self._where}: {cause}; {mend}")

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Makes a StoreError of values that are none of ours."""
        try:
            yield
        except (ValueError, TypeError, KeyError, zlib.error) as error:
            raise self.error(f"damaged: {error}", "give --db another prefix") from error


def dump_writer(leader: Leader, token: str) -> bytes:
    """Who writes; the token tells two of one name from each other."""
    return json.dumps([leader.name, leader.at, leader.generation, token]).encode()


def parse_writer(value: bytes) -> Leader:
    """Who writes. Raises ValueError."""
    name, at, generation, _token = json.loads(value)
    return Leader(str(name), str(at), int(generation))
