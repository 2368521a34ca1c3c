"""The page of a run: of one as they usually are, and of one with ten million samples."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
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
USUAL_S, MANY_S, MANY_MB = 3.0, 20.0, 2000.0

PROGRAM = "from experiments.cli import main; main()"


def rows(_folder: Path) -> Iterator[Row]:
    """Whole commands, the interpreter's start and all imports with them."""
    with TemporaryDirectory() as made:
        page = Path(made) / "report.html"
        took_s, _ = measure(REFERENCE, page)
        yield at_most("report of 3,360 samples", took_s, "s", USUAL_S)
        took_s, memory_mb = measure(enlarged(Path(made) / "run"), page)
        yield at_most(f"report of {SAMPLES:,} samples", took_s, "s", MANY_S)
        yield at_most(f"report of {SAMPLES:,} samples: memory", memory_mb, "MB", MANY_MB)


def measure(run: Path, page: Path) -> tuple[float, float]:
    """Seconds and most memory (MB) of ``poplab report RUN --html FILE``."""
    command = [sys.executable, "-c", PROGRAM, "report", str(run), "--html", str(page)]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    took_s = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return took_s, used.ru_maxrss / 1024


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
