import os
from pathlib import Path

from controller.core.explain import DUTIES, pipeline_table
from controller.core.rules import Duty
from topologies.sources import load

PAGE = Path(__file__).parents[3] / "docs" / "flow-tables.md"


def test_the_page_of_flow_tables_is_current() -> None:
    text = pipeline_table(load("triangle"))
    if os.environ.get("UPDATE_GOLDEN"):
        PAGE.write_text(text, encoding="utf-8")
    assert text == PAGE.read_text(encoding="utf-8"), "renew it with UPDATE_GOLDEN=1"


def test_other_networks_have_no_other_kinds_of_rules() -> None:
    """The triangle shows everything there is, so one page is enough."""
    assert pipeline_table(load("europe")) == pipeline_table(load("triangle"))


def test_every_duty_is_explained_and_used() -> None:
    tables = pipeline_table(load("triangle")).split("## Duties")[0]
    assert set(DUTIES) == set(Duty)
    assert [duty for duty in Duty if f"| {duty.name.lower()} |" not in tables] == []
