import os
from pathlib import Path

from controller.core.explain import DUTIES, pipeline_table
from controller.core.rules import Duty
from topologies.sources import load

PAGE = Path(__file__).parents[3] / "docs" / "flow-tables.md"


def test_the_page_of_flow_tables_is_current() -> None:
    text = pipeline_table(load("world"))
    if os.environ.get("UPDATE_GOLDEN"):
        PAGE.write_text(text, encoding="utf-8")
    assert text == PAGE.read_text(encoding="utf-8"), "renew it with UPDATE_GOLDEN=1"


def test_other_networks_have_no_other_kinds_of_rules() -> None:
    """The world shows everything there is, so one page is enough."""
    page = set(pipeline_table(load("world")).splitlines())
    for name in ("triangle", "europe"):
        assert set(pipeline_table(load(name)).splitlines()) <= page


def test_every_duty_is_explained_and_used() -> None:
    tables = pipeline_table(load("world")).split("## Duties")[0]
    assert set(DUTIES) == set(Duty)
    assert [duty for duty in Duty if f"| {duty.name.lower()} |" not in tables] == []
