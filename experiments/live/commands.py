"""``poplab live``: a running lab in a browser."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from experiments.control import places
from experiments.errors import UsageError

__all__ = ["add_to"]

MEND = "The live view needs aiohttp: `make setup` installs it, as does the extra `live`."


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(live)


def live(
    lab: Annotated[str | None, typer.Argument(help="Which lab, if several run.")] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Of this machine; 0 is any that is free.")
    ] = 0,
) -> None:
    """A lab in a browser: map, PoPs, addresses, log, and acts with undo. Ctrl-C leaves."""
    path = places.find(lab)
    try:
        from aiohttp import web
    except ImportError:
        raise UsageError(MEND) from None
    from experiments.live import server

    try:
        listening = server.listening(port)
    except OSError as error:
        raise UsageError(f"Port {port} cannot be had: {error.strerror}; try --port 0.") from None
    with listening:
        number, token = listening.getsockname()[1], server.new_token()
        app = server.application(path, number, token)
        sys.stdout.write(f"http://127.0.0.1:{number}/{token}/\n")
        sys.stdout.flush()
        web.run_app(app, sock=listening, print=None, access_log=None, shutdown_timeout=1)
