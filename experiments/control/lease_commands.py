"""``poplab lease ls``, ``who``, ``pool``, ``usage``, ``audit``: what is lent, in use, and left."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from experiments.control.options import Json, LabName, remote_of
from experiments.errors import UsageError
from experiments.show.terminal import put, put_table

__all__ = ["SHOWN"]


def leases(lab: LabName = None, as_json: Json = False) -> None:
    """Who has borrowed what."""
    found = remote_of(lab).call("leases")
    if as_json:
        put(found)
        return
    rows = [
        (
            x["address"],
            f"{x['first_port']}-{x['last_port']}",
            x["tag"],
            x["server"] + (f" as {x['client_id']}" if x["client_id"] else ""),
            x["home"],
            x["state"] + (f" for {x['heir']}" if x["heir"] else ""),
            f"{x['expires_in_s']:.0f} s",
        )
        for x in found
    ]
    put_table(("address", "ports", "tag", "server", "home", "state", "left"), rows)


def who(
    lease: Annotated[str, typer.Argument(help="An address and a port, 203.0.113.0:2048.")],
    at: Annotated[
        str | None, typer.Option(help="When: 2026-11-26T05:00:00, UTC unless it says.")
    ] = None,
    ago: Annotated[str | None, typer.Option(help='How long ago: "90 s".')] = None,
    lab: LabName = None,
    as_json: Json = False,
) -> None:
    """Who might use a port of an address, now or at a time: from the book alone, no flow logs."""
    given = {"at_ns": None if at is None else _time_ns(at), "ago": ago}
    said = {name: value for name, value in given.items() if value is not None}
    found = remote_of(lab).call("who", lease=lease, **said)
    if as_json:
        put(found)
        return
    since, ended = (_clock(found[name]) for name in ("since_ns", "ended_ns"))
    until = f"until {ended}" if ended else "and holds it still"
    ports = f"{found['first_port']}-{found['last_port']}"
    sys.stdout.write(
        f"{found['server']} in {found['pop']}: {found['address']} ports {ports}, tagged"
        f" {found['tag']}, from {since} {until} (lending {found['number']}).\n"
    )


def audit(lab: LabName = None, as_json: Json = False) -> None:
    """Compare the book with its store and with what switches hold; exit code 1 if they differ."""
    found = remote_of(lab).call("audit")
    if as_json:
        put(found)
    else:
        sys.stdout.write("".join(f"{line}\n" for line in _audited(found)))
    if not found["agrees"]:
        raise typer.Exit(1)


def _audited(found: Mapping[str, Any]) -> list[str]:
    """An audit in words."""
    lines = [
        f"{place}: the {where} and the book differ"
        for where in ("world", "store")
        for place in found[f"{where}_differs"]
    ]
    for name, switch in found["switches"].items():
        if switch["missing"] is None:
            lines.append(f"{name} is away or being read: not compared")
            continue
        lines += [f"{name} lacks {rule}" for rule in switch["missing"]]
        lines += [f"{name} has too many: {rule}" for rule in switch["extra"]]
    entries = f"{found['entries']} port sets, {found['rules']} rules"
    agree = "book, store and switches agree" if found["agrees"] else "they do not agree"
    return [*lines, f"{entries}: {agree}."]


def pool(lab: LabName = None, as_json: Json = False) -> None:
    """How much of the pools is lent, drains, is in quarantine, and is free."""
    found = remote_of(lab).call("pool")
    if as_json:
        put(found)
        return
    rows = []
    for tag, there in found.items():
        parts = ("addresses", "sets", "lent", "draining", "quarantined")
        pops = sorted(there["pops"].items())
        rows += [(tag, pop, *(str(x[part]) for part in parts)) for pop, x in pops]
        _, sets, *ports = (sum(x[part] for _, x in pops) for part in parts)
        share = f"{there['taken']} of {there['there_are']}"
        rows.append((tag, "all", share, str(sets), *map(str, ports)))
    put_table(("tag", "PoP", "addresses", "sets", "ports lent", "draining", "quarantined"), rows)


def usage(lab: LabName = None, as_json: Json = False) -> None:
    """How many ports are in use towards each destination, of the last five minutes and before."""
    found = remote_of(lab).call("usage")
    if as_json:
        put(found)
        return
    rows = [
        (
            datetime.fromtimestamp(x["begin_s"], UTC).strftime("%H:%M"),
            x["pop"],
            x["address"],
            f"{x['origin']} {x['protocol']}",
            str(x["ports"]),
            f"{x['used_avg']:.1f}",
            str(x["used_max"]),
            f"{x['share_avg']:.1%}",
            f"{x['share_max']:.1%}",
        )
        for x in found
    ]
    names = ("from", "PoP", "address", "towards", "ports", "in use", "most", "share", "most")
    put_table(names, rows)


def _time_ns(text: str) -> int:
    """A time of day as nanoseconds since the epoch. Raises UsageError."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is no time: {error}.") from None
    return int(found.replace(tzinfo=found.tzinfo or UTC).timestamp() * 1e9)


def _clock(at_ns: int | None) -> str | None:
    """Nanoseconds since the epoch as UTC to the millisecond."""
    if at_ns is None:
        return None
    return datetime.fromtimestamp(at_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + " UTC"


SHOWN: Mapping[str, Callable[..., None]] = {
    "ls": leases,
    "who": who,
    "audit": audit,
    "pool": pool,
    "usage": usage,
}
"""The commands by their verbs."""
