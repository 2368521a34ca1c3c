"""Where switches arrive: who leads programs them, who does not is their slave (section 6.3.6).

A slave may read and is told of ports alone, so a standby's connections are there when it comes to
lead, and what it knows of ports is true.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import eventlet
from ryu.base import app_manager
from ryu.controller import ofp_event
from ryu.controller.handler import DEAD_DISPATCHER, MAIN_DISPATCHER, set_ev_cls
from ryu.ofproto import ofproto_v1_3 as ofp

from controller.app import Controller
from controller.store import StoreError

__all__ = ["Reception"]

LOG = logging.getLogger("controller.reception")
RETRY_S = 0.2


class Reception(app_manager.RyuApp):
    """Keeps the connections of every switch; ``generation`` tells that of who leads by now.

    It may raise StoreError.
    """

    OFP_VERSIONS = (ofp.OFP_VERSION,)

    def __init__(self, generation: Callable[[], int]) -> None:
        super().__init__()
        self._generation = generation
        self._present: dict[Any, None] = {}  # as they came
        self._controller: Controller | None = None

    @property
    def present(self) -> int:
        """How many switches are here."""
        return len(self._present)

    def lead(self, controller: Controller) -> None:
        """Hand every switch over, those that are here and those to come."""
        self._controller = controller
        for datapath in self._present:
            controller.arrive(datapath)

    @set_ev_cls(ofp_event.EventOFPStateChange, [MAIN_DISPATCHER, DEAD_DISPATCHER])  # type: ignore[untyped-decorator]
    def on_state(self, event: Any) -> None:
        """A switch came or went."""
        datapath = event.datapath
        if event.state == DEAD_DISPATCHER:
            self._present.pop(datapath, None)
            if self._controller is not None:
                self._controller.leave(datapath)
            return
        self._present[datapath] = None
        if self._controller is not None:
            self._controller.arrive(datapath)
        else:
            self._stand_by(datapath)

    @set_ev_cls(ofp_event.EventOFPErrorMsg, MAIN_DISPATCHER)  # type: ignore[untyped-decorator]
    def on_error(self, event: Any) -> None:
        """A switch refused something; of a standby, to be its slave: it knows a later leader."""
        if self._controller is None:
            eventlet.spawn_after(RETRY_S, self._stand_by, event.msg.datapath)

    def _stand_by(self, datapath: Any) -> None:
        """Ask to be a switch's slave, unless we lead by now or it is gone."""
        if self._controller is not None or datapath not in self._present:
            return
        try:
            generation = self._generation()
        except StoreError as error:
            LOG.warning("%s", error)
            eventlet.spawn_after(RETRY_S, self._stand_by, datapath)
            return
        make = datapath.ofproto_parser.OFPRoleRequest
        datapath.send_msg(make(datapath, ofp.OFPCR_ROLE_SLAVE, generation))
