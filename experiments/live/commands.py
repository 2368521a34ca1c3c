"""``poplab live`` and ``poplab view``: a running lab, and finished runs, in a browser."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.control import places
from experiments.errors import TrialError, UsageError

if TYPE_CHECKING:
    import socket

    from aiohttp import web

__all__ = ["add_to", "beside"]

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


def beside(clock: str) -> Callable[[Path], None]:
    """What serves a lab that is about to start, by its socket, while this process lives.

    Raises UsageError where that cannot be.
    """
    if clock != "real":
        raise UsageError("Only a lab in real time can be watched: use --clock real.")
    _need_aiohttp()

    def begin(lab: Path) -> None:
        listening, number, token = _opened(0)
        sys.stderr.write(f"In a browser: {_link(number, token)}\n")
        work = (lab, listening, number, token)
        threading.Thread(target=_serve_when_up, args=work, name="live", daemon=True).start()

    return begin


def _serve_when_up(lab: Path, listening: socket.socket, number: int, token: str) -> None:
    """Serve a lab as soon as it answers; until then whoever opens the link waits."""
    import asyncio

    from aiohttp import web

    from experiments.live import server

    while True:
        with suppress(TrialError):
            app = server.application(lab, number, token)
            break
        time.sleep(0.2)
    loop = asyncio.new_event_loop()
    web.run_app(app, sock=listening, print=None, access_log=None, handle_signals=False, loop=loop)


def _need_aiohttp() -> None:
    try:
        import aiohttp as _  # noqa: F401
    except ImportError:
        raise UsageError(MEND) from None


def _opened(port: int) -> tuple[socket.socket, int, str]:
    """A socket that listens, its port, and a token. Raises UsageError if it cannot be had."""
    from experiments.live import server

    try:
        listening = server.listening(port)
    except OSError as error:
        raise UsageError(f"Port {port} cannot be had: {error.strerror}; try --port 0.") from None
    return listening, listening.getsockname()[1], server.new_token()


def _link(number: int, token: str) -> str:
    return f"http://127.0.0.1:{number}/{token}/"


def _serve(application: Callable[[int, str], web.Application], port: int) -> None:
    """Print the link, and serve until Ctrl-C. Raises UsageError if the port cannot be had."""
    from aiohttp import web

    listening, number, token = _opened(port)
    with listening:
        app = application(number, token)
        sys.stdout.write(f"{_link(number, token)}\n")
        sys.stdout.flush()
        web.run_app(app, sock=listening, print=None, access_log=None, shutdown_timeout=1)
