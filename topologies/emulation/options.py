"""What carries a lab: the one place that chooses link backend and switch datapath for a clock."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

Clock = Literal["real", "virtual", "none"]
"""``real``: time passes as on the wall. ``virtual``: it passes in a guest kernel only while nobody
in the guest has anything to do (see ``sandbox.guest``). ``none``: there is no lab, and nothing that
takes time (see ``sandbox.bare``)."""

RootChoice = Literal["host", "hermetic"]
"""Whose files a guest sees: the host's own, or pinned ones (see ``sandbox.root``)."""

LinkChoice = Literal["auto", "delayline", "netem"]
DatapathChoice = Literal["auto", "userspace", "kernel"]

CLOCKS: tuple[Clock, ...] = get_args(Clock)
LINKS: tuple[LinkChoice, ...] = get_args(LinkChoice)
ROOTS: tuple[RootChoice, ...] = get_args(RootChoice)
DATAPATHS: tuple[DatapathChoice, ...] = get_args(DatapathChoice)


@dataclass(frozen=True, slots=True)
class LabOptions:
    """How a lab is carried. ``auto`` leaves the choice to ``resolved``.

    ``links`` is the link backend, ``datapath`` where Open vSwitch forwards, ``clock`` that of the
    sandbox, ``root`` whose files it sees.
    """

    links: LinkChoice = "auto"
    datapath: DatapathChoice = "auto"
    clock: Clock = "real"
    root: RootChoice = "host"

    @staticmethod
    def parse(links: str, datapath: str, clock: str, root: str = "host") -> LabOptions:
        """The options with these words.

        Raises ValueError naming the words that there are, or which do not go together.
        """
        for what, word, words in (
            ("link backend", links, LINKS),
            ("datapath", datapath, DATAPATHS),
            ("clock", clock, CLOCKS),
            ("root", root, ROOTS),
        ):
            if word not in words:
                raise ValueError(f"No {what} {word!r}: use one of {', '.join(words)}.")
        if root == "hermetic" and clock != "virtual":
            raise ValueError("A hermetic root is for guests alone: use --clock virtual.")
        if root == "hermetic" and links == "delayline":
            raise ValueError("The link daemon is built by the host's compiler: use --root host.")
        return LabOptions(
            cast(LinkChoice, links),
            cast(DatapathChoice, datapath),
            cast(Clock, clock),
            cast(RootChoice, root),
        )

    def resolved(self) -> LabOptions:
        """The same with every choice made that depends on the clock alone.

        In virtual time the kernel's own links and switches are exact to microseconds, and the
        guest's kernel has them. In real time the userspace datapath works everywhere, and which
        link backend there is stands to be seen (``links.choose``).
        """
        virtual = self.clock == "virtual"
        links, datapath = self.links, self.datapath
        if links == "auto" and virtual:
            links = "netem"
        if datapath == "auto":
            datapath = "kernel" if virtual else "userspace"
        return replace(self, links=links, datapath=datapath)


USUAL = LabOptions()
"""Every choice left open, in real time."""
