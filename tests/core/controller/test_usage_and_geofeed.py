import csv
from dataclasses import replace
from ipaddress import IPv4Network, ip_network

from controller.core.geofeed import geofeed
from controller.core.lending import Book
from controller.core.usage import usage
from topologies.model import Pool
from topologies.sources import load

GB, FR, ANY = (
    Pool(IPv4Network("192.0.2.0/25"), "gb", "GB"),
    Pool(IPv4Network("192.0.2.128/25"), "fr", "FR"),
    Pool(IPv4Network("203.0.113.0/31")),
)


def test_the_geofeed_is_rfc_8805s() -> None:
    network = replace(load("triangle"), pools=(FR, ANY, GB))
    lines = geofeed(network).splitlines()
    assert lines[0].startswith("#")
    rows = list(csv.reader(lines[1:]))
    assert rows == [
        ["192.0.2.0/25", "GB", "", "", ""],
        ["192.0.2.128/25", "FR", "", "", ""],
    ]
    assert all(ip_network(row[0]) for row in rows)


def test_usage_counts_ports_by_tag_pop_and_state() -> None:
    book = Book([ANY, GB], 5)
    for server, pop, tag in (("a", "LHR", "any"), ("b", "LHR", "any"), ("c", "CDG", "gb")):
        book.apply(book.acquire(server, pop, 0, tag))
    book.apply(book.release("b", *book.entries()[-1].key, 1))
    found = usage([ANY, GB], book.entries())
    assert found["any"] == {
        "there_are": 2,
        "ports": 2 * 64512,
        "taken": 1,
        "pops": {
            "LHR": {"addresses": 1, "sets": 2, "lent": 2048, "draining": 0, "quarantined": 2048}
        },
    }
    assert (found["gb"]["there_are"], found["gb"]["taken"]) == (128, 1)
    assert found["gb"]["pops"]["CDG"]["lent"] == 2048
