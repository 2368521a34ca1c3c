"""The files that a guest sees: the host's own, or those of the hermetic root."""

from __future__ import annotations

import compileall
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from topologies.emulation.options import RootChoice
from topologies.emulation.sandbox import NoSandboxError
from topologies.emulation.sandbox import root as roots

_ENVIRONMENT = "/run/poplab/python"
"""Where a guest sees the host's Python environment."""

PACKAGES = ("topologies", "controller", "experiments")
PROJECT = roots.PROJECT

HERE = "/proc/self/cwd"
"""The run folder, in the words of the guest's kernel."""

OWN_NAME = ".guest"
"""What is the guest's own in a run folder; it goes when the guest has ended."""

OWN = f"{HERE}/{OWN_NAME}"


class Files(Protocol):
    """What a guest boots from and runs."""

    @property
    def python(self) -> str:
        """The interpreter, as a program inside must call it."""

    @property
    def path(self) -> str:
        """Python's search path inside."""

    @property
    def words(self) -> tuple[str, ...]:
        """What the guest's kernel is told of its root."""

    def check(self) -> None:
        """Raise NoSandboxError if these files are not to be had."""

    def folders(self) -> Mapping[str, Path]:
        """Folders of the host by a name of their own, with bytecode for all of our modules.

        Without it a guest would compile them, and differ. Raises SandboxError if it cannot be.
        """

    def mounts(self) -> Mapping[str, str]:
        """Those of the folders that are mounted inside: where, and the folder's name."""

    def facts(self) -> Mapping[str, Any]:
        """What results depend on."""


def _packages() -> dict[str, str]:
    return {f"{roots.CODE}/{name}": name for name in PACKAGES}


class HostFiles:
    """The host's own files, with our code and Python environment at places of their own."""

    python = f"{_ENVIRONMENT}/bin/python"
    path = roots.CODE
    words = ()

    def check(self) -> None:
        """The host has its files."""

    def folders(self) -> Mapping[str, Path]:
        """As ``Files.folders``."""
        for name in PACKAGES:
            if not compileall.compile_dir(PROJECT / name, quiet=2):
                raise NoSandboxError(
                    f"{PROJECT / name} has no bytecode, and this user cannot make it: "
                    "run `make setup`."
                )
        return {name: PROJECT / name for name in PACKAGES} | {"python": Path(sys.prefix)}

    def mounts(self) -> Mapping[str, str]:
        """As ``Files.mounts``."""
        return {**_packages(), _ENVIRONMENT: "python"}

    def facts(self) -> Mapping[str, Any]:
        """They have no name; ``experiments.runs.fingerprint`` tells what they are."""
        return {"root": "host"}


class HermeticFiles:
    """The hermetic root, with our code in it; nothing of the host."""

    python = f"/{roots.PYTHON}"
    path = f"{roots.CODE}:/{roots.LIBRARIES}"
    words = (f"rootflags={OWN}/root/.",)

    def check(self) -> None:
        """Raise NoSandboxError if the root has not been made."""
        roots.need()

    def folders(self) -> Mapping[str, Path]:
        """As ``Files.folders``."""
        root = roots.need()
        code = root.code(PACKAGES)
        return {name: code / name for name in PACKAGES} | {"root": root.folder}

    def mounts(self) -> Mapping[str, str]:
        """As ``Files.mounts``."""
        return _packages()

    def facts(self) -> Mapping[str, Any]:
        """The hash of the root's content."""
        return {"root": roots.need().sha256}


def files(choice: RootChoice) -> Files:
    """The files for a choice of root."""
    return HermeticFiles() if choice == "hermetic" else HostFiles()
