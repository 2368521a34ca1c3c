"""Read a geofeed as those do who map addresses to places; written by RFC 8805, not by our own."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network

__all__ = ["Geofeed", "parse"]


@dataclass(frozen=True)
class Geofeed:
    """Prefixes and their countries, the longest prefix first."""

    rows: tuple[tuple[IPv4Network, str], ...]

    def country(self, address: str) -> str | None:
        """Where an address is said to be; None if the feed does not say."""
        there = IPv4Address(address)
        return next((country for prefix, country in self.rows if there in prefix), None)


def parse(text: str) -> Geofeed:
    """The IPv4 rows of a feed. Raises ValueError for what section 2.1 does not allow."""
    found: dict[IPv4Network, str] = {}
    for row in csv.reader(_lines(text)):
        prefix = ip_network(row[0].strip())
        if isinstance(prefix, IPv6Network):
            continue
        country = row[1].strip().upper() if len(row) > 1 else ""
        if country and not (len(country) == 2 and country.isascii() and country.isalpha()):
            raise ValueError(f"{prefix}: {country!r} is no country of ISO 3166-1")
        if found.setdefault(prefix, country) != country:
            raise ValueError(f"{prefix} is said to be in {found[prefix]} and in {country}")
    ordered = sorted(found.items(), key=lambda row: (-row[0].prefixlen, row[0]))
    return Geofeed(tuple((prefix, country) for prefix, country in ordered if country))


def _lines(text: str) -> Iterable[str]:
    """The lines that are neither empty nor a comment."""
    return (line for line in text.splitlines() if line.strip() and not line.startswith("#"))
