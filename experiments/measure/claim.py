"""Let a host use an address that is not its own: the controls that must fail need it.

Its own kernel would refuse such a source at once, and the switch's guard would not be tested.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address

__all__ = ["claim"]


@contextmanager
def claim(host: str, address: IPv4Address) -> Iterator[None]:
    """Within the block the host's kernel takes ``address`` as local (AnyIP).

    An address that is local already stays so afterwards. Raises OSError if the host does not
    exist or the kernel refuses.
    """
    route = ["local", f"{address}/32", "dev", "lo"]
    show = _ip(host, "-o", "route", "show", "table", "local", "exact", f"{address}/32")
    if show.startswith("local "):
        yield
        return
    _ip(host, "route", "add", *route)
    try:
        yield
    finally:
        _ip(host, "route", "del", *route)


def _ip(host: str, *arguments: str) -> str:
    done = subprocess.run(
        ["ip", "-n", host, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise OSError(f"ip -n {host} {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
