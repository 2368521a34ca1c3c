"""``poplab ps``, ``status``, ``watch``, ``link cut`` ...: running labs from any terminal.

The commands that do something are made from ``words``: what a lab understands on its socket is
what can be typed, with the names of that lab completed by the shell.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Mapping
from typing import Annotated, Any, get_type_hints

import typer

from experiments.control import lease_commands, places, scenario
from experiments.control.client import Remote
from experiments.control.options import Json, LabName, remote_of
from experiments.control.words import words
from experiments.errors import TrialError, UsageError
from experiments.show.terminal import console, put, put_table

SUBJECTS = {
    "link": "Cut, slow, silence and restore links.",
    "pop": "Drain, withdraw and announce PoPs.",
    "service": "Announce and withdraw single service addresses.",
    "city": "Send a city to a PoP of your choice.",
    "names": "Which service addresses names are bound to.",
    "policy": "How cities choose their PoP.",
    "balancing": "How PoPs spread flows over their servers.",
    "server": "A server's health and its share of new connections.",
    "target": "Flood a host, an address or a port set from all clients, and spare it.",
    "lease": "Who has borrowed what; lend, move and take away port sets.",
    "program": "End, kill, stop and restart the lab's programs.",
}


def add_to(app: typer.Typer) -> None:
    """Add the commands for running labs."""
    for command in (ps, status, links, probe, events, watch, explain):
        app.command()(command)
    groups = {
        subject: typer.Typer(help=text, no_args_is_help=True) for subject, text in SUBJECTS.items()
    }
    for name, method in words().items():
        subject, dot, verb = name.partition(".")
        if dot:
            groups[subject].command(verb)(_command(name, method))
    for verb, shown in lease_commands.SHOWN.items():
        groups["lease"].command(verb)(shown)
    app.command("note")(_command("note", words()["note"]))
    for subject, group in groups.items():
        app.add_typer(group, name=subject)


def _command(name: str, method: Callable[..., Any]) -> Callable[..., None]:
    """The command that says a word, with the word's own parameters."""
    hints = get_type_hints(method)
    parameters = list(inspect.signature(method).parameters.values())[1:]

    def say(lab: str | None = None, **given: Any) -> None:
        answer = remote_of(lab).call(name, **{k: v for k, v in given.items() if v is not None})
        if answer is not None:
            put(answer)

    shown = [
        p.replace(annotation=_shown(p.name, hints[p.name], optional=p.default is not p.empty))
        for p in parameters
    ]
    lab = inspect.Parameter("lab", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=LabName)
    signature = inspect.Signature([p.replace(kind=lab.kind) for p in shown] + [lab])
    say.__signature__ = signature  # type: ignore[attr-defined]
    say.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
    say.__doc__ = method.__doc__
    return say


def _shown(name: str, hint: Any, *, optional: bool) -> Any:
    """A parameter as Typer takes it: what must be said is an argument, the rest are options."""
    if optional:
        return Annotated[hint, typer.Option()]
    return Annotated[hint, typer.Argument(autocompletion=_completer(name))]


def _completer(subject: str) -> Callable[[str], list[str]]:
    """The names of a subject in the lab that runs."""

    def complete(incomplete: str) -> list[str]:
        try:
            names = remote_of(None).call("names").get(subject, [])
        except (TrialError, UsageError):
            return []
        return [name for name in names if name.startswith(incomplete)]

    return complete


def ps(as_json: Json = False) -> None:
    """The labs of this host that you may control."""
    found: dict[str, Mapping[str, Any]] = {}
    for name, path in places.labs().items():
        try:
            found[name] = Remote(path).call("status")
        except TrialError:
            found[name] = {
                "network": "?",
                "purpose": "starting or ending",
                "up_s": 0,
                "ready": False,
            }
    if as_json:
        put(found)
    elif found:
        rows = [
            (name, x["network"], x["purpose"], f"{x['up_s']:.0f} s", "yes" if x["ready"] else "no")
            for name, x in found.items()
        ]
        put_table(("lab", "network", "what for", "up", "ready"), rows)
    else:
        sys.stdout.write("No lab is running: start one with `poplab up NETWORK`.\n")


def status(lab: LabName = None, as_json: Json = False) -> None:
    """How a lab is: its switches, whom they serve, what is lent."""
    from experiments.control import screen

    remote = remote_of(lab)
    if as_json:
        put(remote.call("status") | {"world": remote.call("world")})
    else:
        console().print(screen.overview(screen.look(remote)))


def probe(lab: LabName = None, as_json: Json = False) -> None:
    """Ping the service once from every client: how long each round trip took."""
    found = remote_of(lab).call("probe")
    if as_json:
        put(found)
        return
    times = ((x["client"], x["rtt_ms"]) for x in found)
    rows = [(client, "lost" if ms is None else f"{ms:.3f} ms") for client, ms in times]
    put_table(("client", "round trip"), rows)


def links(lab: LabName = None, as_json: Json = False) -> None:
    """What every link does, and what it lost."""
    found = remote_of(lab).call("links")
    if as_json:
        put(found)
        return
    rows = []
    for link in found:
        there, back = link["ways"]
        does = [f"{there.get('delay_ns', 0) / 1e6:.3f} ms"]
        does += [f"loss {there['loss']:g}"] if "loss" in there else []
        does += ["blackhole"] if there.get("blackhole") else []
        lost = sum(sum(way["drops"].values()) for way in (there, back))
        cut = "cut" if link["cut"] else ", ".join(does)
        rows.append(
            (link["link"], link["kind"], cut, str(there["packets"] + back["packets"]), str(lost))
        )
    put_table(("link", "kind", "one way", "packets", "lost"), rows)


def events(
    lab: LabName = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what happens.")
    ] = False,
    as_scenario: Annotated[
        bool, typer.Option("--scenario", help="What was done by hand, as a scenario file.")
    ] = False,
    as_json: Json = False,
) -> None:
    """What happened in a lab, in order."""
    from experiments.control import screen

    remote = remote_of(lab)
    if as_scenario:
        sys.stdout.write(scenario.dump(scenario.of_log(remote.call("events"))))
        return
    for event in remote.events() if follow else remote.call("events"):
        line = json.dumps(event) if as_json else screen.line(event)
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def explain(
    host: Annotated[str | None, typer.Argument(help="Who sends, LHR-c1.")] = None,
    destination: Annotated[str | None, typer.Argument(help="An address, or a host's name.")] = None,
    client: Annotated[
        str | None, typer.Option(help="Instead: why this client goes to its PoP.")
    ] = None,
    port: Annotated[int, typer.Option(help="Where to.")] = 80,
    protocol: Annotated[str, typer.Option(help="tcp, udp or icmp.")] = "tcp",
    source: Annotated[
        str | None, typer.Option(help="From another address, a borrowed one.")
    ] = None,
    source_port: Annotated[int, typer.Option(help="Where from.")] = 40000,
    own_words: Annotated[
        bool, typer.Option("--own-words", help="What switches and routers say of it themselves.")
    ] = False,
    lab: LabName = None,
    as_json: Json = False,
) -> None:
    """The way of a packet and of its answer, as the switches tell it; or why a client's PoP."""
    from experiments.control import choices, trace

    if client is not None and host is not None:
        raise UsageError("Ask for a packet's way or for --client: one of the two.")
    if client is not None:
        chosen = remote_of(lab).call("why", client=client)
        if as_json:
            put(chosen)
        else:
            choices.show(chosen, console())
        return
    if host is None or destination is None:
        raise UsageError("Say who sends and where to (LHR-c1 198.51.100.1), or --client LHR-c1.")
    asked = {"host": host, "destination": destination, "port": port, "protocol": protocol}
    asked |= {"source_port": source_port} | ({"source": source} if source else {})
    found = remote_of(lab).call("explain", **asked)
    if as_json:
        put(found)
    else:
        told = trace.said(found) if own_words else trace.lines(found)
        sys.stdout.write("".join(f"{line}\n" for line in told))


def watch(lab: LabName = None) -> None:
    """A lab as it changes: PoPs, whom they serve, leases, events. Ctrl-C leaves."""
    from experiments.control import screen

    try:
        screen.show(remote_of(lab), console())
    except KeyboardInterrupt:
        raise typer.Exit from None
