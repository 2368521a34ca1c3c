"""What can happen to a running network: the words of the event log and of all who change it.

An event is a fact, frozen and plain. Those in `Event` change the world (``controller.core.world``)
and so may change rules; `Note` is what people and studies want to find in the log beside them.
``dump`` and ``parse`` are inverse, for the log and for doors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from ipaddress import IPv4Address
from typing import Any, get_origin, get_type_hints

from controller.core.lease import Lease, LeaseState
from topologies.model import Balancing, Policy, Scope


class PopState(StrEnum):
    """What a PoP tells the world of the anycast addresses."""

    ANNOUNCED = "announced"
    DRAINED = "drained"  # serves only cities that reach no announced PoP
    WITHDRAWN = "withdrawn"  # serves nobody; what is borrowed there stays at home there


@dataclass(frozen=True, slots=True)
class LeaseChanged:
    """A port set's entry in the book is ``lease`` from now on."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class PolicySet:
    """Cities choose their PoP by another policy."""

    policy: Policy


@dataclass(frozen=True, slots=True)
class OverrideSet:
    """A city goes to ``pop`` whatever the policy says; None gives it back to the policy."""

    city: str
    pop: str | None


@dataclass(frozen=True, slots=True)
class PopSet:
    """A PoP is announced, drained or withdrawn."""

    pop: str
    state: PopState


@dataclass(frozen=True, slots=True)
class ServiceSet:
    """A PoP announces one service address, or withdraws it and keeps the others."""

    service: IPv4Address
    pop: str
    announced: bool


@dataclass(frozen=True, slots=True)
class ShareSet:
    """A PoP's share of the cities under policy weighted; 0 takes none."""

    pop: str
    weight: int


@dataclass(frozen=True, slots=True)
class PrependSet:
    """A PoP's announcements name us ``times`` times more (policy bgp)."""

    pop: str
    times: int


@dataclass(frozen=True, slots=True)
class ScopeSet:
    """How far a PoP's announcements go (policy bgp)."""

    pop: str
    scope: Scope


@dataclass(frozen=True, slots=True)
class ShedSet:
    """A city is moved off a PoP that has too much to do, or may return to it (policy capacity)."""

    city: str
    pop: str
    shed: bool


@dataclass(frozen=True, slots=True)
class CityMoved:
    """A city was served by ``before`` until now, which may hold connections of its clients."""

    city: str
    before: str


@dataclass(frozen=True, slots=True)
class CityHeld:
    """A city has not heard of a change yet: it goes by the ranking of before."""

    city: str
    pops: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CityConverged:
    """A city has heard of all changes."""

    city: str


@dataclass(frozen=True, slots=True)
class CitySettled:
    """No connection is waited for any more that a city has in PoPs which served it before."""

    city: str


@dataclass(frozen=True, slots=True)
class PopSettled:
    """The same of connections to servers that had other shares before."""

    pop: str


@dataclass(frozen=True, slots=True)
class BalancingSet:
    """PoPs spread flows by another scheme, with or without a second chance."""

    scheme: Balancing
    second_chance: bool


@dataclass(frozen=True, slots=True)
class WeightSet:
    """A server's share of its PoP's new connections; 0 takes it out."""

    server: str
    weight: int


@dataclass(frozen=True, slots=True)
class HealthSet:
    """A server can serve, or cannot, by somebody's word."""

    server: str
    healthy: bool


@dataclass(frozen=True, slots=True)
class HealthSeen:
    """A server has fallen silent by the controller's own checks, or answers them again."""

    server: str
    answers: bool


@dataclass(frozen=True, slots=True)
class PortStatus:
    """A switch's port has a carrier, or has none (OpenFlow 1.3.5 section 7.4.3)."""

    switch: str
    port: int
    up: bool


@dataclass(frozen=True, slots=True)
class MetricSet:
    """Routes take a link (by number) to be ``delay_ns`` long; None: as long as it was planned."""

    link: int
    delay_ns: int | None


@dataclass(frozen=True, slots=True)
class SwitchSet:
    """A switch came to the controller, or went. No rule depends on it."""

    switch: str
    connected: bool


@dataclass(frozen=True, slots=True)
class LeaderSet:
    """Of several controllers one leads from now on, in a generation of its own."""

    leader: str
    generation: int


@dataclass(frozen=True, slots=True)
class Mark:
    """A person's or a study's own words."""

    text: str


@dataclass(frozen=True, slots=True)
class Command:
    """Somebody's word to the lab, ``link.cut``, with what it was said of."""

    word: str
    params: dict[str, Any]


Event = (
    LeaseChanged
    | PolicySet
    | OverrideSet
    | PopSet
    | ServiceSet
    | ShareSet
    | PrependSet
    | ScopeSet
    | ShedSet
    | CityMoved
    | CityHeld
    | CityConverged
    | CitySettled
    | PopSettled
    | BalancingSet
    | WeightSet
    | HealthSet
    | HealthSeen
    | PortStatus
    | MetricSet
)
"""What changes the world."""

Note = SwitchSet | LeaderSet | Mark | Command
"""What is logged and changes no rule."""

_KINDS: Mapping[str, type[Event | Note]] = {
    kind.__name__: kind for kind in (*Event.__args__, *Note.__args__)
}


def dump(event: Event | Note) -> dict[str, Any]:
    """The event as plain data for JSON: its kind and its fields."""
    found: dict[str, Any] = {"event": type(event).__name__}
    if isinstance(event, LeaseChanged):
        lease = event.lease._asdict()
        lease["address"] = str(event.lease.address)
        return found | {"lease": lease}
    return found | {
        name: str(value) if isinstance(value, IPv4Address) else value
        for name, value in asdict(event).items()
    }


LARGEST = (1 << 63) - 1
"""No number of an event is larger: a store keeps them in 64 bits."""


def parse(data: Mapping[str, Any]) -> Event | Note:
    """The event that ``dump`` described. Raises ValueError for anything else."""
    kind = _KINDS.get(str(data.get("event")))
    given = {name: value for name, value in data.items() if name != "event"}
    if kind is None:
        raise ValueError(f"there is no event {data.get('event')!r}: {', '.join(_KINDS)}")
    if kind is LeaseChanged:
        given["lease"] = _lease(given.get("lease"))
    hints = get_type_hints(kind)
    if given.keys() != hints.keys():
        raise ValueError(f"{kind.__name__} has {', '.join(hints)}, not {', '.join(given)}")
    return kind(**{name: _value(name, given[name], hints[name]) for name in hints})


def of_record(record: Mapping[str, Any]) -> Event | Note:
    """The event in a record of the log, as REST and run folders have it. Raises ValueError."""
    about = ("number", "at_ns", "monotonic_ns")
    return parse({name: value for name, value in record.items() if name not in about})


def sentence(event: Event | Note) -> str:
    """The event in a few words, for people."""
    match event:
        case LeaseChanged(lease):
            whom = f" {_TO[lease.state]} {lease.server}" if lease.server else ""
            heir = f" for {lease.heir}" if lease.heir else ""
            ports = f"{lease.first_port}-{lease.last_port}"
            return f"{lease.address} ports {ports}: {lease.state.value}{whom}{heir}"
        case PolicySet(policy):
            return f"cities are steered by policy {policy.value}"
        case OverrideSet(city, pop):
            return f"{city} goes {'where the policy says' if pop is None else f'to {pop}'}"
        case PopSet(pop, state):
            return f"PoP {pop} is {state.value}"
        case ServiceSet(service, pop, announced):
            return f"PoP {pop} {'announces' if announced else 'withdraws'} {service}"
        case ShareSet(pop, weight):
            return f"PoP {pop} has weight {weight}"
        case PrependSet(pop, times):
            return f"PoP {pop} prepends {times} times"
        case ScopeSet(pop, scope):
            return f"PoP {pop} is announced to {scope.value}"
        case ShedSet(city, pop, shed):
            return f"{city} {'is shed from' if shed else 'may return to'} PoP {pop}"
        case CityMoved(city, before):
            return f"{city} leaves PoP {before}"
        case CityHeld(city, pops):
            return f"{city} has not heard yet and goes to {pops[0] if pops else 'nobody'}"
        case CityConverged(city):
            return f"{city} has heard of all changes"
        case CitySettled(city):
            return f"{city} has nothing left in PoPs that served it before"
        case PopSettled(pop):
            return f"PoP {pop} waits for no more connections of before"
        case BalancingSet(scheme, second_chance):
            chance = "with" if second_chance else "without"
            return f"flows are spread by {scheme.value}, {chance} a second chance"
        case WeightSet(server, weight):
            return f"{server} has weight {weight}"
        case HealthSet(server, healthy):
            return f"{server} is {'well' if healthy else 'sick'}"
        case HealthSeen(server, answers):
            return f"{server} {'answers' if answers else 'is silent'}"
        case PortStatus(switch, port, up):
            return f"{switch} port {port} is {'up' if up else 'down'}"
        case MetricSet(link, delay_ns):
            length = "as long as planned" if delay_ns is None else f"{delay_ns / 1e6:g} ms long"
            return f"routes take link {link} to be {length}"
        case SwitchSet(switch, connected):
            return f"{switch} {'came' if connected else 'went away'}"
        case LeaderSet(leader, generation):
            return f"{leader} leads (generation {generation})"
        case Mark(text):
            return "".join(letter if letter.isprintable() else " " for letter in text)
        case Command(word, params):
            subject, *more = params.items()
            others = "".join(f", {name} {value}" for name, value in more)
            return f"{word.replace('.', ' ')} {subject[1]}{others}"


_TO: Mapping[LeaseState, str] = {
    LeaseState.FREE: "by",
    LeaseState.LENT: "to",
    LeaseState.DRAINING: "by",
    LeaseState.QUARANTINED: "after",
}


def _value(name: str, value: Any, wanted: Any) -> Any:
    """A field's value as its type. Raises ValueError."""
    if isinstance(wanted, type) and issubclass(wanted, StrEnum):
        try:
            return wanted(value)
        except ValueError:
            raise ValueError(f"{name} is one of {', '.join(wanted)}, not {value!r}") from None
    if wanted is IPv4Address:
        try:
            return IPv4Address(str(value))
        except ValueError:
            raise ValueError(f"{name} is an IPv4 address, not {value!r}") from None
    if get_origin(wanted) is tuple:
        if isinstance(value, list | tuple) and all(isinstance(part, str) for part in value):
            return tuple(value)
        raise ValueError(f"{name} is a list of words, not {value!r}")
    kind = dict if get_origin(wanted) is dict else wanted
    if not isinstance(value, kind) or (isinstance(value, bool) and wanted is not bool):
        raise ValueError(f"{name} is {getattr(wanted, '__name__', wanted)}, not {value!r}")
    if isinstance(value, int) and not -LARGEST <= value <= LARGEST:
        raise ValueError(f"{name} is too large")
    if isinstance(value, dict) and not all(map(_is_plain, value.values())):
        raise ValueError(f"{name} are words, numbers, or lists of them")
    if value == {}:
        raise ValueError(f"{name} are none: the first is what the word is said of")
    return value


def _is_plain(value: Any) -> bool:
    """Whether a parameter is a word, a number, or a list of such."""
    parts = value if isinstance(value, list) else [value]
    return all(part is None or isinstance(part, str | int | float) for part in parts)


def _lease(data: Any) -> Lease:
    try:
        address, state = IPv4Address(data["address"]), LeaseState(data["state"])
        return Lease(**data | {"address": address, "state": state})
    except (KeyError, TypeError) as error:
        raise ValueError(f"this is no lease: {data}") from error
