"""What goes wrong above the lab. Every message is one sentence with the cause and what mends it."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class UsageError(Exception):
    """The question cannot be asked like this; nothing was built (exit code 2)."""


class TrialError(Exception):
    """The trial was started and gave no answer (exit code 1)."""


class RefusedError(TrialError):
    """The controller refused; ``earliest_ns`` is when it may not, by the book's clock, if known."""

    def __init__(self, problem: Mapping[str, Any]) -> None:
        self.earliest_ns: int | None = problem.get("earliest_ns")
        super().__init__(f"The controller refused: {problem['detail']}")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Makes way for a file that a person has named. Raises UsageError if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        why = error.strerror or error
        raise UsageError(f"{path} cannot be written ({why}): name another file.") from error


_ELSEWHERE = "choose another place (that of runs by --results)"
_MENDS = {
    errno.ENOSPC: f"free some space, or {_ELSEWHERE}",
    errno.EDQUOT: f"free some space, or {_ELSEWHERE}",
    errno.EROFS: _ELSEWHERE,
    errno.EACCES: _ELSEWHERE,
    errno.EPERM: _ELSEWHERE,
    errno.ENOTDIR: _ELSEWHERE,
    errno.EMFILE: "raise the limit of open files (`ulimit -n 4096`)",
    errno.ENFILE: "raise the limit of open files (`ulimit -n 4096`)",
}


def mend(error: OSError) -> str | None:
    """What helps against an error of the host; None if that is nothing a user could do."""
    return _MENDS.get(error.errno or 0)
