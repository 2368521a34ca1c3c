"""What every test shares: real labs need root and may not silently all be skipped; guests need a
kernel, pages a browser.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from topologies.emulation.sandbox import NoSandboxError
from topologies.emulation.sandbox.guest import Guest

if TYPE_CHECKING:
    from tests.virtual.runs import Runs

# A shared machine stalls now and then; that is no bug in the code under test.
settings.register_profile("poplab", deadline=None)
settings.load_profile("poplab")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-net",
        action="store_true",
        help="fail unless at least one test of a real lab ran",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--require-net"):
        config.pluginmanager.register(NetTestsRan(), "net-tests-ran")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)  # no worker ends with one
    if os.geteuid() != 0:
        needs_root = pytest.mark.skip(reason="a real lab needs root: `make test`")
        for item in items:
            if item.get_closest_marker("net"):
                item.add_marker(needs_root)
    if shutil.which("chromium") is None:
        needs_browser = pytest.mark.skip(reason="no chromium: run `setup/packages.sh chromium`")
        for item in items:
            if item.get_closest_marker("browser"):
                item.add_marker(needs_browser)
    try:
        Guest().check()
    except NoSandboxError as error:
        needs_guest = pytest.mark.skip(reason=str(error))
        for item in items:
            if item.get_closest_marker("virtual"):
                item.add_marker(needs_guest)


@pytest.fixture(scope="session")
def first(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """A run of every study in virtual time, on a host as it is; each when it is asked for.

    All workers share them.
    """
    from tests.virtual.runs import Runs  # not in a guest, which has no benchmarks

    own = tmp_path_factory.getbasetemp()
    return Runs((own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "first")


class NetTestsRan:
    """Counts the tests of a real lab that ran to their end, and fails the session at none."""

    def __init__(self) -> None:
        self.ran = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and "net" in report.keywords and not report.skipped:
            self.ran += 1

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if not self.ran:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        message = f"{self.ran} tests of a real lab ran"
        colour = "green" if self.ran else "red"
        terminalreporter.write_line(message, **{colour: True})
