"""An Internet of arrays as a network: each AS is a city of its own, each site a PoP."""

from __future__ import annotations

from controller.core.steering.vectorised import Sites
from topologies.internet.graph import Internet
from topologies.model import NOBODY, Attachment, City, Line, Link, Network, Pop

LINE = Line(1_000_000)


def code(node: int) -> str:
    """The city of an AS."""
    return f"a{node}"


def network(internet: Internet, sites: Sites) -> Network:
    """All ASes and sites, whether they are up or not."""
    pays = zip(internet.customer.tolist(), internet.provider.tolist(), strict=True)
    peers = zip(internet.peer_a.tolist(), internet.peer_b.tolist(), strict=True)
    pops = zip(sites.at.tolist(), sites.prepend.tolist(), sites.scope, strict=True)
    return Network(
        "small",
        tuple(City(code(n), "", 0.0, float(n)) for n in range(internet.size)),
        (
            *(Link(code(a), code(b), LINE, code(a)) for a, b in pays),
            *(Link(code(a), code(b), LINE, NOBODY) for a, b in peers),
        ),
        tuple(Pop(code(at), 1, prepend=prepend, scope=scope) for at, prepend, scope in pops),
        (Attachment(code(0)),),
        (Attachment(code(0)),),
    )
