"""The link backend of the kernel: netem on both outer interfaces of one veth cable."""

from __future__ import annotations

from topologies.emulation.links import LinkBackend, LinkError


def problem() -> str | None:
    """Why netem cannot be used here, None if it can."""
    return "not supported yet"


def start() -> LinkBackend:
    """The backend, ready to attach links. Raises LinkError where the kernel has no netem."""
    raise LinkError(f"netem: {problem()}")
