"""Mininet's hosts, switches and links over what the wiring has already made.

``net['LHR-c1'].cmd('ping ...')``, the Mininet CLI and scripts written for Mininet work as usual,
but no shell is started for a node before somebody asks for one.
"""

from __future__ import annotations

import subprocess
from typing import Any

from mininet.link import Intf, Link
from mininet.node import Host, OVSSwitch

from topologies.emulation import netns
from topologies.plan import End, HostPlan, SwitchPlan


class _LazyShell:
    """Mixed into a Mininet node: the shell starts with the first command."""

    name: str
    shell: Any
    _namespace: tuple[str, ...] = ()  # the command prefix that enters the node's namespace
    _wanted = False

    @classmethod
    def setup(cls) -> None:
        """Nothing to look for: the sandbox has checked the tools."""

    def startShell(self, mnopts: str | None = None) -> None:  # noqa: N802
        """Start the shell, but not while Mininet merely constructs the node."""
        if self._wanted:
            super().startShell(mnopts)  # type: ignore[misc]

    def _ensure_shell(self) -> None:
        if self.shell is None:
            self._wanted = True
            self.startShell()

    def _popen(self, command: list[str], **params: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*self._namespace, *command], **params)

    def sendCmd(self, *args: Any, **kwargs: Any) -> None:  # noqa: N802
        """Send a command to the node's shell; see mininet.node.Node.sendCmd."""
        self._ensure_shell()
        super().sendCmd(*args, **kwargs)  # type: ignore[misc]

    def cmd(self, *args: Any, **kwargs: Any) -> str:
        """Run a command in the node's shell and return its output."""
        self._ensure_shell()
        return str(super().cmd(*args, **kwargs))  # type: ignore[misc]

    def popen(self, *args: Any, **kwargs: Any) -> subprocess.Popen[bytes]:
        """Start a program in the node's namespace; see mininet.node.Node.popen."""
        kwargs.setdefault("mncmd", [])
        process: subprocess.Popen[bytes] = super().popen(*args, **kwargs)  # type: ignore[misc]
        return process


def _enter(namespace: str) -> tuple[str, ...]:
    """The words that run what follows in a named namespace."""
    return ("nsenter", f"--net={netns.path(namespace)}")


class LabHost(_LazyShell, Host):
    """A client, server or origin in the named namespace that the wiring made."""

    def __init__(self, name: str, plan: HostPlan, **params: Any) -> None:
        """``params`` are Mininet's own: the address and MAC of the plan among them."""
        self.plan = plan
        self._namespace = _enter(name)
        # Mininet would unshare another namespace for the shell; nsenter enters ours instead.
        super().__init__(name, inNamespace=False, **params)


class LabRouter(_LazyShell, Host):
    """A router in the named namespace that the wiring made."""

    def __init__(self, name: str, plan: SwitchPlan, **params: Any) -> None:
        """``plan`` is that of the router."""
        self.plan = plan
        self._namespace = _enter(name)
        super().__init__(name, inNamespace=False, **params)


class LabSwitch(_LazyShell, OVSSwitch):
    """An Open vSwitch bridge that was made, with all the others, in one transaction."""

    def __init__(self, name: str, plan: SwitchPlan, namespace: str, **params: Any) -> None:
        """``plan`` gives the datapath id, ``namespace`` holds its interfaces."""
        self.plan = plan
        self._namespace = _enter(namespace)
        # Mininet configures lo, through a shell, on switches outside a namespace; it is up here.
        params.update(inNamespace=True, protocols="OpenFlow13")
        super().__init__(name, dpid=f"{plan.dpid:016x}", **params)
        self.inNamespace = False
        self.controlIntf = None

    def start(self, controllers: list[Any]) -> None:
        """Nothing to do: the virtual switch was built as a whole."""

    def stop(self, deleteIntfs: bool = True) -> None:  # noqa: N803
        """Nothing to do: the bridge ends with its Open vSwitch."""

    def dpctl(self, *args: str) -> str:
        """Run ovs-ofctl for this switch, as the CLI's ``dpctl`` does."""
        return self.cmd("ovs-ofctl", "-O", "OpenFlow13", args[0], self.name, *args[1:])


class LabIntf(Intf):
    """An interface that is already configured."""

    def config(self, **_params: Any) -> dict[str, Any]:
        """Nothing to configure."""
        return {}

    def updateIP(self) -> str | None:  # noqa: N802
        """The address of the plan; Mininet would start a process to ask for it."""
        return None if self.ip is None else str(self.ip)

    def ifconfig(self, *args: str) -> str:
        """Mininet's scripts may ask for this; iproute2 is what hosts have."""
        return str(self.cmd("ip", "link", "set", self.name, *args))

    def status(self) -> str:
        """What Mininet's ``links`` shows: OK, or CUT where no carrier is seen."""
        shown = str(self.node.cmd("ip", "-o", "link", "show", "dev", self.name))
        return "OK" if "LOWER_UP" in shown else "CUT"


class LabLink(Link):
    """A link of the plan as Mininet sees it: two interfaces, whatever lies between them."""

    def __init__(self, a: Any, b: Any, ends: tuple[End, End], **params: Any) -> None:
        """``ends`` are the plan's ends at ``a`` and ``b``."""
        params.update(
            port1=ends[0].port or 0,
            port2=ends[1].port or 0,
            intfName1=ends[0].interface,
            intfName2=ends[1].interface,
            intf=LabIntf,
        )
        super().__init__(a, b, **params)
        for node, intf in ((a, self.intf1), (b, self.intf2)):
            if isinstance(node, LabHost):
                intf.ip, intf.prefixLen, intf.mac = str(node.plan.address), "32", node.plan.mac

    @classmethod
    def makeIntfPair(cls, *_args: Any, **_params: Any) -> None:  # noqa: N802
        """The interfaces exist."""

    def stop(self) -> None:
        """The interfaces end with the sandbox."""

    def __str__(self) -> str:
        """Both interfaces with their nodes' names: every host's is called eth0."""
        return f"{_named(self.intf1)}<->{_named(self.intf2)}"


def _named(intf: Intf) -> str:
    node, name = str(intf.node.name), str(intf.name)
    return name if name.startswith(f"{node}-") else f"{node}-{name}"
