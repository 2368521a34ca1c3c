"""Runs side by side, of folders that are written here; and the bar for CI."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from experiments import cli
from experiments.compare import condition, sides
from experiments.errors import UsageError
from experiments.show.figures import comparison as figure
from experiments.show.page.distributions import distribution
from experiments.stats import Estimate
from experiments.sweeps import sweep
from experiments.sweeps.folder import packed
from tests.fakes.markup import Page

REFERENCE = Path(__file__).parents[3] / "results" / "reference" / "latency-europe"
P50 = "anycast_rtt_p50"


def _run(folder: Path, factor: float = 1.0, seed: int = 1, valid: bool = True) -> Path:
    """The reference run, with other figures."""
    shutil.copytree(REFERENCE, folder)
    result = json.loads((folder / "result.json").read_text())
    result["metrics"][P50]["value"] *= factor
    result["seed"] = seed
    if not valid:
        result["checks"][0]["passed"] = False
    (folder / "result.json").write_text(json.dumps(result))
    return folder


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    return [_run(tmp_path / "before"), _run(tmp_path / "after", 1.1)]


def _compare(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(cli.app, ["compare", *map(str, words)])
    assert done.exception is None or isinstance(done.exception, SystemExit | UsageError)
    return done.exit_code, done.output


def test_a_metric_is_told_beside_the_first_runs(two: list[Path]) -> None:
    code, told = _compare(*two)
    assert code == 0
    assert "1.100x" in told
    assert "not the same" not in told


@pytest.mark.parametrize(
    ("text", "fails"),
    [
        (f"{P50} > 1.05x", True),
        (f"{P50} > 1.2x", False),
        (f"{P50}>1000", False),
        (f"{P50} < 1000", True),
        ("optimal_share < 95%", False),
        ("optimal_share >= 1.0x", True),
    ],
)
def test_a_condition_is_a_bar_for_ci(two: list[Path], text: str, fails: bool) -> None:
    code, told = _compare(*two, "--fail-if", text)
    assert (code, ("✗" in told)) == (int(fails), fails)
    told_as_json = json.loads(_compare(*two, "--fail-if", text, "--json")[1])
    assert bool(told_as_json["violated"][text.strip()]) is fails


@pytest.mark.parametrize(
    ("medians", "text", "violated"),
    [
        ((-2.0, -2.0), "gain > 1.05x", []),
        ((-2.0, -1.8), "gain > 1.05x", [1]),
        ((-2.0, -2.2), "gain < 0.95x", [1]),
        ((0.0, 0.0), "gain > 1.05x", []),
        ((2.0, 2.2), "gain > 1.05x", [1]),
    ],
)
def test_a_bound_beside_a_baseline_below_zero_lies_on_the_same_side(
    medians: tuple[float, ...], text: str, violated: list[int]
) -> None:
    found = tuple(Estimate(median, None, None, 1) for median in medians)
    line = sides.Line("gain", "ms", found, ())
    assert condition.parse(text).violated([line]) == violated


def test_only_a_share_has_percents(two: list[Path]) -> None:
    with pytest.raises(UsageError, match="is in ms, no share"):
        condition.parse(f"{P50} > 95%").violated(sides.lines(sides.read(two)))


@pytest.mark.parametrize("text", ["", P50, f"{P50} > fast", f"{P50} == 3", "> 1.05x"])
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no condition"):
        condition.parse(text)


def test_a_wrong_metric_is_told_with_one_near_it(two: list[Path]) -> None:
    lines = sides.lines(sides.read(two))
    with pytest.raises(UsageError, match=P50):
        condition.parse("anycast_rtt_50 > 1").violated(lines)


def test_an_invalid_run_fails_every_condition(tmp_path: Path) -> None:
    runs = [_run(tmp_path / "before"), _run(tmp_path / "after", valid=False)]
    assert _compare(*runs)[0] == 0
    code, told = _compare(*runs, "--fail-if", f"{P50} > 1.05x")
    assert code == 1
    assert "after is invalid" in told


def test_what_is_not_the_same_is_told(two: list[Path]) -> None:
    for name, value in (("manifest.json", "netem"), ("result.json", "netem")):
        path = two[1] / name
        path.write_text(path.read_text().replace('"netem"', '"delayline"'))
        assert value in (two[0] / name).read_text()
    spec = json.loads((two[1] / "spec.json").read_text())
    spec["params"]["pings"] = 7
    (two[1] / "spec.json").write_text(json.dumps(spec))
    told = _compare(*two)[1]
    assert "not the same links: netem; delayline" in told
    assert "not the same parameter pings" in told


def test_another_network_by_the_same_name_is_told(two: list[Path]) -> None:
    assert "not the same" not in _compare(*two)[1]
    spec = json.loads((two[1] / "spec.json").read_text())
    for link in spec["network"]["links"]:
        link["line"]["delay_ns"] *= 3
    spec["quick"], spec["root"] = not spec["quick"], "host"
    (two[1] / "spec.json").write_text(json.dumps(spec))
    told = _compare(*two)[1]
    for name in ("network's details", "amount", "root"):
        assert f"not the same {name}" in told


@pytest.mark.parametrize("damage", ["", "{", "{}", "[1]"])
def test_a_damaged_spec_is_told(two: list[Path], damage: str) -> None:
    (two[1] / "spec.json").write_text(damage)
    with pytest.raises(UsageError, match="damaged run folder"):
        sides.read(two)


def test_what_cannot_be_compared_is_refused(two: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not compared with itself"):
        sides.read([two[0], two[0].parent / "x" / ".." / two[0].name])
    with pytest.raises(UsageError, match="two or more"):
        sides.read(two[:1])
    with pytest.raises(UsageError, match="with itself"):
        sides.read([two[0], two[0]])
    with pytest.raises(UsageError, match="different questions"):
        sides.read([two[0], REFERENCE.with_name("borrowing-europe")])
    varied = sweep.prepare("latency", ["pops=1,2"], results=tmp_path, clock="real")
    with pytest.raises(UsageError, match="varies something"):
        sides.read([two[0], varied.path])
    empty = sweep.prepare("latency", [], results=tmp_path, clock="real")
    with pytest.raises(UsageError, match="no complete run"):
        sides.read([two[0], empty.path])


def test_sweeps_that_repeat_have_intervals_and_pairs(tmp_path: Path) -> None:
    paths = []
    for label, factor in (("before", 1.0), ("after", 1.1)):
        made = sweep.prepare("latency", [], repeat=6, results=tmp_path / label, clock="real")
        for turn in made.sweep.turns:
            run = _run(tmp_path / f"{label}-{turn.seed}", factor * (1 + turn.seed / 10), turn.seed)
            made.keep(turn, packed(run))
        paths.append(made.path)
    line = next(one for one in sides.lines(sides.read(paths)) if one.metric == P50)
    first, other = line.estimates
    assert first.count == other.count == 6
    assert first.low is not None
    assert first.high is not None
    assert first.median is not None
    assert first.low < first.median < first.high
    assert line.ratio(1) == pytest.approx(1.1)
    assert line.effects[0].difference.count == 6


def test_the_figure_has_a_line_for_each_run(tmp_path: Path) -> None:
    runs = {
        "before": [distribution("anycast", [1.0, 2.0]), distribution("unicast", [3.0])],
        "after": [distribution("anycast", [1.5])],
    }
    path = tmp_path / "times.png"
    assert figure.draw(runs, path).stat().st_size > 5_000


def test_the_command_writes_a_page_with_all_that_it_says(two: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "compared.html"
    text = f"{P50} > 1.05x"
    assert _compare(*two, "--fail-if", text, "--page", path)[0] == 1
    page = Page(path.read_text())
    assert "What must not be, is: anycast_rtt_p50 > 1.05x." in page.text
    assert "after" in page.text
    assert "1.100x" in page.text
    assert "the same" in page.text
    assert "1 anycast" in page.text
    with pytest.raises(UsageError, match=r"should end in \.html"):
        cli.app(["compare", *map(str, two), "--page", "x.png"], standalone_mode=False)


def test_a_page_of_what_cannot_be_believed_says_so(tmp_path: Path) -> None:
    runs = [_run(tmp_path / "before"), _run(tmp_path / "after", valid=False)]
    path = tmp_path / "compared.html"
    _compare(*runs, "--page", path)
    assert "Not all of it can be believed: after." in Page(path.read_text()).text
    assert '<p class="verdict invalid"' in path.read_text()


def test_the_command_draws(two: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "times.png"
    assert _compare(*two, "--figure", path)[0] == 0
    assert path.exists()


@pytest.mark.parametrize("option", ["--figure", "--page"])
def test_a_run_without_its_samples_is_told_in_a_sentence(
    option: str, two: list[Path], tmp_path: Path
) -> None:
    path = tmp_path / f"x.{'png' if option == '--figure' else 'html'}"
    (two[1] / "samples.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(UsageError, match="damaged run folder"):
        cli.app(["compare", *map(str, two), option, str(path)], standalone_mode=False)
    assert not path.exists()
