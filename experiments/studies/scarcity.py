"""How many addresses do the designs of egress need, as servers and tags grow?

Four designs have a closed form for the IPv4 addresses that servers in several PoPs take, each of
every tag:

- ``own``: a whole address for every server and tag,
- ``owner``: one server has the address of a tag, all others go through it,
- ``port sets``: the servers of a PoP share addresses, each by a set of some size,
- ``shared``: the pool has only what all servers together fill, so that PoPs share addresses too.

What is counted is what was really lent: to the servers of a lab, through its controller
(``lab``), and to many more by the controller's lease book alone (``book``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from controller.core.lease import SECOND, PoolExhaustedError, Terms
from controller.core.lending import Book
from controller.core.usage import usage
from experiments import pools
from experiments.errors import RefusedError, UsageError
from experiments.parameters import Parameter, Value
from experiments.study import Evidence, Findings, Study, Trial
from experiments.verdict.result import Check, Metric
from topologies.model import Network

if TYPE_CHECKING:
    import pandas as pd

OWN, OWNER, PORT_SETS, SHARED = "own", "owner", "port sets", "shared"
DESIGNS = (OWN, OWNER, PORT_SETS, SHARED)
LAB, BOOK = "lab", "book"
NAME = "scarcity"
"""The client identifier of what is borrowed for this."""
USUAL_BITS = 3
"""The usual set here is so large that a whole address is no more than a server may keep."""
SHORT_PORTS = 32768
"""The size of set for the control: an address has one of them, so a pool has as many as it is."""
SHORT, ENOUGH = "short", "enough"
TERMS = Terms()


@dataclass(frozen=True, slots=True)
class Point:
    """Who borrows what out of which pools: every server a set of each tag, or one server alone."""

    name: str
    design: str
    ports: int
    servers: tuple[int, ...]
    tags: int
    pool: int
    """Addresses of each tag's pool."""

    def tag(self, number: int) -> str:
        """The tag of one of its pools; no other point has it."""
        return f"{self.name}-{number}"

    @property
    def wanted(self) -> tuple[pools.Wanted, ...]:
        """Its pools."""
        return tuple(pools.Wanted(self.tag(n), self.pool) for n in range(self.tags))


def needed(design: str, servers: Sequence[int], tags: int, ports: int) -> int:
    """The closed form: addresses for so many servers in each PoP, and so many tags."""
    return (
        tags
        * {
            OWN: sum(servers),
            OWNER: 1,
            PORT_SETS: pools.addresses_for(servers, ports),
            SHARED: pools.addresses_for([sum(servers)], ports),
        }[design]
    )


def _points(
    place: str, servers: Iterable[tuple[int, ...]], tags: Sequence[int], sizes: Sequence[int]
) -> Iterator[Point]:
    """Every design with these servers, tags and sizes. Pools are ample but where PoPs share."""
    number = 0
    for by_pop in servers:
        for count in tags:
            ways = [(OWN, pools.PORTS), (OWNER, pools.PORTS)]
            ways += [(design, size) for size in sizes for design in (PORT_SETS, SHARED)]
            for design, ports in ways:
                number += 1
                tight = needed(SHARED, by_pop, 1, ports)
                pool = tight if design == SHARED else pools.one_prefix(sum(by_pop))
                yield Point(f"{place}-{number}", design, ports, by_pop, count, pool)


def _controls(place: str, by_pop: tuple[int, ...]) -> tuple[Point, ...]:
    """A pool that is one address too small, and its twin; there are none for one server alone."""
    all_of_it = sum(by_pop)
    sizes = {SHORT: all_of_it - 1, ENOUGH: all_of_it}
    return tuple(
        Point(f"{place}-{name}", SHARED, SHORT_PORTS, by_pop, 1, pool)
        for name, pool in sizes.items()
        if all_of_it > 1
    )


def lab_points(network: Network, params: Mapping[str, Value]) -> tuple[Point, ...]:
    """What is tried in the lab: one server of each PoP, then all."""
    everybody = tuple(pop.servers for pop in network.pops)
    some = dict.fromkeys([tuple(min(1, count) for count in everybody), everybody])
    tags, sizes = _numbers(params, "tags"), _numbers(params, "ports")
    return (*_points(LAB, some, tags, sizes), *_controls(LAB, everybody))


def book_points(params: Mapping[str, Value]) -> tuple[Point, ...]:
    """What is tried with the book alone: PoPs with equally many servers."""
    (pops,) = _numbers(params, "book_pops")
    servers = [(count,) * pops for count in _numbers(params, "book_servers")]
    tags, sizes = _numbers(params, "book_tags"), _numbers(params, "ports")
    return (*_points(BOOK, servers, tags, sizes), *_controls(BOOK, servers[0]))


def _numbers(params: Mapping[str, Value], name: str) -> list[int]:
    """A parameter's value or values, whole and from 1 up. Raises UsageError."""
    given = params[name]
    found = []
    for value in given if isinstance(given, tuple) else (given,):
        if not isinstance(value, int | float) or value < 1 or int(value) != value:
            raise UsageError(f"{name} is a whole number from 1 up, not {value!r}.")
        found.append(int(value))
    return found


def prepare(network: Network, params: Mapping[str, Value]) -> Network:
    """Pools for every point in the lab. Raises UsageError for a size that is not lent."""
    pools.check_sizes(params["ports"])
    book_points(params)
    wanted = [pool for point in lab_points(network, params) for pool in point.wanted]
    bits = min(network.port_set_bits, USUAL_BITS)
    return replace(pools.with_pools(network, wanted), port_set_bits=bits)


# -- who lends


@dataclass(frozen=True, slots=True)
class Lent:
    """What a borrower was told: its address, where it stands, and where the address is at home."""

    address: str
    pop: str
    home: str
    since_ns: int


class DryError(Exception):
    """The pool has nothing left; ``earliest_ns`` is when another try can succeed."""

    def __init__(self, earliest_ns: int | None) -> None:
        self.earliest_ns = earliest_ns
        super().__init__("the pool is dry; wait, or give the network a larger one")


class Lender(Protocol):
    """Who is asked for sets."""

    def servers(self, point: Point) -> list[tuple[str, str]]:
        """Name and PoP of those who borrow."""

    def borrow(self, server: str, pop: str, tag: str, ports: int) -> Lent:
        """A set for a server. Raises DryError."""

    def taken(self, tags: Sequence[str]) -> int:
        """Of how many addresses of these tags anything is taken."""


class LabLender:
    """The controller of a running lab."""

    def __init__(self, t: Trial) -> None:
        self._t = t

    def servers(self, point: Point) -> list[tuple[str, str]]:
        """So many of each PoP's servers."""
        plan = self._t.plan
        pops = zip(plan.edges, point.servers, strict=True)
        return [(x.name, x.city) for edge, n in pops for x in plan.servers_of(edge.city)[:n]]

    def borrow(self, server: str, pop: str, tag: str, ports: int) -> Lent:
        """As an operator's tool does it, over REST. Raises DryError."""
        control, bits = self._t.lab.control, pools.psid_bits(ports)
        try:
            made = control.lease_acquire(server, tag=tag, client_id=NAME, psid_bits=bits)
        except RefusedError as refused:
            raise DryError(refused.earliest_ns) from None
        held = control.who(f"{made['address']}:{made['first_port']}")
        return Lent(made["address"], pop, made["home"], held["since_ns"])

    def taken(self, tags: Sequence[str]) -> int:
        """As the controller says."""
        return _taken(self._t.lab.controller_api.pool(), tags)


class BookLender:
    """The controller's lease book alone; a second passes with each set."""

    def __init__(self, point: Point) -> None:
        self._pools = pools.carve(point.wanted)
        self._pops = [f"P{n}" for n in range(len(point.servers))]
        self.book = Book(self._pools, USUAL_BITS, TERMS)
        self._now_ns = 0

    def servers(self, point: Point) -> list[tuple[str, str]]:
        """So many in each of the PoPs, which have numbers for names."""
        return [
            (f"P{pop}-s{n}", f"P{pop}") for pop, k in enumerate(point.servers) for n in range(k)
        ]

    def wait_until(self, now_ns: int) -> None:
        """Let all that is due by then end."""
        while (due := self.book.next_event_ns()) is not None and due <= now_ns:
            self.book.apply(*self.book.expire(due))
        self._now_ns = now_ns - SECOND

    def borrow(self, server: str, pop: str, tag: str, ports: int) -> Lent:
        """As the controller does it: abroad if nothing else is left. Raises DryError."""
        self._now_ns += SECOND
        bits, abroad = pools.psid_bits(ports), (x for x in self._pops if x != pop)
        try:
            made = self.book.acquire(
                server, pop, self._now_ns, tag, client_id=NAME, psid_bits=bits, abroad=abroad
            )
        except PoolExhaustedError as dry:
            raise DryError(dry.earliest_ns) from None
        self.book.apply(made)
        return Lent(str(made.after.address), pop, made.after.home, made.after.since_ns)

    def taken(self, tags: Sequence[str]) -> int:
        """As the controller would say."""
        return _taken(usage(self._pools, self.book.entries()), tags)


def _taken(pool: Mapping[str, Any], tags: Sequence[str]) -> int:
    return sum(int(pool[tag]["taken"]) for tag in tags)


# -- what is done


def trial(t: Trial) -> None:
    """Let all borrow in the lab, then more by the book alone."""
    t.observed["controls"] = {LAB: {}, BOOK: {}}
    points = lab_points(t.plan.network, t.spec.params)
    with t.step(f"servers of the lab borrow in {len(points)} ways"):
        for point in points:
            _try(t, LAB, LabLender(t), point)
    points = book_points(t.spec.params)
    with t.step(f"more borrow of the book alone in {len(points)} ways"):
        for point in points:
            _try(t, BOOK, BookLender(point), point)


@dataclass(frozen=True, slots=True)
class _Wish:
    """A server that wants a set of a tag."""

    server: str
    pop: str
    tag: str


def _try(t: Trial, place: str, lender: Lender, point: Point) -> None:
    """Let everybody borrow, in an order that only the seed decides, and count."""
    servers = lender.servers(point)[: 1 if point.design == OWNER else None]
    tags = [point.tag(n) for n in range(point.tags)]
    wishes = [_Wish(server, pop, tag) for server, pop in servers for tag in tags]
    control = point.name.removeprefix(f"{place}-")
    if control in (SHORT, ENOUGH):
        wishes = [*wishes[1:], *wishes[:1]]
    else:
        t.random.shuffle(wishes)
    lent: list[Lent] = []
    refused: list[tuple[_Wish, int | None]] = []
    for wish in wishes:
        try:
            lent.append(lender.borrow(wish.server, wish.pop, wish.tag, point.ports))
        except DryError as dry:
            refused.append((wish, dry.earliest_ns))
    taken = lender.taken(tags)
    if control in (SHORT, ENOUGH):
        t.observed["controls"][place][control] = _control(lender, point, lent, refused)
    else:
        t.reporter.emit(_row(place, point, lent, len(refused), taken))


def _row(
    place: str, point: Point, lent: Sequence[Lent], refused: int, taken: int
) -> dict[str, Any]:
    return {
        "place": place,
        "design": point.design,
        "ports": point.ports,
        "servers_by_pop": " ".join(map(str, point.servers)),
        "servers": sum(point.servers),
        "tags": point.tags,
        "pool": point.pool,
        "outcome": "refused" if refused else "ok",
        "sets": len(lent),
        "abroad": sum(x.pop != x.home for x in lent),
        "taken": taken,
        "told": len({x.address for x in lent}),
    }


def _control(
    lender: Lender, point: Point, lent: Sequence[Lent], refused: Sequence[tuple[_Wish, int | None]]
) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "pool": point.pool,
        "lent": [{"pop": x.pop, "since_ns": x.since_ns} for x in lent],
        "refused": [{"pop": wish.pop, "earliest_ns": at} for wish, at in refused],
    }
    if isinstance(lender, BookLender) and refused:
        facts["again"] = [_again(lender, *refused[0], point.ports, sooner) for sooner in (1, 0)]
    return facts


def _again(
    book: BookLender, wish: _Wish, earliest_ns: int | None, ports: int, sooner_ns: int
) -> bool:
    """Whether a refused wish comes true at the time that was told, or so much sooner."""
    if earliest_ns is None:
        return False
    book.wait_until(earliest_ns - sooner_ns)
    try:
        book.borrow(wish.server, wish.pop, wish.tag, ports)
    except DryError:
        return False
    return True


# -- what the evidence says


def evaluate(e: Evidence) -> Findings:
    """By point: what was taken, beside the closed form."""
    table = points_table(e.samples)
    metrics: dict[str, Metric] = {}
    for place in (LAB, BOOK):
        largest = _largest(table[table["place"] == place])
        metrics[f"{place}_servers"] = Metric(_only(largest["servers"]), "1")
        metrics[f"{place}_tags"] = Metric(_only(largest["tags"]), "1")
        for design in DESIGNS:
            mine = largest[largest["design"] == design]
            name = design.replace(" ", "_")
            metrics[f"{place}_{name}_addresses"] = Metric(_only(mine["taken"]), "1")
    error = (table["taken"] - table["needed"]).abs()
    metrics["points"] = Metric(len(table), "1")
    metrics["error_max"] = Metric(int(error.max()) if len(error) else None, "1")
    return Findings(_answer(metrics), metrics, _checks(e, table), {"points": table})


def points_table(samples: pd.DataFrame) -> pd.DataFrame:
    """The samples, with what the closed form says."""
    rows = samples.to_dict("records")
    by_pop = [[int(n) for n in row["servers_by_pop"].split()] for row in rows]
    forms = [
        needed(row["design"], servers, row["tags"], row["ports"])
        for row, servers in zip(rows, by_pop, strict=True)
    ]
    table = samples.copy()
    table["needed"] = forms
    return table


def _largest(points: pd.DataFrame) -> pd.DataFrame:
    """Those of most servers and tags; of sets the smallest there are."""
    sized = points["design"].isin((PORT_SETS, SHARED))
    points = points[~sized | (points["ports"] == points[sized]["ports"].min())]
    for size in ("servers", "tags"):
        points = points[points[size] == points[size].max()]
    return points


def _only(values: pd.Series[int]) -> int | None:
    return int(values.iloc[0]) if len(values) else None


def _checks(e: Evidence, table: pd.DataFrame) -> tuple[Check, ...]:
    apart = table[table["design"] != SHARED]
    shared = table[table["design"] == SHARED]
    names = {LAB: "lab", BOOK: "book alone"}
    return (
        _every("every borrower is lent a set", table["outcome"] == "ok"),
        *(
            _every(
                f"{names[place]}: as many addresses are taken as the closed form says",
                mine["taken"] == mine["needed"],
            )
            for place, mine in ((x, table[table["place"] == x]) for x in (LAB, BOOK))
        ),
        _every(
            "the borrowers are told of as many addresses as are taken",
            table["told"] == table["taken"],
        ),
        _every("from an ample pool nobody borrows abroad", apart["abroad"] == 0),
        _every(
            "where PoPs must share addresses, some borrow abroad",
            (shared["abroad"] > 0) == _must_share(shared),
        ),
        *(_short(names[place], e.observed["controls"][place]) for place in (LAB, BOOK)),
        _told_time_is_true(e.observed["controls"][BOOK]),
    )


def _every(name: str, good: pd.Series[bool]) -> Check:
    right = int(good.sum())
    return Check(name, 0 < len(good) == right, f"at {right} of {len(good)} points")


def _must_share(points: pd.DataFrame) -> list[bool]:
    """Whether a pool as small as can be is smaller than what PoPs take that share nothing."""
    return [
        pools.addresses_for(map(int, row["servers_by_pop"].split()), row["ports"]) > row["pool"]
        for row in points.to_dict("records")
    ]


def _short(where: str, controls: Mapping[str, Mapping[str, Any]]) -> Check:
    """One address less, and one borrower is refused: with the time when the first set is free."""
    name = f"control: {where}: a pool one address too small refuses, and says until when"
    if not controls:
        return Check(name, None, "one server alone needs no second address")
    short, enough = controls[SHORT], controls[ENOUGH]
    right = [x["earliest_ns"] == _earliest_ns(short["lent"], x["pop"]) for x in short["refused"]]
    return Check(
        name,
        right == [True] and not enough["refused"],
        f"{short['pool']} addresses: {len(right)} refused, {sum(right)} told the right time; "
        f"{enough['pool']} addresses: {len(enough['refused'])} refused",
    )


def _earliest_ns(lent: Sequence[Mapping[str, Any]], pop: str) -> int | None:
    """When the first set of a PoP's own is free again, or of any if it has none."""
    here = [x["since_ns"] for x in lent if x["pop"] == pop]
    since_ns = min(here or [x["since_ns"] for x in lent], default=None)
    return None if since_ns is None else since_ns + TERMS.lifetime_ns + TERMS.quarantine_ns


def _told_time_is_true(controls: Mapping[str, Mapping[str, Any]]) -> Check:
    name = "twin: at the time that was told a set can be had, and not before"
    if not controls:
        return Check(name, None, "nobody was refused")
    sooner, then = controls[SHORT].get("again", (None, None))
    return Check(
        name,
        sooner is False and then is True,
        f"a nanosecond before: {'lent' if sooner else 'refused'}; "
        f"then: {'lent' if then else 'refused'}",
    )


def _answer(metrics: Mapping[str, Metric]) -> str:
    parts = ("servers", "tags", *(f"{x.replace(' ', '_')}_addresses" for x in DESIGNS))
    servers, tags, own, owner, sets, shared = (metrics[f"{BOOK}_{x}"].value for x in parts)
    if own is None or sets is None:
        return "Nothing was lent by the book alone, so there is nothing to count."
    return (
        f"{servers} servers that each leave by {tags} tags take {own} addresses of their own, "
        f"{sets} by port sets in each PoP, {shared} if PoPs share them; one owner of each tag "
        f"takes {owner}."
    )


def draw(e: Evidence, findings: Findings, folder: Path) -> list[Path]:
    """Addresses as servers grow, and everything counted beside the closed form."""
    from experiments.show.figures import scarcity as figure

    return [figure.draw(findings.tables["points"], needed, folder / "scarcity.png")]


STUDY = Study(
    name="scarcity",
    question="How many addresses do the designs of egress need, as servers and tags grow?",
    baselines=(
        "own: a whole address for every server and tag",
        "owner: one server has a tag's address, the others forward to it",
    ),
    controls=("a pool that is one address too small must refuse, with the earliest time",),
    parameters={
        "ports": Parameter((2048.0, 16384.0, 32768.0), (2048.0, 32768.0), "sizes of sets"),
        "tags": Parameter((1.0, 2.0, 4.0), (1.0, 2.0), "tags that servers of the lab borrow of"),
        "book_pops": Parameter(10, 10, "PoPs, in the book alone"),
        "book_servers": Parameter(
            (5.0, 10.0, 20.0, 31.0, 32.0, 64.0), (5.0, 20.0, 40.0), "servers of each of these"
        ),
        "book_tags": Parameter((1.0, 4.0, 12.0), (1.0, 12.0), "tags that these borrow of"),
    },
    prepare=prepare,
    families=(4,),  # what is lent is IPv4
    sends_packets=False,
    trial=trial,
    evaluate=evaluate,
    draw=draw,
)
