"""Ryu's application manager, run from a program instead of from `ryu-manager`."""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass

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
from controller.reception import Reception
from controller.store import Candidate, Election, Store, StoreError, open_election
from topologies.emulation import netns
from topologies.plan import Plan

__all__ = ["Setup", "run"]

LOG = logging.getLogger("controller")

Endpoint = tuple[str, int]

LOOK_S = 0.05
"""How often a standby looks whether anybody leads."""

COLLECT_S = 1.0
"""How often what is new is looked through for garbage."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What a controller process serves, and where.

    ``store`` is what `open_election` takes. Switches in ``namespaces`` reach ``openflow`` there as
    well. With a ``token``, only who knows it is answered over HTTP.
    """

    name: str
    plan: Plan
    store: str
    terms: Terms
    openflow: Endpoint
    http: Endpoint
    namespaces: Sequence[str] = ()
    token: str | None = None

    @property
    def candidate(self) -> Candidate:
        """As it stands for the lead."""
        return Candidate(self.name, "{}:{}".format(*self.http))


def run(setup: Setup) -> bool:
    """Serve, first as a standby, then as the leader; False when SIGTERM or SIGINT ended it.

    True when another leads by now: what this process knows is worth nothing any more, and it should
    begin anew. Raises StoreError or BadEntryError when the leases cannot be read, OSError when an
    endpoint cannot be listened on.
    """
    wake = _Wake()
    ryu_compat.leave_bodies_unread()
    with ExitStack() as opened:
        election = opened.enter_context(closing(open_election(setup.store, setup.candidate)))
        web = eventlet.listen(setup.http)
        reception = _receive(setup, election, wake)
        standby = rest.Standby(election.leader, lambda: reception.present)
        doors = rest.Doors(standby, setup.token)
        eventlet.spawn(eventlet.wsgi.server, web, doors, log_output=False)
        eventlet.spawn(_keep_collections_short)
        LOG.info("OpenFlow on %s:%d, REST on http://%s:%d", *setup.openflow, *setup.http)
        store = _won(election, wake)
        if store is not None:
            opened.enter_context(closing(store))
            LOG.info("%s leads, generation %d", store.leader.name, store.leader.generation)
            settings = Settings(setup.plan, store, setup.terms)
            controller = AppManager.get_instance().instantiate(Controller, settings)
            controller.start()
            reception.lead(controller)
            doors.lead(controller)
            wake.wait()
    return wake.deposed


def _won(election: Election, wake: _Wake) -> Store | None:
    """The store when it is ours to lead; None after a signal.

    Raises StoreError if it cannot be used at first; later trouble is waited out.
    """
    store = election.campaign(wake.depose)
    if store is None:
        LOG.info("a standby: another controller leads")
    said = ""
    while store is None and not wake.wait(LOOK_S):
        try:
            store, said = election.campaign(wake.depose), ""
        except StoreError as error:
            if str(error) != said:
                said = str(error)
                LOG.error("%s", said)
    return store


def _receive(setup: Setup, election: Election, wake: _Wake) -> Reception:
    """Let switches come. Raises OSError when it cannot listen."""

    def generation() -> int:
        leader = election.leader()
        return 0 if leader is None else leader.generation

    manager = AppManager.get_instance()
    reception: Reception = manager.instantiate(Reception, generation)
    reception.start()
    _listen(manager, setup.openflow, wake)
    _listen_inside(setup.namespaces, setup.openflow)
    return reception


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
    """Lets a signal, the end of a green thread, or a new leader end the wait of the main thread."""

    def __init__(self) -> None:
        self.deposed = False
        """Whether another leads by now."""
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

    def depose(self) -> None:
        """End the wait because another leads, from any thread."""
        self.deposed = True
        os.write(self._write, b"!")

    def wait(self, patience_s: float | None = None) -> bool:
        """True after `call`, `depose` or a signal, False when so much time has passed."""
        try:
            with eventlet.Timeout(patience_s):
                trampoline(self._read, read=True)
        except eventlet.Timeout:
            return False
        return True


def _nothing(_number: int, _frame: object) -> None:
    """A signal needs a handler to be noticed at all."""
