from __future__ import annotations

import pytest

from tests.virtual.runs import Runs


@pytest.fixture(scope="session")
def first(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """A run of every study on a host as it is."""
    return Runs(tmp_path_factory.mktemp("first"))
