"""The services of a lab may have as many connections open as the kernel allows."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from topologies.emulation.endpoints.service import raise_file_limit

MOST = int(Path("/proc/sys/fs/nr_open").read_text())


@pytest.mark.parametrize(("privileged", "limit"), [(True, MOST), (False, 256)])
def test_the_limit_is_the_kernels_or_without_privilege_what_it_was(
    monkeypatch: pytest.MonkeyPatch, privileged: bool, limit: int
) -> None:
    limits = (64, 256)

    def set_limits(_what: int, wanted: tuple[int, int]) -> None:
        nonlocal limits
        if wanted[1] > limits[1] and not privileged:
            raise ValueError("not allowed to raise maximum limit")
        limits = wanted

    monkeypatch.setattr(resource, "getrlimit", lambda _what: limits)
    monkeypatch.setattr(resource, "setrlimit", set_limits)
    raise_file_limit()
    assert limits == (limit, limit)
