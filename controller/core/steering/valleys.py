"""Whether chosen routes keep to what neighbours may tell each other, whoever worked them out.

An AS tells customers everything, and providers and peers its customers' routes alone, so no path
has a valley (L. Gao and J. Rexford, 2001). What breaks that is a route leak (RFC 7908).
"""

from __future__ import annotations

import numpy as np

from controller.core.steering.vectorised import Routes
from topologies.internet.graph import Internet, Ints


def valleys(internet: Internet, routes: Routes) -> Ints:
    """The ASes whose route they ought not to have been told by their neighbour.

    Neither is the neighbour one that they pay, nor is what it has the route of a customer or of a
    site of its own. Relations are looked up in the graph; the routes' own word is not believed.
    """
    hearers = _hearers(routes)
    tellers = routes.via[hearers]
    tell_of = routes.via[tellers]
    lawful = internet.providers.has(hearers, tellers) | (tell_of == tellers)
    told: Ints = hearers[~(lawful | internet.providers.has(tell_of, tellers))]
    return told


def strangers(internet: Internet, routes: Routes) -> Ints:
    """The ASes whose route comes from somebody who is no neighbour, or is no longer by a hop."""
    hearers = _hearers(routes)
    tellers = routes.via[hearers]
    known = internet.providers.has(hearers, tellers) | internet.customers.has(hearers, tellers)
    known |= internet.peers.has(hearers, tellers)
    known &= routes.hops[hearers] == routes.hops[tellers] + 1
    known &= routes.site[hearers] == routes.site[tellers]
    found: Ints = hearers[~known]
    return found


def _hearers(routes: Routes) -> Ints:
    """Those whose route another AS told them."""
    here = np.arange(len(routes.via), dtype=np.int32)
    told: Ints = here[routes.reached & (routes.via != here)]
    return told
