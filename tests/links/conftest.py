from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.links.bench import Bench


@pytest.fixture(scope="session")
def cables() -> Iterator[Bench]:
    """Namespaces and cables serve all tests: making and ending them takes most of the time."""
    made = Bench()
    yield made
    made.close()


@pytest.fixture
def bench(cables: Bench) -> Iterator[Bench]:
    yield cables
    cables.clear()
