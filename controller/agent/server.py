"""A server's leases: a DHCP client for each, one socket for all, and the namespace to fit."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

from controller.agent import address
from controller.agent.client import Client, Held, Want
from controller.agent.inbox import Inbox
from controller.agent.proxy import Proxy
from controller.agent.status import Status
from controller.dhcp import CLIENT_PORT, Message, build
from controller.frames import octets
from topologies.emulation import anyip, netns
from topologies.plan import HostPlan

__all__ = ["Server", "client_socket"]

LOG = logging.getLogger("agent")


def client_socket(server: str) -> socket.socket:
    """A DHCP client's socket in a server's namespace. Raises OSError outside of a lab."""
    with netns.inside(server):
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        made.bind(("0.0.0.0", CLIENT_PORT))
    return made


class Server:
    """Borrows for one server until ``close``. Needs a running event loop."""

    def __init__(self, host: HostPlan, status: Status) -> None:
        self.host = host
        self._status = status
        self._inbox = Inbox()
        self._socket: socket.socket | None = None
        self._usual = (0, 0)
        self._held: dict[Want, Held] = {}
        self._tasks: dict[Want, asyncio.Task[None]] = {}
        self._news = asyncio.Event()
        self._left = status.left(host.name)
        self.proxy = Proxy(host.name, self.leases)

    async def open(self) -> None:
        """Make the socket, and let programs leave by the proxy. Raises OSError outside of a lab."""
        self._usual = address.usual_ports()
        self._socket = client_socket(self.host.name)
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self._inbox, sock=self._socket)
        await self.proxy.open()

    # -- wishes

    def borrow(self, want: Want) -> asyncio.Task[None]:
        """Borrow this and keep it; the task ends when it is given back."""
        if want not in self._tasks:
            client = Client(
                want,
                octets(self.host.mac),
                self._inbox,
                self._send,
                lambda held: self._use(want, held),
            )
            name = f"{self.host.name} {want.tag} {want.client_id}"
            self._tasks[want] = asyncio.create_task(client.run(), name=name)
        return self._tasks[want]

    async def give_back(self, want: Want) -> bool:
        """Return this; False if it was not wanted."""
        task = self._tasks.pop(want, None)
        if task is None:
            return False
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return True

    async def holding(self, want: Want) -> Held:
        """What is held of this, once it is."""
        while want not in self._held:
            await self._news.wait()
        return self._held[want]

    def leases(self) -> list[dict[str, Any]]:
        """What is held, in the order in which it was asked for."""
        return [self._held[x].describe(x) for x in self._tasks if x in self._held]

    async def close(self) -> None:
        """Return everything."""
        await self.proxy.close()
        for want in list(self._tasks):
            await self.give_back(want)

    # -- the namespace

    def _use(self, want: Want, held: Held | None) -> None:
        """Configure the namespace for what is held from now on. Raises OSError, ValueError."""
        if held is None:
            self._held.pop(want, None)
        else:
            self._held[want] = held
        name, now = self.host.name, {x.address for x in self._held.values()}
        for gone in self._left - now:
            anyip.refuse(name, gone)
        for come in now - self._left:
            anyip.accept(name, come)
        self._left = now
        address.set_ports(name, address.choose([x.range for x in self._held.values()], self._usual))
        self._status.put(name, self.leases())
        told, self._news = self._news, asyncio.Event()
        told.set()

    def _send(self, message: Message, target: tuple[str, int]) -> None:
        assert self._socket is not None
        try:
            self._socket.sendto(build(message), target)
        except OSError as error:  # the interface may be down for a moment: asked again anyway
            LOG.warning("%s: cannot send: %s", self.host.name, error)
