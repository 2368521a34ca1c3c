"""Ryu's application manager, run from a program instead of from `ryu-manager`."""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections.abc import Sequence

import eventlet
import eventlet.wsgi
from eventlet.hubs import trampoline
from ryu import cfg
from ryu.base.app_manager import AppManager
from ryu.controller.controller import datapath_connection_factory
from ryu.controller.ofp_handler import OFPHandler
from ryu.lib import hub

from controller import rest, ryu_compat
from controller.app import Controller, Settings
from controller.core.lease import Terms
from topologies.emulation import netns
from topologies.plan import Plan

__all__ = ["run"]

LOG = logging.getLogger("controller")

Endpoint = tuple[str, int]

COLLECT_S = 1.0
"""How often what is new is looked through for garbage."""


def run(
    plan: Plan,
    store: str,
    terms: Terms,
    openflow: Endpoint,
    http: Endpoint,
    namespaces: Sequence[str] = (),
    token: str | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, with the ``store`` that `controller.store.open_store` opens.

    Switches in these ``namespaces`` reach ``openflow`` there as well. With a ``token``, only who
    knows it is answered over HTTP.

    Raises StoreError or BadEntryError when the leases cannot be read, OSError when an endpoint
    cannot be listened on.
    """
    wake = _Wake()
    ryu_compat.leave_bodies_unread()
    manager = AppManager.get_instance()
    controller: Controller = manager.instantiate(Controller, Settings(plan, store, terms))
    try:
        web = eventlet.listen(http)
        _listen(manager, openflow, wake)
        _listen_inside(namespaces, openflow)
        controller.start()
        application = rest.application(controller, token)
        eventlet.spawn(eventlet.wsgi.server, web, application, log_output=False)
        eventlet.spawn(_keep_collections_short)
        LOG.info("OpenFlow on %s:%d, REST on http://%s:%d", *openflow, *http)
        wake.wait()
    finally:
        controller.store.close()


def _listen(manager: AppManager, openflow: Endpoint, wake: _Wake) -> None:
    """Let Ryu accept switches. Raises OSError when it cannot listen."""
    eventlet.listen(openflow).close()  # Ryu would only log the failure and go on deaf
    config = cfg.CONF
    config(args=[], project="ryu", default_config_files=[])
    config.set_override("ofp_listen_host", openflow[0])
    config.set_override("ofp_tcp_listen_port", openflow[1])
    manager.instantiate(OFPHandler).start().link(wake.call)


def _listen_inside(namespaces: Sequence[str], openflow: Endpoint) -> None:
    """Accept switches in namespaces that have no way to this one but a socket made there."""
    for name in namespaces:
        with netns.inside(name):
            server = hub.StreamServer(openflow, datapath_connection_factory)
        hub.spawn(server.serve_forever)  # one broken connection does not end it


def _keep_collections_short() -> None:
    """Let the garbage collector look at what is new alone.

    A full collection of a large book stops everything for a quarter of a second, and a book is no
    garbage: what has been looked at once is not looked at again.
    """
    while True:
        gc.collect()
        gc.freeze()
        eventlet.sleep(COLLECT_S)


class _Wake:
    """Lets a signal, or the end of a green thread, end the wait of the main one."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        # The interpreter itself writes to the pipe: a Python handler runs in eventlet's hub,
        # where nothing may block.
        signal.set_wakeup_fd(self._write)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _nothing)

    def call(self, _thread: object) -> None:
        """End the wait, from a green thread."""
        os.write(self._write, b"!")

    def wait(self) -> None:
        """Return after `call` or a signal."""
        trampoline(self._read, read=True)


def _nothing(_number: int, _frame: object) -> None:
    """A signal needs a handler to be noticed at all."""
