"""What the doctor makes of its findings, without looking at this host."""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from pathlib import Path

import pytest
from rich.console import Console

from experiments.host import doctor
from experiments.host.capabilities import Finding, attempt
from experiments.host.doctor import Diagnosis, exit_code, render
from topologies.emulation.sandbox import Told
from topologies.emulation.sandbox.guest import Guest

WELL = Diagnosis("python", True, True, "3.11.2", "make setup")
OPTIONAL = Diagnosis("netem", False, False, "kind is unknown", "modprobe sch_netem")
REQUIRED = Diagnosis("veth", False, True, "not supported", "modprobe veth")


def screen(*checks: Diagnosis) -> list[str]:
    output = io.StringIO()
    render(checks, Console(file=output, width=80))
    return [line.rstrip() for line in output.getvalue().splitlines()]


def from_sandbox(*findings: Finding, error: str = "") -> dict[str, Diagnosis]:
    checks = doctor._from_sandbox(findings, error, "a mend")
    return {check.name: check for check in checks}


@pytest.mark.parametrize(
    ("checks", "code"), [([WELL], 0), ([WELL, OPTIONAL], 0), ([WELL, OPTIONAL, REQUIRED], 1)]
)
def test_only_required_things_fail(checks: list[Diagnosis], code: int) -> None:
    assert exit_code(checks) == code


def test_screen_names_the_mend_of_what_is_missing_only() -> None:
    lines = screen(WELL, OPTIONAL)
    assert lines == [
        "  ✓ python  3.11.2",
        "  – netem   kind is unknown",
        "This host can run labs. It could do more with:",
        "  netem: modprobe sch_netem",
    ]


def test_screen_says_when_labs_cannot_run() -> None:
    assert screen(WELL) == ["  ✓ python  3.11.2", "This host can run labs."]
    assert screen(OPTIONAL, REQUIRED)[2:] == [
        "This host cannot run labs yet. It lacks:",
        "  veth: modprobe veth",
    ]


def test_who_may_not_have_real_time_is_told_of_virtual_time() -> None:
    root = Diagnosis("root", False, True, "no", "run poplab with sudo")
    virtual = Diagnosis("virtual time", True, False, "a guest is up")
    assert screen(root, virtual)[2:] == [
        "This host can run labs in virtual time. In real time they would need:",
        "  root: run poplab with sudo",
    ]
    assert exit_code([root, virtual]) == 1


@pytest.mark.parametrize(
    ("lines", "code", "detail"),
    [
        (["7.9.1"], 0, "a guest with Linux 7.9.1 is up in"),
        ([], 1, "ModuleNotFoundError: no module"),
        ([], 3, "code 3"),
    ],
)
def test_virtual_time_is_tried(
    monkeypatch: pytest.MonkeyPatch, lines: list[str], code: int, detail: str
) -> None:
    def run(_self: Guest, _argv: list[str], folder: Path, *, told: Told, **_: float) -> int:
        for line in lines:
            told(line)
        errors = "Traceback:\nModuleNotFoundError: no module\n" if code == 1 else ""
        (folder / "sandbox.log").write_text(errors)
        return code

    monkeypatch.setattr(Guest, "run", run)
    check = doctor._virtual_time()
    assert (check.name, check.ok, check.required) == ("virtual time", code == 0, False)
    assert check.detail.startswith(detail)
    assert check.mend.startswith("make virtual")


def test_without_a_kernel_virtual_time_is_not_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("POPLAB_KERNEL", str(tmp_path))
    check = doctor._virtual_time()
    assert not check.ok
    assert "not built" in check.detail


def test_one_mend_for_two_things_is_named_once() -> None:
    lines = screen(
        Diagnosis("mnexec", False, True, "not installed", "make setup"),
        Diagnosis("Open vSwitch", False, True, "not installed", "make setup"),
    )
    assert lines[-1] == "  mnexec, Open vSwitch: make setup"


def test_a_long_cause_is_told_whole_under_its_beginning() -> None:
    cause = "cannot change root filesystem propagation: Invalid argument, as in a chroot"
    found, rest, *_ = screen(Diagnosis("namespaces", False, True, cause, "try the machine itself"))
    assert max(len(found), len(rest)) <= 80
    assert rest[:15].isspace()
    assert f"{found[16:]} {rest[16:]}".split() == cause.split()


def test_findings_become_checks() -> None:
    checks = from_sandbox(Finding("veth", True, "fine"), Finding("netem", False, "unknown"))
    assert checks["namespaces"].ok
    assert checks["veth"] == Diagnosis("veth", True, True, "fine", "modprobe veth")
    assert (checks["netem"].ok, checks["netem"].required) == (False, False)
    assert checks["tun"].detail == "not tried"


def test_without_a_sandbox_nothing_else_was_tried() -> None:
    checks = from_sandbox(error="unshare failed: Operation not permitted")
    assert checks["namespaces"] == Diagnosis(
        "namespaces", False, True, "unshare failed: Operation not permitted", "a mend"
    )
    assert not any(check.ok for check in checks.values())


def test_findings_survive_their_way_through_the_pipe() -> None:
    findings = [Finding("tun", True, "fine"), Finding("netem", False, 'a "quoted" cause')]
    lines = "\n".join(json.dumps(asdict(finding)) for finding in findings)
    assert doctor._parse(lines) == findings


def test_a_probe_that_raises_is_a_finding() -> None:
    def fails() -> str:
        raise OSError("no\nsuch device")

    assert attempt("tun", fails) == Finding("tun", False, "no such device")
    assert attempt("veth", lambda: "fine") == Finding("veth", True, "fine")


def test_free_memory() -> None:
    assert doctor._available_bytes("MemTotal: 9 kB\nMemAvailable:  2048 kB\n") == 2048 * 1024
    assert doctor._available_bytes("MemTotal: 9 kB\n") == 0
