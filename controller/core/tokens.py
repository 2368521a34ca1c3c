"""A limit that allows bursts: the token bucket."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class TokenBucket:
    """Allows ``rate_per_s`` acts in the long run, and ``burst`` at once after a pause.

    Times are seconds of any clock that does not run backwards, passed in.
    """

    rate_per_s: float
    burst: float
    _tokens: float | None = None
    _at_s: float = 0.0

    def take(self, now_s: float) -> bool:
        """Whether one more act is allowed now; it counts if so."""
        gained = self.rate_per_s * (now_s - self._at_s)
        tokens = self.burst if self._tokens is None else min(self.burst, self._tokens + gained)
        self._at_s = now_s
        allowed = tokens >= 1
        self._tokens = tokens - 1 if allowed else tokens
        return allowed
