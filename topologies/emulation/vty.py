"""FRR's daemons, spoken to in the words of its shell vtysh, at the sockets that it uses."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from topologies.emulation.processes import PATIENCE_S, LabError

SOCKETS = Path("/run/speakers")
"""A folder for each speaker; inside a sandbox /run is a private tmpfs."""

_END = bytes(3)


def door(name: str) -> Path:
    """Where a speaker's bgpd takes what its shell says."""
    return SOCKETS / name / "bgpd.vty"


def ask(name: str, question: str) -> dict[str, Any]:
    """What a speaker answers in JSON. Raises LabError."""
    text = say(name, question)
    try:
        return dict(json.loads(text or "{}"))
    except ValueError:
        raise LabError(f"The BGP speaker {name} does not answer {question!r}: {text}") from None


def say(name: str, *commands: str) -> str:
    """Give a speaker commands, one after the other; what it prints at last. Raises LabError."""
    with socket.socket(socket.AF_UNIX) as way:
        way.settimeout(PATIENCE_S)
        try:
            way.connect(str(door(name)))
            for command in ("enable", *commands):
                text = _said(way, command)
        except OSError as error:
            raise LabError(f"The BGP speaker {name} does not answer: {error}.") from None
        except ValueError as error:
            raise LabError(f"The BGP speaker {name} refuses: {error}") from None
    return text


def _said(way: socket.socket, command: str) -> str:
    """What a daemon prints for a command; it ends with three zeros and a code (FRR, lib/vty.c).

    Raises OSError, ValueError for a command that it refuses.
    """
    way.sendall(command.encode() + b"\0")
    said = b""
    while said[-4:-1] != _END:
        piece = way.recv(1 << 16)
        if not piece:
            raise ConnectionResetError("it has hung up")
        said += piece
    text = said[:-4].decode(errors="replace")
    if said[-1]:
        raise ValueError(f"{command!r}: {text.strip() or f'code {said[-1]}'}")
    return text
