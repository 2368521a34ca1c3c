"""Lending by hand.

GET  /v1/leases                              every port set that is not free
POST /v1/leases                              lend: {server, tag?, client_id?, psid_bits?}
GET  /v1/leases/{address}/{port}             the entry that this port belongs to
GET  /v1/leases/{address}/{port}/who?at_ns=T who might use the port at that time of the book
POST /v1/leases/{address}/{port}/VERB        renew, revoke; release {server};
                                             drain {seconds}; move {server, drain_s?}
GET  /v1/pool                                what is free and what is taken, by tag and PoP
GET  /v1/audit                               book, store and switches compared
GET  /v1/geofeed                             where the pools' addresses are said to be (RFC 8805)

A port set is named by its address and any of its ports. Who lends again by the same server, tag and
client_id is told the same lease, so a lost answer can be asked for again. Answers say whether the
switches have confirmed what changed. An entry's ETag is another one after every change of it but
the passing of time; a VERB with If-Match changes only what has that ETag still (RFC 9110).
"""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address
from typing import Any

from ryu.app.wsgi import ControllerBase, route
from webob import Response

from controller import audit
from controller.app import Controller
from controller.core.describing import describe_lease
from controller.core.geofeed import geofeed
from controller.core.lease import SECOND, Lease
from controller.core.usage import usage
from controller.dhcp import names
from controller.lender import Changed
from controller.rest.answers import (
    NotFoundError,
    answer,
    is_confirmed,
    number,
    read_fields,
    refusing,
)
from topologies.model import COMMON_TAG
from topologies.plan import HostPlan

LONGEST_S = 1e9
VERBS = "{verb:renew|revoke|release|drain|move}"


class LeaseDoors(ControllerBase):
    """One instance answers one request; Ryu makes it."""

    def __init__(self, request: Any, link: Any, data: dict[str, Any], **config: Any) -> None:
        super().__init__(request, link, data, **config)
        self._controller: Controller = data["controller"]
        self._lender = self._controller.lender

    @route("leases", "/v1/leases", methods=["GET", "HEAD"])  # type: ignore[untyped-decorator]
    def leases(self, _request: Any, **_: Any) -> Response:
        """Every port set that is not free."""
        return answer([self._entry(lease) for lease in self._lender.book.entries()])

    @route("lend", "/v1/leases", methods=["POST"])  # type: ignore[untyped-decorator]
    @refusing
    def lend(self, request: Any, **_: Any) -> Response:
        """Lend a port set to a server; what it holds already by these names, if it does."""
        wanted = {"server": str, "tag": str, "client_id": str, "psid_bits": int}
        given = read_fields(request.body, wanted, "server")
        server = self._server(given.pop("server"))
        names(given.get("tag", COMMON_TAG), given.get("client_id", ""))  # over DHCP too
        tag = given.pop("tag", COMMON_TAG)
        return self._changed(self._lender.acquire(server, tag, **given), status=201)

    @route("lease", "/v1/leases/{address}/{port}", methods=["GET", "HEAD"])  # type: ignore[untyped-decorator]
    @refusing
    def lease(self, _request: Any, address: str, port: str, **_: Any) -> Response:
        """The entry that a port belongs to."""
        at = _place(address, port)
        lease = self._lender.book.lease(*at)
        if lease is None:
            raise NotFoundError(f"{at[0]} port {at[1]} is free")
        return _tagged(answer(self._entry(lease)), lease)

    @route("who", "/v1/leases/{address}/{port}/who", methods=["GET", "HEAD"])  # type: ignore[untyped-decorator]
    @refusing
    def who(self, request: Any, address: str, port: str, **_: Any) -> Response:
        """Who might use a port at a time; now, if none is given."""
        at = _place(address, port)
        now_ns = self._controller.loop.clock.now_ns()
        at_ns = number(request.GET.get("at_ns", str(now_ns)), "at_ns", (1 << 63) - 1)
        found = self._controller.store.who(*at, at_ns)
        if found is None:
            raise NotFoundError(f"{at[0]} port {at[1]} was nobody's")
        return answer(found.describe())

    @route("change", f"/v1/leases/{{address}}/{{port}}/{VERBS}", methods=["POST"])  # type: ignore[untyped-decorator]
    @refusing
    def change(self, request: Any, address: str, port: str, verb: str, **_: Any) -> Response:
        """Renew, revoke, release, drain or move a lease."""
        at, lender = _place(address, port), self._lender
        said = request.headers.get("If-Match")
        if_match = None if said is None else request.if_match if said.strip() else ()
        if verb in ("renew", "revoke"):
            read_fields(request.body, {})
            return self._changed(getattr(lender, verb)(*at, if_match))
        if verb == "release":
            given = read_fields(request.body, {"server": str}, "server")
            return self._changed(lender.release(self._server(given["server"]), *at, if_match))
        if verb == "drain":
            given = read_fields(request.body, {"seconds": float}, "seconds")
            return self._changed(lender.drain(*at, _ns(given["seconds"]), if_match))
        given = read_fields(request.body, {"server": str, "drain_s": float}, "server")
        drain_ns = _ns(given["drain_s"]) if "drain_s" in given else None
        return self._changed(lender.move(*at, self._server(given["server"]), drain_ns, if_match))

    @route("pool", "/v1/pool", methods=["GET", "HEAD"])  # type: ignore[untyped-decorator]
    def pool(self, _request: Any, **_: Any) -> Response:
        """What is free and what is taken."""
        network = self._controller.loop.world.plan.network
        return answer(usage(network.pools, self._lender.book.entries()))

    @route("audit", "/v1/audit", methods=["GET", "HEAD"])  # type: ignore[untyped-decorator]
    @refusing
    def audit(self, _request: Any, **_: Any) -> Response:
        """Book, store and switches compared."""
        found = audit.audit(self._controller.loop, self._lender.book, self._controller.store)
        return answer(found.describe())

    @route("geofeed", "/v1/geofeed", methods=["GET", "HEAD"])  # type: ignore[untyped-decorator]
    def geofeed(self, _request: Any, **_: Any) -> Response:
        """Where the pools' addresses are said to be."""
        text = geofeed(self._controller.loop.world.plan.network)
        return Response(content_type="text/csv", charset="utf-8", body=text.encode())

    # -- inside

    def _server(self, name: str) -> HostPlan:
        """A server of the plan. Raises NotFoundError."""
        found = self._controller.servers.get(name)
        if found is None:
            raise NotFoundError(f"the network has no server {name!r}")
        return found

    def _changed(self, changed: Changed, status: int = 200) -> Response:
        lease, following = changed
        confirmed = {"confirmed": is_confirmed(following)}
        return _tagged(answer(self._entry(lease) | confirmed, status), lease)

    def _entry(self, lease: Lease) -> dict[str, Any]:
        return describe_lease(lease) | {"expires_in_s": round(self._lender.seconds_left(lease), 3)}


def _tagged(answered: Response, lease: Lease) -> Response:
    """An answer about one entry, with what tells this version of it from others."""
    answered.etag = lease.version
    return answered


def _place(address: str, port: str) -> tuple[IPv4Address, int]:
    """Address and port of a path. Raises ValueError."""
    try:
        return IPv4Address(address), number(port, "port", 0xFFFF)
    except AddressValueError as error:
        raise ValueError(f"not an IPv4 address: {error}") from None


def _ns(seconds: float) -> int:
    """Seconds as nanoseconds. Raises ValueError."""
    if not 0 <= seconds <= LONGEST_S:
        raise ValueError(f"seconds are from 0 to {LONGEST_S:g}, not {seconds}")
    return int(seconds * SECOND)
