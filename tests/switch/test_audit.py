"""The audit says what differs between book, store and switches, and nothing else."""

from __future__ import annotations

from struct import pack

import pytest

from controller.audit import Audit, audit
from controller.core.lease import Lease
from tests.fakes.inside import PLAN, SERVERS, Inside, inside


def _lent(w: Inside) -> list[Lease]:
    leases = [w.lender.lend(server)[0] for server in SERVERS]
    w.settle()
    return leases


def _audit(w: Inside) -> Audit:
    return audit(w.loop, w.book, w.store)


def _only(found: Audit, name: str) -> tuple[list[str], list[str]]:
    """What one switch lacks and has too many, and no other."""
    assert not found.agrees
    told = {n: (x.missing, x.extra) for n, x in found.switches.items() if x.missing or x.extra}
    assert told.keys() == {name}
    missing, extra = told[name]
    assert missing is not None
    assert extra is not None
    return missing, extra


def test_all_agree_when_nothing_is_wrong() -> None:
    w = inside()
    leases = _lent(w)
    found = _audit(w)
    assert found.agrees
    assert found.entries == len(leases)
    assert found.describe()["agrees"]


def test_a_rule_that_went_and_one_that_came_are_named() -> None:
    w = inside()
    (lease, *_) = _lent(w)
    flows = w.tables["eLHR"].flows
    key = next(k for k, (cookie, _) in flows.items() if cookie >> 32 & 0xFF == 9)
    gone = flows.pop(key)
    missing, extra = _only(_audit(w), "eLHR")
    assert len(missing) == 1
    assert "table 20 priority 400 return:" in missing[0]
    assert f"ipv4_dst={int(lease.address):#x}" in missing[0]
    assert extra == []
    flows[key] = gone
    flows[(key[0], 4000, key[2])] = gone
    missing, extra = _only(_audit(w), "eLHR")
    assert (missing, len(extra)) == ([], 1)
    assert "priority 4000" in extra[0]


def test_a_rule_that_is_not_ours_is_no_secret() -> None:
    w = inside()
    _lent(w)
    flows = w.tables["eARN"].flows
    (table, _, _), (_, instructions) = next(iter(flows.items()))
    flows[(table, 999, pack("!HH4x", 1, 4))] = (7, instructions)
    _, extra = _only(_audit(w), "eARN")
    assert "priority 999 somebody's: " in extra[0]
    flows[(77, 999, pack("!HH4x", 1, 4))] = (7, instructions)
    _, extra = _only(_audit(w), "eARN")
    assert len(extra) == 2
    assert any(text.startswith("table 77 cookie 0x7") for text in extra)


def test_a_switch_that_is_away_is_not_judged() -> None:
    w = inside()
    _lent(w)
    w.switches["eLHR"].disconnect()
    found = _audit(w)
    assert found.agrees
    assert found.switches["eLHR"].missing is None


def test_what_is_on_its_way_is_no_difference() -> None:
    w = inside()
    _lent(w)
    w.wires["eLHR"].hold = True
    server = PLAN.host("LHR-s1")
    lease = w.book.held(server.name, "any")
    assert lease is not None
    w.lender.revoke(lease.address, lease.first_port)
    w.release("eLHR")
    assert _audit(w).agrees


@pytest.mark.parametrize("where", ["store", "book"])
def test_a_store_that_says_otherwise_is_told(where: str) -> None:
    w = inside()
    (lease, *_) = _lent(w)
    if where == "store":
        w.store.entries[lease.key] = lease._replace(server="LHR-s2")
    else:
        w.book.apply(w.book.revoke(*lease.key, w.clock.at))
    found = _audit(w)
    place = f"{lease.address} port {lease.first_port}"
    assert found.store_differs == [place]
    assert found.world_differs == ([place] if where == "book" else [])
    assert not found.agrees
