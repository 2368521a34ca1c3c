"""The reference runs that ship are fit to be shown: clean, valid, and exact."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from experiments.errors import UsageError
from experiments.runs import rundata
from experiments.verdict.result import Result

REFERENCE = Path(__file__).parents[3] / "results" / "reference"
RUNS = sorted(path.parent for path in REFERENCE.glob("*/manifest.json"))
EXACT_US = 10.0


def test_there_are_some() -> None:
    assert len(RUNS) >= 2


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_a_reference_is_clean_valid_and_exact(run: Path) -> None:
    manifest, result, answer = rundata.head(run)
    assert manifest["git"]["dirty"] is False
    assert unfit(result) == []
    assert answer


def test_an_unfit_reference_is_refused() -> None:
    result = rundata.head(RUNS[0])[1].contract()
    result["checks"][0]["passed"] = False
    result["fidelity"]["rtt_error_p99_us"] = 68_700.0
    result["sandbox"] = {"clock": "real"}
    assert unfit(Result.from_contract(result)) == ["invalid", "inexact", "in real time"]


@pytest.mark.parametrize("name", ["manifest.json", "result.json", "spec.json", "samples.parquet"])
@pytest.mark.parametrize(
    "damage", ["", "{}", "[]", "null", '{"schema": 1, "figures": 7}', "[" * 99_999]
)
def test_a_damaged_run_folder_is_told_in_words(name: str, damage: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(RUNS[0], run)
    (run / name).write_text(damage)
    with pytest.raises(UsageError, match=r"is a damaged run folder|has the layout"):
        rundata.load(run)


def unfit(result: Result) -> list[str]:
    """What speaks against showing a run to everybody."""
    reasons = {
        "invalid": not result.valid,
        "inexact": result.fidelity is not None
        and not 0 <= result.fidelity.rtt_error_p99_us <= EXACT_US,
        "in real time": result.clock == "real",
    }
    return [reason for reason, applies in reasons.items() if applies]


def test_names_are_read_as_they_were_written(tmp_path: Path) -> None:
    table = tmp_path / "clients.csv"
    table.write_text("client,city,best_pop,rtt_ms\nNA-c1,NA,001,1.5\n1-c1,1,2,\n")
    found = rundata.read_table(table)
    assert found["city"].tolist() == ["NA", "1"]
    assert found["best_pop"].tolist() == ["001", "2"]
    assert found["rtt_ms"].isna().tolist() == [False, True]
