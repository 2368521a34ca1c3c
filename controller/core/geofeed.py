"""The geofeed: where the lendable addresses are said to be, for those who map addresses to places.

RFC 8805 section 2: one line a prefix, ``prefix,country,region,city,postal``. A tag is a promise of
this line, not of a place: an address tagged GB may be at home in Paris.
"""

from __future__ import annotations

from topologies.model import Network


def geofeed(network: Network) -> str:
    """The feed of a network's pools, by prefix; a pool without a country is left out."""
    pools = sorted((pool for pool in network.pools if pool.country), key=lambda pool: pool.prefix)
    lines = [f"{pool.prefix},{pool.country},,,\r\n" for pool in pools]
    return f"# {network.name}\r\n" + "".join(lines)
