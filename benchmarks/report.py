"""The page of a run: of one as they usually are, and of one with ten million samples."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.row import Row, at_most

REFERENCE = Path(__file__).parents[1] / "results" / "reference" / "latency-europe"
SAMPLES, BATCH = 10_000_000, 500_000
USUAL_S, MANY_S, MANY_MB = 1.0, 20.0, 2000.0

PROGRAM = """
import sys, time
from pathlib import Path
import pandas
from experiments.runs import runner
from experiments.show.figures import canvas
runner.make_spec("latency", "europe")
began = time.perf_counter()
runner.write_page(Path(sys.argv[1]))
print(time.perf_counter() - began)
"""
"""What a run costs for its page alone: it has been described, and has drawn its figures."""


def rows(_folder: Path) -> Iterator[Row]:
    """Seconds and memory, the import of Bokeh among them."""
    with TemporaryDirectory() as made:
        usual = shutil.copytree(REFERENCE, Path(made) / "usual")
        yield at_most("page of a run, latency on europe", measure(usual)[0], "s", USUAL_S)
        took_s, memory_mb = measure(enlarged(Path(made) / "many"))
        name = f"page of {SAMPLES // 10**6} million samples"
        yield at_most(name, took_s, "s", MANY_S)
        yield at_most(f"{name}: memory", memory_mb, "MB", MANY_MB)


def measure(run: Path) -> tuple[float, float]:
    """Seconds until the page is written, and the most memory (MB) that its process had."""
    command = [sys.executable, "-c", PROGRAM, str(run)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"writing the page of {run} ended with {process.returncode}")
    return float(told), used.ru_maxrss / 1024


def enlarged(run: Path) -> Path:
    """The reference run with its samples over and over, each time a little later."""
    shutil.copytree(REFERENCE, run)
    path = run / "samples.parquet"
    few = pd.read_parquet(path)
    dice = np.random.default_rng(1)
    schema = pa.Schema.from_pandas(few, preserve_index=False)
    with pq.ParquetWriter(path, schema) as writer:
        for _ in range(SAMPLES // BATCH):
            batch = few.sample(BATCH, replace=True, random_state=dice)
            batch["rtt_ms"] += dice.exponential(0.1, BATCH)
            writer.write_table(pa.Table.from_pandas(batch, schema, preserve_index=False))
    return run
