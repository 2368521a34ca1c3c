"""A small Internet whose routers speak BGP, with a choice at every turn."""

from __future__ import annotations

from topologies.build import NetworkBuilder
from topologies.model import Network


def four_networks() -> Network:
    """LON is paid by two that have PoPs and by ARN, who pays LHR as well."""
    made = NetworkBuilder("four", upstream="bgp")
    for code in ("LON", "LHR", "JFK", "ARN"):
        place = {"lat": 51.5, "lon": -0.1} if code == "LON" else {}
        made.city(code, **place).clients(code)
    for customer in ("LHR", "JFK", "ARN"):
        made.link(customer, "LON", customer=customer)
    made.link("ARN", "LHR", customer="ARN")
    made.pop("LHR", 2).pop("JFK", 1).backbone("LHR", "JFK").origin("ARN")
    return made.network()
