"""An authoritative name server without sockets: a message in, a message out (RFC 1034, 1035).

Every host name in the zone, its apex included, has one address of each family, which a binding
chooses anew for each query. What is no host name (RFC 1123 section 2.1; ``_dmarc``, say) does not
exist. No answer is longer than 512 bytes, so none is ever truncated. Which of the servers of an
anycast address has answered is told by ``id.server`` and ``hostname.bind`` (RFC 4892).
"""

from __future__ import annotations

import re

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from topologies import family as families
from topologies.binding import Binding

__all__ = ["PAYLOAD", "TTL_S", "Zone"]

TTL_S = 10
"""For so long resolvers keep an answer, or that there is none (RFC 2308)."""

PAYLOAD = 1232
"""The largest datagram that is taken (the DNS flag day of 2020: no fragments)."""

_HEADER = 12
_HOST_LABEL = re.compile(rb"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?")
_TRANSFERS = (dns.rdatatype.AXFR, dns.rdatatype.IXFR)
_WHO = tuple(map(dns.name.from_text, ("id.server", "hostname.bind")))
_FAMILIES: dict[dns.rdatatype.RdataType, families.Family] = {
    dns.rdatatype.A: 4,
    dns.rdatatype.AAAA: 6,
    dns.rdatatype.ANY: 4,  # one of the sets is enough (RFC 8482 section 4.1)
}


class Zone:
    """A zone and how its names are bound to addresses; ``origin`` is its name.

    ``server`` is who answers, by at most 255 ASCII characters. ``bind`` may be another one at any
    time.
    """

    def __init__(self, origin: str, bind: Binding, server: str) -> None:
        self._origin = dns.name.from_text(origin)
        self._server = server
        self.bind = bind
        server, contact = (f"{label}.{self._origin}" for label in ("ns", "hostmaster"))
        self._apex = {
            dns.rdatatype.NS: server,
            dns.rdatatype.SOA: f"{server} {contact} 1 3600 600 86400 {TTL_S}",
        }

    def answer(self, wire: bytes) -> bytes | None:
        """The answer to a message; None to one that is no query, so that no two servers talk."""
        if len(wire) < _HEADER or wire[2] & 0x80:
            return None
        if wire[2] & 0x78:
            return _bare(wire, dns.rcode.NOTIMP)
        try:
            query = dns.message.from_wire(wire)
        except dns.exception.DNSException:
            return _bare(wire, dns.rcode.FORMERR)
        if len(query.question) != 1:
            return _bare(wire, dns.rcode.FORMERR)
        answer = dns.message.make_response(query, our_payload=PAYLOAD, pad=0)
        if query.edns > 0:
            answer.set_rcode(dns.rcode.BADVERS)
        else:
            self._fill(answer, query.question[0])
        return answer.to_wire()

    def _fill(self, answer: dns.message.Message, asked: dns.rrset.RRset) -> None:
        """Put in what the zone says of a name and a type."""
        if asked.rdclass == dns.rdataclass.CH and asked.name in _WHO:
            answer.flags |= dns.flags.AA
            if asked.rdtype == dns.rdatatype.TXT:
                answer.answer.append(self._who(asked.name))
            return
        ours = asked.name.is_subdomain(self._origin) and asked.rdclass == dns.rdataclass.IN
        if not ours or asked.rdtype in _TRANSFERS:
            answer.set_rcode(dns.rcode.REFUSED)
            return
        answer.flags |= dns.flags.AA
        if not self._exists(asked.name):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        elif found := self._records(asked):
            answer.answer.append(found)
            return
        answer.authority.append(self._of_apex(self._origin, dns.rdatatype.SOA))

    def _exists(self, name: dns.name.Name) -> bool:
        below = name.labels[: -len(self._origin.labels)]
        return all(map(_HOST_LABEL.fullmatch, below))

    def _records(self, asked: dns.rrset.RRset) -> dns.rrset.RRset | None:
        """The records of a type that an existing name has."""
        if asked.name == self._origin and asked.rdtype in self._apex:
            return self._of_apex(asked.name, asked.rdtype)
        family = _FAMILIES.get(asked.rdtype)
        if family is None:
            return None
        name = asked.name.to_text(omit_final_dot=True).lower()
        address = families.address(self.bind(name), family)
        kind = dns.rdatatype.A if family == 4 else dns.rdatatype.AAAA
        return dns.rrset.from_text(asked.name, TTL_S, dns.rdataclass.IN, kind, str(address))

    def _who(self, name: dns.name.Name) -> dns.rrset.RRset:
        kind = dns.rdatatype.TXT
        return dns.rrset.from_text(name, 0, dns.rdataclass.CH, kind, f'"{self._server}"')

    def _of_apex(self, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> dns.rrset.RRset:
        return dns.rrset.from_text(name, TTL_S, dns.rdataclass.IN, kind, self._apex[kind])


def _bare(wire: bytes, code: dns.rcode.Rcode) -> bytes:
    """An answer that is a header alone: the query's number, opcode and RD, and a code below 16."""
    return wire[:2] + bytes([0x80 | wire[2] & 0x79, code]) + bytes(8)
