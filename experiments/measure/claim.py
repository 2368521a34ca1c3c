"""Let a host use an address that is not its own: the controls that must fail need it.

Its own kernel would refuse such a source at once, and the switch's guard would not be tested.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from topologies.emulation import anyip
from topologies.family import Address

__all__ = ["claim"]


@contextmanager
def claim(host: str, address: Address) -> Iterator[None]:
    """Within the block the host's kernel takes ``address`` as local.

    An address that is local already stays so afterwards. Raises OSError if the host does not
    exist or the kernel refuses.
    """
    new = anyip.accept(host, address)
    try:
        yield
    finally:
        if new:
            anyip.refuse(host, address)
