"""What people do to a lab from their pages, one after the other, and how it is made undone."""

from __future__ import annotations

import asyncio

from experiments.control.client import GoneError, Remote
from experiments.errors import TrialError
from experiments.live.acts import Act, Done, undoing
from experiments.live.follower import Follower

__all__ = ["Hands", "RefusedActError"]

MOST = 100
"""How many acts can be undone; older ones are forgotten."""


class RefusedActError(Exception):
    """Nothing was done; the text says why."""


class Hands:
    """Carries out acts, and remembers them. All pages share one memory."""

    def __init__(self, remote: Remote, follower: Follower) -> None:
        self._remote, self._follower = remote, follower
        self._one = asyncio.Lock()
        self._count = 0
        self.done: list[Done] = []

    @property
    def last(self) -> Done | None:
        """The act that would be undone next."""
        return self.done[-1] if self.done else None

    async def do(self, act: Act) -> None:
        """Have the lab do it. Raises RefusedActError."""
        async with self._one:
            undo = await self._say(act)
            if undo is not None:
                self._count += 1
                self.done = [*self.done, Done(self._count, act, undo)][-MOST:]

    async def undo(self, number: int) -> Act:
        """Make the last act undone, if it is the one meant; what was said for it.

        What cannot be undone is forgotten, so that the one before it can. Raises RefusedActError.
        """
        async with self._one:
            last = self.last
            if last is None or last.number != number:
                raise RefusedActError("That is not the last act any more: look at what is now.")
            self.done.pop()
            await self._say(last.undo)
            return last.undo

    def forget(self) -> None:
        """Another lab: nothing was done to it yet."""
        self.done = []

    async def _say(self, act: Act) -> Act | None:
        """Say the word; what would make it undone, by the state that the lab has before."""
        try:
            before = await asyncio.to_thread(self._follower.look)
            await asyncio.to_thread(self._remote.call, act.word, **act.params)
        except GoneError:
            raise RefusedActError("The lab has ended.") from None
        except TrialError as error:
            raise RefusedActError(str(error)) from None
        finally:
            self._follower.poke()
        return undoing(act, before)
