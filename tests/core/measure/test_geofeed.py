"""A geofeed read by RFC 8805: comments, the longest prefix, what is no country."""

from __future__ import annotations

import pytest

from controller.core.geofeed import geofeed
from experiments.measure.geofeed import parse
from experiments.runs import runner


def test_the_longest_prefix_counts() -> None:
    feed = parse("# ours\r\n\r\n192.0.2.0/24,GB,,,\r\n192.0.2.128/25,fr,FR-75,Paris\r\n")
    assert feed.country("192.0.2.1") == "GB"
    assert feed.country("192.0.2.200") == "FR"
    assert feed.country("203.0.113.1") is None


def test_no_country_is_no_answer_and_ipv6_is_passed_over() -> None:
    feed = parse("192.0.2.0/24\n2001:db8::/32,GB,,,\n192.0.2.0/25,,,,\n")
    assert feed.rows == ()


@pytest.mark.parametrize(
    "text",
    [
        "192.0.2.1/24,GB,,,",
        "192.0.2.0/24,GBR",
        "192.0.2.0/24,G8",
        "x,GB",
        "192.0.2.0/24,GB\n192.0.2.0/24,FR",
    ],
)
def test_what_is_no_feed_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (ipaddress has its own words)
        parse(text)


def test_it_reads_what_the_controller_writes() -> None:
    network = runner.make_spec("geo", "europe").network
    feed = parse(geofeed(network))
    for pool in network.pools:
        assert feed.country(str(pool.prefix[0])) == (pool.country or None)
