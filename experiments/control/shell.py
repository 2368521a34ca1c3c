"""The first process of a sandbox for people: a lab with the Mininet command line, or one command.

``python -m experiments.control.shell [COMMAND ...]`` in a folder to which ``describe`` has written
the lab.
"""

from __future__ import annotations

import json
import logging
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from mininet.cli import CLI

from experiments.control.scenario import Scenario, Step, playing
from experiments.control.server import serving
from experiments.options import INTERRUPTED
from experiments.runs.testbed import Testbed
from topologies.emulation.links import LinkError
from topologies.emulation.options import LabOptions
from topologies.emulation.processes import LabError, watched
from topologies.explicit import dump_json, parse
from topologies.model import Network
from topologies.plan import HostRole, plan

if TYPE_CHECKING:
    from experiments.verdict.calibrate import Calibration

FOLDER = Path("/run/poplab")
"""Private to the sandbox, and gone with it."""


LAB = "lab.json"


def describe(
    folder: Path,
    network: Network,
    options: LabOptions,
    scenario: Scenario = (),
    controllers: int = 1,
) -> None:
    """Write what the lab is, for the program inside."""
    described = {
        "options": asdict(options),
        "controllers": controllers,
        "network": json.loads(dump_json(network)),
        "scenario": [step.dump() for step in scenario],
    }
    (folder / LAB).write_text(json.dumps(described))


class Prompt(CLI):
    """The Mininet command line, for host names with a dash in them."""

    identchars = f"{CLI.identchars}-"


def main(argv: list[str]) -> int:
    """Bring the network up, then hand over to the person or to their command."""
    logging.getLogger("mininet").setLevel(logging.WARNING)
    said = json.loads(Path(LAB).read_text())
    network, options = parse(said["network"]), LabOptions.parse(**said["options"])
    scenario = tuple(Step(**step) for step in said["scenario"])
    made = Testbed(network, folder=FOLDER, options=options, controllers=said["controllers"])
    begin = time.monotonic()
    try:
        with made as lab, serving(lab.control):
            if options.clock == "real":
                _say(_compensated(lab))
            with playing(scenario, lab.control.say, _say, _say):
                if argv:
                    with suppress(KeyboardInterrupt):  # the command has heard it too
                        return execute(lab, argv)
                    return INTERRUPTED
                _say(f"{network.name} is up ({time.monotonic() - begin:.1f} s). {hint(lab)}")
                with watched(lab.programs, lambda cause: _say(f"\npoplab: {cause}")):
                    Prompt(lab)
                return 0
    except (LabError, LinkError) as error:
        _say(f"poplab: {error}")
        return 1


def _compensated(lab: Testbed) -> str:
    """Have the links make up for the machine's own time, as a run does; what was done."""
    from experiments.verdict import calibrate
    from experiments.verdict.oracle import oracle

    return compensation(calibrate.compensate(lab, oracle(lab.plan), seed=0))


def compensation(found: Calibration) -> str:
    """What a lab's delays are off by, and what its links do about it."""
    errors = [error for path in found.raw for error in path.errors_us]
    if not errors:
        return "No ping was answered, so delays are as the machine makes them."
    told = f"RTTs were {statistics.median(errors):.0f} us too long (median of {len(errors)} pings)"
    if not found.advance_us:
        return f"{told}, too unevenly to make up for: delays are as the machine makes them."
    return f"{told}; each link now sends {found.advance_us:.0f} us early to make up for it."


def understands(network: Network, command: Sequence[str]) -> bool:
    """Whether a command's first word is a node of the network or one of the Mininet prompt's."""
    made = plan(network)
    nodes = {host.name for host in made.hosts} | {switch.name for switch in made.switches}
    return command[0] in nodes or hasattr(Prompt, f"do_{command[0]}")


def execute(lab: Testbed, command: list[str]) -> int:
    """Run a node's command (``LHR-c1 ping ...``) or a line of the Mininet command line."""
    namespaces = {host.name: host.name for host in lab.plan.hosts} | dict(lab.switch_namespaces)
    if command[0] in namespaces:
        return subprocess.call(["ip", "netns", "exec", namespaces[command[0]], *command[1:]])
    Prompt(lab, script="/dev/null").onecmd(" ".join(command))
    return 0


def hint(lab: Testbed) -> str:
    """A first command to try."""
    network = lab.plan.network
    host = (*lab.plan.hosts_of(HostRole.CLIENT), *lab.plan.hosts_of(HostRole.SERVER))[0]
    return f"Try: {host.name} curl -s http://{network.services[0]}/trace    Leave: exit"


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
