"""The system's own clock, sockets and threads.

In a controller those of the standard library are eventlet's, and let other work run while they
wait. A commit must not, and a leader's sign of life must come while other work goes on.
"""

from __future__ import annotations

import warnings

warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")

from eventlet.patcher import original  # noqa: E402 (it warns of itself when it is imported)

__all__ = ["clock", "sockets", "threads"]

clock = original("time")
sockets = original("socket")
threads = original("threading")
