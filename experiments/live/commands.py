"""``poplab live`` and ``poplab view``: a running lab, and finished runs, in a browser."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.control import places
from experiments.errors import UsageError

if TYPE_CHECKING:
    from aiohttp import web

__all__ = ["add_to"]

MEND = "Pages in a browser need aiohttp: `make setup` installs it, as does the extra `live`."

Port = Annotated[
    int, typer.Option(min=0, max=65535, help="Of this machine; 0 is any that is free.")
]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(live)
    app.command()(view)


def live(
    lab: Annotated[str | None, typer.Argument(help="Which lab, if several run.")] = None,
    port: Port = 0,
) -> None:
    """A lab in a browser: map, PoPs, addresses, log, and acts with undo. Ctrl-C leaves."""
    path = places.find(lab)
    _need_aiohttp()
    from experiments.live import server

    _serve(lambda number, token: server.application(path, number, token), port)


def view(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN [RUN]", help="Run folders.")],
    port: Port = 0,
) -> None:
    """A finished run in a browser, played back; two side by side. Ctrl-C leaves."""
    _need_aiohttp()
    from experiments.live import playback, player

    if len(runs) > player.MOST:
        raise UsageError(f"At most {player.MOST} runs fit on a page: name fewer.")
    found = [playback.read(run) for run in runs]
    _serve(lambda number, token: player.application(found, number, token), port)


def _need_aiohttp() -> None:
    try:
        import aiohttp as _  # noqa: F401
    except ImportError:
        raise UsageError(MEND) from None


def _serve(application: Callable[[int, str], web.Application], port: int) -> None:
    """Print the link, and serve until Ctrl-C. Raises UsageError if the port cannot be had."""
    from aiohttp import web

    from experiments.live import server

    try:
        listening = server.listening(port)
    except OSError as error:
        raise UsageError(f"Port {port} cannot be had: {error.strerror}; try --port 0.") from None
    with listening:
        number, token = listening.getsockname()[1], server.new_token()
        app = application(number, token)
        sys.stdout.write(f"http://127.0.0.1:{number}/{token}/\n")
        sys.stdout.flush()
        web.run_app(app, sock=listening, print=None, access_log=None, shutdown_timeout=1)
