"""Where do clients land? By the word of the server that answers, and by what comes back to us."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.study import Trial
from topologies.plan import HostPlan, HostRole


def asked(t: Trial, clients: Sequence[HostPlan]) -> dict[str, dict[str, str]]:
    """PoP and server that answered each client's GET /trace."""
    from experiments.measure.http import Request, get

    requests = [Request(client.name, t.service) for client in clients]
    rows = get(requests, timeout_s=t.param("timeout_s"), spacing_s=0.01)
    return {row.host: dict(row.fields) for row in rows if row.outcome == "ok"}


def probed(t: Trial, clients: Sequence[HostPlan]) -> dict[str, dict[str, list[str]]]:
    """By client and probing PoP: the PoPs where replies to the anycast address landed.

    So Verfploeter maps catchments (de Vries et al., IMC 2017).

    The reply reaches any server of the PoP that it lands in, so all of them are watched.
    """
    from experiments.measure.echo import EchoProbe
    from experiments.measure.witness import Marked

    pairs = [(client, edge.city) for client in clients for edge in t.plan.edges]
    probes = [
        EchoProbe(t.plan.servers_of(pop)[0].name, t.address(client), source=t.service)
        for client, pop in pairs
    ]
    token = t.random.randbytes(8)
    with Marked([server.name for server in t.plan.hosts_of(HostRole.SERVER)], token) as watch:
        t.ping(probes, count=1, token=token)
        seen = watch.seen()
    found: dict[str, dict[str, list[str]]] = {client.name: {} for client in clients}
    for number, (client, pop) in enumerate(pairs):
        servers = seen.get(number, ())
        found[client.name][pop] = sorted({t.plan.host(server).city for server in servers})
    return found
