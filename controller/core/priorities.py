"""The priorities of rules, table by table.

Within a table a higher one is looked at first; where rules of one priority overlap they do the
same, so their order does not matter.
"""

from __future__ import annotations

from typing import Final

ADMIT_NEVER: Final = 500
"""ADMISSION: what no host may send, and no switch passes on."""
ADMIT_PUNT: Final = 400
"""ADMISSION: DHCP comes before the source check, because a client has no address yet."""
ADMIT_HOST: Final = 300
"""ADMISSION: a host's legitimate frames."""
ADMIT_LABEL_HERE: Final = 300
"""ADMISSION: from another switch, labelled for this PoP."""
ADMIT_HANDED_BACK: Final = 250
"""ADMISSION: what a server hands back because it knows no such connection."""
ADMIT_SPEAKER: Final = 350
"""ADMISSION: between a PoP's speaker and its city's router."""
ADMIT_FABRIC: Final = 200
"""ADMISSION: anything else that another switch may send."""
ADMIT_CHATTER: Final = 150
"""ADMISSION: what hosts send to IPv6 groups (listener reports): nobody listens here."""
ADMIT_SPOOF: Final = 100
"""ADMISSION: the IPv4, IPv6 and ARP frames that nothing above admits."""
ADMIT_SPOOF_PORTS: Final = 120
"""ADMISSION: those among them that show ports, where ports are lent."""

SERVICE_ERROR: Final = 300
"""SERVICE: an ICMP error about what was sent from a service address."""
SERVICE_LATE: Final = 250
"""SERVICE: the same, from a city that this PoP has served and serves no more."""
SERVICE_MOVED: Final = 200
"""SERVICE: the same, from a city that another PoP served before."""
SERVICE_ADDRESS: Final = 100
"""SERVICE: the destination is a service address."""
SERVICE_PORTS: Final = 20
"""SERVICE: anything else that shows ports."""
SERVICE_IPV4: Final = 10
"""SERVICE: anything else that may be for a lent address."""

BALANCE_NEXT: Final = 400
"""BALANCE: handed back by a server that was not the last to have the slot."""
BALANCE_STRAIGHT: Final = 350
"""BALANCE: handed back by the last, straight from a city that has left this PoP meanwhile."""
BALANCE_ELSEWHERE: Final = 300
"""BALANCE: handed back by the last, and another PoP served the city before."""
BALANCE_LAST: Final = 200
"""BALANCE: handed back by the last, and there is no other."""
BALANCE_SLOT: Final = 100
"""BALANCE: a slot."""

BORROWED_RETURN: Final = 400
"""BORROWED: a live (address, port set)."""
BORROWED_LANDED_ICMP: Final = 350
"""BORROWED: an ICMP message that another PoP sent here."""
BORROWED_LANDED: Final = 300
"""BORROWED: sent home by another PoP, yet nobody here holds it; must not travel again."""
BORROWED_ABROAD: Final = 250
"""BORROWED: a live (address, port set) of a borrower in another PoP."""
BORROWED_HOME: Final = 200
"""BORROWED: an address that is at home in another PoP."""
BORROWED_ICMP: Final = 150
"""BORROWED: an ICMP message for an address that is at home nowhere else."""
BORROWED_UNLENT: Final = 100
"""BORROWED: the rest of the pool."""

ROUTE_NOT_LANDED: Final = 440
"""ROUTE: on a label that carries no dead link and has not landed, where a PoP has a stand-in."""
ROUTE_INTACT: Final = 420
"""ROUTE: on a label that carries no dead link, or on one that carries this one."""
ROUTE_LABEL: Final = 400
"""ROUTE: on a label."""
ROUTE_STEER_APART: Final = 310
"""ROUTE: the same, to a service address that not every PoP announces."""
ROUTE_STEER: Final = 300
"""ROUTE: not labelled yet, but to an address that every PoP announces."""
ROUTE_HOST: Final = 200
"""ROUTE: to a host on this switch."""
ROUTE_PREFIX: Final = 100
"""ROUTE: to a host on another switch, or to nobody on this one."""
ROUTE_UPLINK: Final = 50
"""ROUTE: from a PoP to the rest of the world."""

OTHERWISE: Final = 0
"""Every table: what nothing else matches."""
