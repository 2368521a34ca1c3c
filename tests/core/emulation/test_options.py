"""The choices that carry a lab: what `auto` means for each clock, and words that do not exist."""

from __future__ import annotations

import pytest

from topologies import sources
from topologies.emulation import wiring
from topologies.emulation.options import LabOptions
from topologies.plan import plan


def test_virtual_time_has_the_kernels_own_links_and_switches() -> None:
    assert LabOptions(clock="virtual").resolved() == LabOptions("netem", "kernel", "virtual")


def test_real_time_forwards_in_user_space_and_looks_for_links() -> None:
    assert LabOptions().resolved() == LabOptions("auto", "userspace", "real")


@pytest.mark.parametrize("clock", ["real", "virtual"])
def test_what_was_asked_for_stays(clock: str) -> None:
    asked = LabOptions.parse("delayline", "userspace", clock)
    assert asked.resolved() == asked


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("cable", "auto", "real"), "No link backend 'cable': use one of auto, delayline, netem"),
        (("auto", "moon", "real"), "No datapath 'moon': use one of auto, userspace, kernel"),
        (("auto", "auto", "sun"), "No clock 'sun': use one of real, virtual"),
        (("auto", "auto", "virtual", "tree"), "No root 'tree': use one of host, hermetic"),
        (("auto", "auto", "real", "hermetic"), "for guests alone: use --clock virtual"),
        (("delayline", "auto", "virtual", "hermetic"), "host's compiler: use --root host"),
    ],
)
def test_unknown_words_are_refused(words: tuple[str, ...], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        LabOptions.parse(*words)


def test_the_kernels_datapath_needs_one_daemon_for_all_switches() -> None:
    europe = plan(sources.load("europe"))
    alone = wiring.switch_namespaces(europe, "userspace")
    shared = wiring.switch_namespaces(europe, "kernel")
    assert list(alone) == list(shared) == [switch.name for switch in europe.switches]
    assert list(alone.values()) == list(alone)
    assert set(shared.values()) == {europe.switches[0].name}
