"""``python tests/in_guest.py CLOCK ARGUMENT ...`` runs pytest in a guest.

CLOCK is ``virtual`` or ``real``. The guest's kernel has everything; nothing of the host is touched
and no root is needed.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from topologies.emulation.options import Clock
from topologies.emulation.sandbox import SandboxError
from topologies.emulation.sandbox.files import PROJECT
from topologies.emulation.sandbox.guest import Guest

LOG = "pytest.log"


def say(line: str) -> None:
    print(line, flush=True)


def main(arguments: list[str]) -> int:
    clock: Clock = "real" if arguments.pop(0) == "real" else "virtual"
    box = Guest(clock=clock)
    with tempfile.TemporaryDirectory(prefix="poplab-tests-") as made:
        folder = Path(made)
        shutil.copytree(PROJECT / "tests", folder / "tests")
        shutil.copy(PROJECT / "pyproject.toml", folder)
        command = [box.python, "-m", "pytest", "-p", "no:cacheprovider", "--color=no", *arguments]
        try:
            return box.run(command, folder, told=say, log=LOG)
        except SandboxError as error:
            sys.stderr.write(f"{error}\n")
            return 1
        finally:
            if (folder / LOG).exists():
                sys.stderr.write((folder / LOG).read_text(errors="replace"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
