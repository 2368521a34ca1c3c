"""A lab for people, seen from outside: the prompt, or one command."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from experiments.control import places
from experiments.control import scenario as scenarios
from experiments.errors import UsageError
from experiments.runs import runfolder
from topologies.emulation.options import LabOptions
from topologies.emulation.sandbox.guest import Guest
from topologies.emulation.sandbox.namespaces import Namespaces
from topologies.model import Network
from topologies.plan import plan

PROGRAM = ("-m", "experiments.control.shell")
LOG = "shell.log"


def options(links: str, datapath: str, clock: str, root: str, command: Sequence[str]) -> LabOptions:
    """What carries the lab. Raises UsageError for unknown words, and for what cannot be."""
    try:
        chosen = LabOptions.parse(links, datapath, clock, root)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if chosen.clock == "none":
        raise UsageError("A lab needs a clock: use --clock real, or virtual.")
    if chosen.clock == "virtual" and not command:
        raise UsageError(
            "There is no prompt in virtual time, which races while a person types: "
            "give a host and its command after `--`, or use --clock real."
        )
    return chosen


def work(
    network: Network,
    chosen: LabOptions,
    command: Sequence[str],
    scenario: Path | None = None,
    controllers: int = 1,
    beside: Callable[[Path], None] | None = None,
) -> int:
    """Bring the network up and hand it to the person or to their command; the exit code.

    ``beside`` gets the lab's control socket, which answers once it is up.

    Raises NoSandboxError where no lab can be made, UsageError for a command that nobody knows.
    """
    from experiments.control.shell import describe, understands

    if command and not understands(network, command):
        raise UsageError(
            f"{network.name} has no host or switch {command[0]!r}, and the Mininet prompt no such "
            f"command: see `poplab show {network.name}`."
        )

    steps = scenarios.read(scenario, plan(network)) if scenario else ()
    folder = Path(tempfile.mkdtemp(prefix="poplab-"))
    with runfolder.disposed_of(folder):
        describe(folder, network, chosen, steps, controllers)
        if chosen.clock == "real":
            box = Namespaces()
            with places.opened(network.name) as door:
                if beside is not None:
                    beside(door.path)
                argv = [box.python, *PROGRAM, *command]
                return box.interact(argv, folder, **places.handed_in(door))
        return _in_guest(Guest(root=chosen.root), folder, command)


def _in_guest(box: Guest, folder: Path, command: Sequence[str]) -> int:
    """A guest has one way out for text, so what the command says of errors comes at its end."""
    try:
        return box.run([box.python, *PROGRAM, *command], folder, told=_say, log=LOG)
    finally:
        if (folder / LOG).exists():
            sys.stderr.write((folder / LOG).read_text(errors="replace"))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
