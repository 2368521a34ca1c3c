"""Egress without a way home: a server sends by the address that all share, and waits for replies.

A reply lands where anycast brings it. In another PoP nobody knows its connection. At home it is
spread over the servers like any new connection, so about one in as many as there are servers there
finds the one that waits for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.verdict.result import Check

if TYPE_CHECKING:
    import pandas as pd

    from topologies.plan import Plan

__all__ = ["plain_anycast_checks"]

ENOUGH = 7.0
"""Of so many that should come back none does once in a thousand times (Poisson: exp(-7))."""


def plain_anycast_checks(fetches: pd.DataFrame, plan: Plan) -> tuple[Check, Check]:
    """Replies that land elsewhere are lost, all of them; of those at home some come back.

    ``fetches`` have ``pop`` and ``landing_pop``, the server's own and that of the reply by the
    model, and ``outcome``.
    """
    away = fetches[fetches["pop"] != fetches["landing_pop"]]
    home = fetches[fetches["pop"] == fetches["landing_pop"]]
    return _away(away, len(fetches)), _home(home, plan)


def _away(away: pd.DataFrame, total: int) -> Check:
    name = "control: plain anycast loses the replies that land elsewhere"
    if total and away.empty:
        return Check(name, None, "in this network every reply lands in its server's own PoP")
    lost = int((away["outcome"] != "ok").sum())
    return Check(name, 0 < len(away) == lost, f"{lost} of {len(away)} were lost; {total} in all")


def _home(home: pd.DataFrame, plan: Plan) -> Check:
    name = "twin: some that land at home find their server"
    expected = sum(1 / len(plan.servers_of(str(pop))) for pop in home["pop"])
    back = int((home["outcome"] == "ok").sum())
    told = f"{back} of {len(home)} came back; spread evenly it is {expected:.0f}"
    passed = None if back == 0 and expected < ENOUGH else back > 0
    return Check(name, passed, told)
