"""A server's leases: a DHCP client for each, one socket for all, and the namespace to fit."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

from controller.agent import address
from controller.agent.client import Client, Handed, Held, Want
from controller.agent.growth import Growth, Step
from controller.agent.inbox import Inbox
from controller.agent.ports import PortsInUse, busiest
from controller.agent.proxy import Proxy
from controller.agent.status import Status
from controller.agent.usage import Place, Towards
from controller.core.tokens import TokenBucket
from controller.dhcp import CLIENT_PORT, DhcpError, Message, Option, build
from controller.exchange import MESSAGES_AT_ONCE, MESSAGES_PER_S
from controller.frames import octets
from topologies.emulation import anyip, netns
from topologies.model import COMMON_TAG
from topologies.plan import HostPlan

__all__ = ["Server", "client_socket"]

LOG = logging.getLogger("agent")

MORE = "more-"
"""How the client identifiers of sets begin that a server borrows by itself."""


def client_socket(server: str) -> socket.socket:
    """A DHCP client's socket in a server's namespace. Raises OSError outside of a lab."""
    made = netns.open_socket(server, socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
    made.bind(("0.0.0.0", CLIENT_PORT))
    return made


class Server:
    """Borrows for one server until ``close``. Needs a running event loop.

    Of a tag of which it borrows at all it borrows up to ``most`` sets as ports run short.
    """

    def __init__(self, host: HostPlan, status: Status, most: int = 1) -> None:
        self.host = host
        self._status = status
        self._inbox = Inbox(self._hear)
        self._socket: socket.socket | None = None
        self._usual = (0, 0)
        self._held: dict[Want, Held] = {}
        self._tasks: dict[Want, asyncio.Task[None]] = {}
        self._clients: dict[Want, Client] = {}
        self._news = asyncio.Event()
        self._left = status.left(host.name)
        self._most = most
        self._growth: dict[str, Growth] = {}
        self._in_use: PortsInUse | None = None
        self.proxy = Proxy(host.name, self.leases)

    async def open(self) -> None:
        """Make the socket, and let programs leave by the proxy. Raises OSError outside of a lab."""
        self._usual = address.usual_ports()
        self._socket = client_socket(self.host.name)
        self._in_use = PortsInUse(self.host)
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self._inbox, sock=self._socket)
        await self.proxy.open()

    # -- wishes

    def borrow(self, want: Want, handed: Handed | None = None) -> asyncio.Task[None]:
        """Borrow this and keep it; the task ends when it is given back.

        What was ``handed`` over is kept for as long as it lasts.
        """
        if want not in self._tasks:
            client = Client(
                want,
                octets(self.host.mac),
                self._inbox,
                self._send,
                lambda held: self._use(want, held),
                handed,
            )
            self._clients[want] = client
            name = f"{self.host.name} {want.tag} {want.client_id}"
            task = self._tasks[want] = asyncio.create_task(client.run(), name=name)
            task.add_done_callback(lambda _: self._forget(want, task))
        return self._tasks[want]

    def wants(self, want: Want) -> bool:
        """Whether this is borrowed, or asked for, already."""
        return want in self._tasks

    def _cancel(self, want: Want) -> asyncio.Task[None] | None:
        """Have a client give back what it holds; None if it was not wanted."""
        task = self._tasks.pop(want, None)
        self._clients.pop(want, None)
        if task is not None:
            task.cancel()
        return task

    def _forget(self, want: Want, task: asyncio.Task[None]) -> None:
        if self._tasks.get(want) is task:
            del self._tasks[want], self._clients[want]

    def _hear(self, message: Message) -> None:
        """The lender says that a lease has come to us, or gone. Raises DhcpError."""
        want = Want(message.user_class or COMMON_TAG, message.client_id)
        address, ports = message.address(Option.REQUESTED_ADDRESS), message.port_parameters
        if message.mac != octets(self.host.mac) or address is None or ports is None:
            raise DhcpError("a FORCERENEW that is for another, or names no lease")
        if want in self._tasks:
            self._clients[want].renew_now()
        else:
            self.borrow(want, (address, ports))

    async def give_back(self, want: Want) -> bool:
        """Return this; False if it was not wanted."""
        task = self._cancel(want)
        if task is None:
            return False
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

    @property
    def dropped(self) -> int:
        """DHCP messages that nobody waited for."""
        return self._inbox.dropped

    def ports_by_tag(self) -> Counter[str]:
        """How many ports are held."""
        found: Counter[str] = Counter()
        for want, held in self._held.items():
            found[want.tag] += held.size
        return found

    async def close(self) -> None:
        """Return everything, no faster than the lender listens: nobody repeats a RELEASE."""
        await self.proxy.close()
        heard = TokenBucket(MESSAGES_PER_S, MESSAGES_AT_ONCE)
        for want in list(self._tasks):
            while not heard.take(time.monotonic()):
                await asyncio.sleep(1 / MESSAGES_PER_S)
            await self.give_back(want)

    # -- ports in use

    def look(self) -> tuple[Counter[Towards], Counter[Place]]:
        """Ports that are in use towards each destination, and that are held. Raises OSError."""
        assert self._in_use is not None
        return self._in_use.look(self._held.values())

    def grow(self, now_s: float, used: Mapping[Towards, int]) -> None:
        """Borrow one more set of a tag before its ports run out; return it when it is idle."""
        if self._most < 2:
            return
        for tag in {want.tag for want in self._tasks}:
            wants = [want for want in self._tasks if want.tag == tag]
            if all(want in self._held for want in wants):  # else one is on its way
                self._grow(tag, wants, now_s, used)

    def _grow(
        self, tag: str, wants: Sequence[Want], now_s: float, used: Mapping[Towards, int]
    ) -> None:
        assert self._in_use is not None
        extra = [want for want in wants if want.client_id.startswith(MORE)]
        leases = [self._held[want] for want in wants]
        many = busiest(used, {lease.address for lease in leases})
        last = self._held[extra[-1]] if extra else None
        idle = last.size if last is not None and self._in_use.is_idle(last) else 0
        growth = self._growth.setdefault(tag, Growth(self._most))
        step = growth.step(now_s, [lease.size for lease in leases], many, idle)
        if step is Step.BORROW:
            LOG.info("%s: %d ports tagged %s in use, one set more", self.host.name, many, tag)
            names = (Want(tag, f"{MORE}{number}") for number in count(1))
            self.borrow(next(want for want in names if not self.wants(want)))
        elif step is Step.RETURN:
            self._cancel(extra[-1])

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
