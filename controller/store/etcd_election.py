"""The election in etcd.

The key ``alive`` hangs on a lease of etcd, which the leader renews: while it is there, nobody else
can lead. When its leader dies, it goes ``HOLD_S`` later, or a little more.
"""

from __future__ import annotations

import secrets

from controller.store import layout
from controller.store.etcd import EtcdStore, Reign
from controller.store.etcd_place import ALIVE, HOLD_S, WRITER, EtcdPlace, dump_writer
from controller.store.gateway import put, read, unchanged
from controller.store.interface import Candidate, Deposed, Leader
from controller.store.layout import HEAD, Head

__all__ = ["EtcdElection"]


class EtcdElection:
    """A candidate at the store of a place.

    Every method raises StoreError if etcd cannot be reached or is in trouble; ``campaign`` also if
    the prefix holds anything but a store of this version.
    """

    def __init__(self, place: EtcdPlace, candidate: Candidate) -> None:
        self._place, self._key, self._candidate = place, place.key, candidate
        self._gateway = place.gateway()
        self._token = secrets.token_hex(8)

    @classmethod
    def at(cls, where: str, candidate: Candidate) -> EtcdElection:
        """At ``etcd://HOST:PORT/PREFIX``. Raises StoreError."""
        return cls(EtcdPlace.at(where), candidate)

    def leader(self) -> Leader | None:
        """Who leads, or led last."""
        found = self._gateway.one(self._key(WRITER))
        return None if found is None else self._place.leader_in(found)

    def campaign(self, deposed: Deposed) -> EtcdStore | None:
        """The store, if nobody leads it."""
        if self._gateway.one(self._key(ALIVE)) is not None:
            return None
        reign = self._take()
        return None if reign is None else EtcdStore(self._place, reign, deposed)

    def _take(self) -> Reign | None:
        """Become the writer, unless another is faster."""
        head, revision = self._check()
        # Whoever becomes the writer writes the head, too: if that is unchanged, so is this.
        leader = Leader.next(self._candidate, self.leader())
        me = dump_writer(leader, self._token)
        lease = str(self._gateway.ask("lease/grant", {"TTL": HOLD_S})["ID"])
        answer = self._gateway.transact(
            [unchanged(self._key(ALIVE), 0), unchanged(self._key(HEAD), revision)],
            [
                put(self._key(ALIVE), me, lease),
                put(self._key(WRITER), me),
                put(self._key(HEAD), head.dump()),
            ],
            [read(self._key(ALIVE))],
        )
        if answer.succeeded:
            return Reign(leader, me, head, answer.revision, lease)
        holder = next(iter(answer.found[0]), None)
        if holder is None or holder.value != me:
            return None
        return Reign(leader, me, head, holder.revision, lease)  # its first answer was lost

    def _check(self) -> tuple[Head, int]:
        """The head and its revision, 0 for a new store. Raises StoreError if it is none of ours."""
        found = self._gateway.one(self._key(HEAD))
        if found is None:
            everything = self._key("")
            if next(self._gateway.all(everything, f"{everything[:-1]}0"), None) is not None:
                raise self._place.error("there are other keys below it", "give --db another prefix")
            return Head(), 0
        head = self._place.head_in(found)
        if head.version != layout.VERSION:
            cause = f"made by version {head.version}, this is {layout.VERSION}"
            raise self._place.error(cause, "give --db another prefix")
        return head, found.revision

    def close(self) -> None:
        """Stand no longer."""
        self._gateway.close()
