"""Reads a run folder back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any

from experiments.errors import UsageError
from experiments.runs import runfolder
from experiments.runs.spec import Spec
from experiments.verdict.result import Result

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class RunData:
    """A run as tidy frames; columns and units are described in ``results/README.md``.

    ``tables`` are the study's own (``clients``, ``pairs``, ``designs``).
    """

    path: Path
    spec: Spec
    manifest: Mapping[str, Any]
    result: Result
    answer: str
    samples: pd.DataFrame
    summary: pd.DataFrame
    events: pd.DataFrame
    tables: Mapping[str, pd.DataFrame]
    figures: tuple[Path, ...]


def load(path: Path | str, *, compact: bool = False) -> RunData:
    """Everything in a run folder. Raises UsageError if it is none, or of another schema.

    With ``compact`` texts in the samples are categories: millions of rows take a third of the room.
    """
    path = Path(path)
    manifest, result, answer = head(path)
    with whole(path):
        return _load(path, manifest, result, answer, compact=compact)


NAMES = ("city", "pop", "client", "server", "origin", "country", "client_id", "tag")
"""Columns of names: a city may be called 1, 001 or NA."""


def read_table(path: Path) -> pd.DataFrame:
    """A table as a run wrote it: names are text whatever they look like, nothing else is missing
    but what is empty.
    """
    import pandas as pd

    heads = pd.read_csv(path, nrows=0).columns
    texts = {name: str for name in heads if name in NAMES or name.endswith(("_pop", "_city"))}
    return pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=texts)


def _load(
    path: Path, manifest: Mapping[str, Any], result: Result, answer: str, *, compact: bool
) -> RunData:

    own = {"summary", "events"}
    return RunData(
        path=path,
        spec=Spec.read(path / "spec.json"),
        manifest=manifest,
        result=result,
        answer=answer,
        samples=_samples(path / "samples.parquet", compact=compact),
        summary=read_table(path / "summary.csv"),
        events=read_table(path / "events.csv"),
        tables={
            csv.stem: read_table(csv) for csv in sorted(path.glob("*.csv")) if csv.stem not in own
        },
        figures=figures(path, manifest),
    )


def _samples(path: Path, *, compact: bool) -> pd.DataFrame:
    import pandas as pd
    import pyarrow.parquet as pq
    import pyarrow.types as kinds

    if not compact:
        return pd.read_parquet(path)
    schema = pq.read_schema(path)
    texts = [x.name for x in schema if kinds.is_string(x.type) or kinds.is_large_string(x.type)]
    table = pq.read_table(path, read_dictionary=texts)
    frame: pd.DataFrame = table.to_pandas(self_destruct=True, split_blocks=True)
    return frame


REQUIRED: Mapping[str, type | UnionType] = {
    "start": str,
    "host": dict,
    "versions": dict,
    "sandbox": dict | NoneType,
    "leases": list | dict | str | NoneType,
    "capture": dict | str | NoneType,
    "figures": list,
    "observed": dict,
}
"""What every reader of a manifest relies on."""


def head(path: Path) -> tuple[Mapping[str, Any], Result, str]:
    """Manifest, result and answer of a run, without its samples. Raises as ``load``."""
    if not (path / "manifest.json").exists():
        raise UsageError(f"{path} is no run folder (no manifest.json): give the path of a run.")
    with whole(path):
        manifest = runfolder.read_json(path / "manifest.json")
        if manifest["schema"] != runfolder.SCHEMA:
            raise UsageError(
                f"{path} has the layout {manifest['schema']}, not {runfolder.SCHEMA}: "
                "read it with the poplab that wrote it."
            )
        for name, kind in REQUIRED.items():
            if not isinstance(manifest[name], kind):
                raise TypeError(f"the manifest's {name} is {manifest[name]!r}")
        data = runfolder.read_json(path / "result.json")
        figures(path, manifest)
        return manifest, replace(Result.from_contract(data), run=path), str(data["answer"])


@contextmanager
def whole(path: Path) -> Iterator[None]:
    """Says that a folder is damaged, and where, if reading it fails."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError, OSError) as error:
        kind = type(error).__name__
        raise UsageError(
            f"{path} is a damaged run folder ({kind}: {error}): give another."
        ) from error


def spec(path: Path) -> Spec:
    """The spec of a run. Raises UsageError if it is damaged."""
    with whole(path):
        return Spec.read(path / "spec.json")


def figures(path: Path, manifest: Mapping[str, Any]) -> tuple[Path, ...]:
    """The figures of a run, in the study's order."""
    return tuple(path / name for name in manifest["figures"])
