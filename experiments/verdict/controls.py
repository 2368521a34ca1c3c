"""Acts that must fail, each beside a twin that differs in one lawful thing and must succeed.

Silence alone proves little: what hears a timeout cannot tell a guard from a lost packet. So the
packets themselves are watched for at the far end, and a twin shows that the way is open.

- A server **lies** about its port, then about its address: nothing may reach an origin. The same
  connect from its own port set does.
- A client **knocks** at a port set that nobody holds: nothing may reach a server, nor an answer
  the client. The same knock at a set that somebody holds is answered.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

from experiments.study import Borrowed, Trial
from experiments.verdict.result import Check
from topologies.plan import HostRole, Plan

if TYPE_CHECKING:
    from experiments.measure.tcp import TcpAttempt

FOREIGN_PORT, FOREIGN_ADDRESS, OWN_SET = "foreign port", "foreign address", "own set"
UNLENT_SET, HELD_SET = "unlent set", "held set"
LIES = (FOREIGN_PORT, FOREIGN_ADDRESS)
CONTROLS = (*LIES, OWN_SET, UNLENT_SET, HELD_SET)

ANSWERED = ("ok", "refused")
"""A refusal is an answer too: it came from the machine that was asked."""

PATIENCE_S = 8.0
"""For a twin, which must not fail because of a packet that the network lost: TCP asks again after
1, 3 and 7 s (RFC 6298)."""

_SPACING_S = 0.005


@dataclass(frozen=True, slots=True)
class Try:
    """One act: which control, who tried, at what, the PoP that must stop it, what came of it."""

    control: str
    source: str
    target: str
    pop: str
    outcome: str

    @property
    def answered(self) -> bool:
        """Whether anything came back."""
        return self.outcome in ANSWERED


_Act = tuple[str, str, str, "TcpAttempt"]
"""Control, target, PoP, and the connect."""


def lie(t: Trial) -> list[Try]:
    """Let every server lie, then say the truth; SYNs at the origins go into ``observed``."""
    from experiments.measure.witness import Witness

    origins = [origin.name for origin in t.plan.hosts_of(HostRole.ORIGIN)]
    with Witness(origins) as witness:
        with _claimed(t) as lies:
            told = _act(t, lies, t.param("timeout_s"))
        arrived = len(witness.arrived())
        true = _act(t, list(_truths(t)), PATIENCE_S)
        lawful = len(witness.arrived())
    tries = [*told, *true]
    t.observed["lies"] = {
        "tries": [asdict(one) for one in tries],
        "arrived": arrived,
        "lawful_arrived": lawful,
    }
    return tries


def knock(t: Trial) -> list[Try]:
    """Knock in vain and lawfully, from every PoP's clients at every borrowed address.

    How many of the packets reached a server, right or wrong, goes into ``observed``.
    """
    with t.judge() as judge:
        tries = _act(t, list(_knocks(t, UNLENT_SET)), t.param("timeout_s"))
        tries += _act(t, list(_knocks(t, HELD_SET)), PATIENCE_S)
        judged = judge.totals()
    t.observed["knocks"] = {"tries": [asdict(one) for one in tries], **judged}
    return tries


def _act(t: Trial, acts: Sequence[_Act], timeout_s: float) -> list[Try]:
    from experiments.measure.tcp import connect

    attempts = [attempt for *_, attempt in acts]
    rows = connect(attempts, timeout_s=timeout_s, spacing_s=_SPACING_S)
    return [
        Try(control, row.host, target, pop, row.outcome)
        for (control, target, pop, _), row in zip(acts, rows, strict=True)
    ]


@contextlib.contextmanager
def _claimed(t: Trial) -> Iterator[list[_Act]]:
    """Each server's two lies, while its kernel lets it use the address that is not its own."""
    from experiments.measure.claim import claim
    from experiments.measure.tcp import TcpAttempt

    origin = t.plan.hosts_of(HostRole.ORIGIN)[0]
    acts: list[_Act] = []
    with contextlib.ExitStack() as claims:
        for server, lease in t.leases.items():
            foreign = t.foreign_address(lease)
            claims.enter_context(claim(server, foreign))
            port = lease.foreign_port
            own = IPv4Address(lease.address)
            for control, source, ports in (
                (FOREIGN_PORT, own, (port, port)),
                (FOREIGN_ADDRESS, foreign, lease.ports),
            ):
                attempt = TcpAttempt(server, origin.address, source=source, ports=ports)
                acts.append((control, origin.name, lease.pop, attempt))
        yield acts


def _truths(t: Trial) -> Iterator[_Act]:
    from experiments.measure.tcp import TcpAttempt

    origin = t.plan.hosts_of(HostRole.ORIGIN)[0]
    for server, lease in t.leases.items():
        source = IPv4Address(lease.address)
        attempt = TcpAttempt(server, origin.address, source=source, ports=lease.ports)
        yield OWN_SET, origin.name, lease.pop, attempt


def _knocks(t: Trial, control: str) -> Iterator[_Act]:
    """From a client of each catchment at each borrowed address: at an unlent set, or a held one."""
    from experiments.measure.tcp import TcpAttempt

    by_address: dict[str, list[Borrowed]] = {}
    for lease in t.leases.values():
        by_address.setdefault(lease.address, []).append(lease)
    for client in _one_of_each_catchment(t):
        for address, leases in by_address.items():
            holder = t.random.choice(leases)
            held = t.random.randint(*holder.ports)
            port = held if control == HELD_SET else _unlent_port(leases)
            attempt = TcpAttempt(client, IPv4Address(address), port=port)
            yield control, address, holder.pop, attempt


def _one_of_each_catchment(t: Trial) -> list[str]:
    chosen: dict[str, str] = {}
    for client in t.plan.hosts_of(HostRole.CLIENT):
        chosen.setdefault(t.oracle.nearest_pops(client.name)[0], client.name)
    return list(chosen.values())


def _unlent_port(leases: Sequence[Borrowed]) -> int:
    """The first port of a set of this address that nobody holds; set 0 is never lent."""
    size = leases[0].last_port - leases[0].first_port + 1
    held = {lease.first_port for lease in leases}
    return next((first for first in range(size, 65536, size) if first not in held), 80)


# -- what the evidence says


def lie_checks(observed: Mapping[str, Any]) -> tuple[Check, ...]:
    """Whether no lie reached an origin, and the truth did."""
    lies = observed["lies"]
    tries = _tries(lies)
    return (
        _silent(tries, FOREIGN_PORT, "a server that uses a port outside its set"),
        _silent(tries, FOREIGN_ADDRESS, "a server that uses an address it never borrowed"),
        Check(
            "control: no lie reaches an origin",
            lies["arrived"] == 0,
            f"{lies['arrived']} SYNs with a source that was never lent arrived",
        ),
        _answered(
            "twin: a server that uses its own port set is answered",
            [one for one in tries if one.control == OWN_SET],
            lies["lawful_arrived"],
            "SYNs arrived",
        ),
    )


def knock_checks(observed: Mapping[str, Any]) -> tuple[Check, ...]:
    """Whether no knock at an unlent set reached a server, and those at held sets did."""
    knocks = observed["knocks"]
    tries = _tries(knocks)
    return (
        _silent(tries, UNLENT_SET, "a port set that nobody holds"),
        Check(
            "control: no knock at an unlent set reaches a server",
            knocks["misdelivered"] == 0,
            f"{knocks['misdelivered']} packets reached a server that does not hold their port",
        ),
        _answered(
            "twin: a port set that somebody holds answers",
            [one for one in tries if one.control == HELD_SET],
            knocks["delivered"],
            "packets were delivered",
        ),
    )


def drop_checks(
    plan: Plan, observed: Mapping[str, Any], dropped: Mapping[str, Mapping[str, int]]
) -> tuple[Check, ...]:
    """Whether each PoP's switch dropped and counted at least what was tried behind it.

    ``dropped`` is packets by switch and duty during the acts.
    """
    lies = [one.pop for one in _tries(observed["lies"]) if one.control in LIES]
    knocks = [one.pop for one in _tries(observed["knocks"]) if one.control == UNLENT_SET]
    return (
        counted_at_each_pop(
            "spoofed packets are counted at every PoP", "spoof", lies, plan, dropped
        ),
        counted_at_each_pop(
            "unlent packets are counted at every PoP", "unlent", knocks, plan, dropped
        ),
    )


def _tries(facts: Mapping[str, Any]) -> list[Try]:
    return [Try(**fields) for fields in facts["tries"]]


def _silent(tries: Sequence[Try], control: str, who: str) -> Check:
    mine = [one for one in tries if one.control == control]
    # "no address" would mean that the host's own kernel refused, and our guard was never asked.
    others = sorted({one.outcome for one in mine} - {"timeout"})
    silent = sum(one.outcome == "timeout" for one in mine)
    return Check(
        f"control: {who} gets nothing",
        0 < len(mine) == silent,
        f"{silent} of {len(mine)} tries met silence" + "".join(f"; {other}" for other in others),
    )


def _answered(name: str, lawful: Sequence[Try], packets: int, how: str) -> Check:
    """A twin: every lawful try was answered, and at least as many packets were seen to arrive."""
    answered = sum(one.answered for one in lawful)
    return Check(
        name,
        0 < len(lawful) == answered and packets >= len(lawful),
        f"{answered} of {len(lawful)}; {packets} {how}",
    )


def counted_at_each_pop(
    name: str,
    duty: str,
    tries: Sequence[str],
    plan: Plan,
    dropped: Mapping[str, Mapping[str, int]],
) -> Check:
    """Silence alone proves little: each PoP's switch must have counted what it stopped.

    ``tries`` names the PoP of every try; ``dropped`` is packets by switch and duty.
    """
    short = []
    total = 0
    for pop, tried in Counter(tries).items():
        counted = dropped.get(plan.edge(pop).name, {}).get(duty, 0)
        total += counted
        if counted < tried:
            short.append(f"{pop} counted {counted} of {tried}")
    return Check(name, bool(tries) and not short, "; ".join(short) or f"{total} for {len(tries)}")
