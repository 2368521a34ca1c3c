"""Hypothesis strategies: any network that has no problems."""

from ipaddress import IPv4Network

from hypothesis import strategies as st

from topologies.model import NOBODY, Attachment, City, Line, Link, Network, Pool, Pop, Scope

CODES = st.text(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=1, max_size=7
)

NAMES = st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), max_size=8)

LINES = st.builds(
    Line,
    delay_ns=st.integers(0, 10**9),
    jitter_ns=st.integers(0, 10**7),
    loss=st.floats(0, 1),
    rate_bit_s=st.none() | st.integers(1000, 10**12),
    limit_packets=st.none() | st.integers(1, 10**6),
)


SERVICES = (
    (IPv4Network("198.51.100.1/32"), IPv4Network("198.51.100.2/32")),
    (IPv4Network("198.51.100.0/25"), IPv4Network("198.51.100.200/32")),
)
SHARES = st.tuples(
    st.integers(0, 3),
    st.none() | st.integers(1, 1000),
    st.integers(0, 3),
    st.sampled_from(Scope),
)
"""A PoP's weight, capacity, prepending and scope."""


def _customer(cities: tuple[City, ...], a: int, b: int) -> st.SearchStrategy[str]:
    """Somebody whose network comes later in the alphabet, so that nobody pays in a circle."""
    later = max((cities[a], cities[b]), key=lambda city: city.network)
    return st.sampled_from([NOBODY, later.code])


@st.composite
def networks(draw: st.DrawFn, max_cities: int = 12) -> Network:
    codes = draw(st.lists(CODES, min_size=1, max_size=max_cities, unique_by=str.casefold))
    operators = st.sampled_from(["", "", "one", "two"])
    cities = tuple(
        City(
            code,
            draw(NAMES),
            draw(st.floats(-90, 90)),
            draw(st.floats(-180, 180)),
            region=draw(st.sampled_from(["", "Europe", "Asia"])),
            operator=draw(operators),
        )
        for code in codes
    )
    # A random tree joins all cities, then some more links.
    pairs = {(draw(st.integers(0, n - 1)), n) for n in range(1, len(codes))}
    if len(codes) > 1:
        ends = st.tuples(st.integers(0, len(codes) - 1), st.integers(0, len(codes) - 1))
        pairs |= {(min(p), max(p)) for p in draw(st.lists(ends, max_size=6)) if p[0] != p[1]}
    where = st.sampled_from(codes)
    pops = draw(st.lists(where, min_size=1, max_size=6, unique=True))
    backbone = [(a, b) for i, a in enumerate(pops) for b in pops[:i] if draw(st.booleans())]
    paid = draw(st.booleans())
    attachments = st.lists(st.builds(Attachment, where, st.integers(1, 3), LINES), max_size=6)
    return Network(
        name=draw(st.from_regex(r"[a-z][a-z0-9.-]{0,10}", fullmatch=True)),
        cities=cities,
        links=tuple(
            Link(codes[a], codes[b], draw(LINES), draw(_customer(cities, a, b)) if paid else None)
            for a, b in sorted(pairs)
        ),
        pops=tuple(Pop(code, draw(st.integers(1, 4)), draw(LINES), *draw(SHARES)) for code in pops),
        clients=tuple(draw(attachments)),
        origins=tuple(draw(attachments)),
        backbone=tuple(Link(a, b, draw(LINES)) for a, b in backbone),
        service_prefixes=draw(st.sampled_from(SERVICES)),
        pools=(Pool(IPv4Network("203.0.113.0/25"), "eu", "DE"), Pool(IPv4Network("192.0.2.0/27"))),
        port_set_bits=draw(st.integers(1, 12)),
        path_stretch=draw(st.floats(1, 3)),
        second_chance_udp=draw(st.sampled_from([(), (443,), (7, 53)])),
        failover=draw(st.booleans()),
        bfd_ns=draw(st.none() | st.integers(1, 1000).map(lambda ms: ms * 10**6)),
        description=draw(NAMES),
    )
