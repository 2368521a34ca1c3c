"""Who runs a sweep's trials: worker processes on this machine, or a fleet of machines, by Dask.

Each trial is a lab in its own sandbox. A worker says how many labs it can run side by side (its
resource ``lab``), and is given no more, so that they do not spoil each other's times. A trial whose
worker dies is given to another. M. Rocklin, "Dask" (SciPy 2015).
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import sys
import tempfile
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.errors import TrialError, UsageError

if TYPE_CHECKING:
    from distributed import Client, Future

    from topologies.emulation.options import Clock

LAB = "lab"
"""The Dask resource that a worker has for each lab that it can run."""

_DEAF = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
"""Workers share our terminal, but Ctrl-C is for us: we end them."""

CONNECT_S = 10.0
POLL_S = 1.0
"""How often new workers are looked for."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a trial: its run folder as an archive, or why there is none."""

    archive: bytes | None = None
    cause: str = ""


Perform = Callable[[str, str], Outcome]
"""Does a trial: from its spec as JSON, and the code that it is meant for, to what became of it."""

Done = Callable[[str, Outcome], None]
"""Told of each trial by its name when it is over, in this process and thread."""


def labs_here(clock: Clock) -> int:
    """How many labs this machine can run side by side without spoiling their times.

    In virtual time nothing is spoilt, and a guest has one processor, as has a study without a lab.
    In real time a lab's switches, links and programs share two.
    """
    processors = len(os.sched_getaffinity(0))
    return max(1, processors // 2) if clock == "real" else processors


def perform(spec: str, code: str) -> Outcome:
    """Run one trial here, in a folder that goes when it is done.

    Raises nothing that comes of the trial: that is its outcome.
    """
    from experiments.runs import fingerprint, runfolder, runner
    from experiments.runs.spec import Spec
    from experiments.sweeps.folder import packed
    from topologies.emulation.sandbox import NoSandboxError, SandboxError

    if fingerprint.code() != code:
        return Outcome(cause="This worker has other code of poplab: give it the same as the sweep.")
    scratch = Path(tempfile.mkdtemp(prefix="poplab-sweep-"))
    with runfolder.disposed_of(scratch):  # even if this worker is killed
        try:
            result = runner.run_spec(Spec.parse_text(spec), scratch)
            return Outcome(packed(result.run))
        except (TrialError, SandboxError, NoSandboxError) as error:
            return Outcome(cause=str(error))
        except Exception as error:
            error.__notes__ = []  # they tell of a folder that goes now
            return Outcome(cause=traceback.format_exc())


@contextmanager
def here(labs: int) -> Iterator[Client]:
    """A cluster of worker processes on this machine, one lab each."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=labs,
            threads_per_worker=1,
            resources={LAB: 1},
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
            preload=[_DEAF],
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextmanager
def at(scheduler: str) -> Iterator[Client]:
    """The fleet of a scheduler, ``tcp://HOST:8786``. Raises UsageError if it does not answer."""
    from distributed import Client

    try:
        if not re.fullmatch(r"\w+://.+:\d+", scheduler):
            raise ValueError("that is no tcp://HOST:8786")
        client = Client(scheduler, timeout=CONNECT_S, name="poplab sweep")
    except (OSError, ValueError) as error:
        raise UsageError(
            f"No scheduler answers at {scheduler} ({error}): start one there with `dask scheduler`."
        ) from error
    with client:
        yield client


def labs_of(client: Client) -> int:
    """How many labs the fleet can run side by side now."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return int(sum(worker["resources"].get(LAB, 0) for worker in workers))


def run_all(
    client: Client,
    specs: Mapping[str, str],
    code: str,
    done: Done,
    *,
    program: Perform = perform,
    idle: Callable[[], None] = lambda: None,
) -> None:
    """Do every trial, given by name, in this order, as many at once as the fleet has labs for.

    ``idle`` is called again and again while no worker offers a lab. A trial that takes its worker
    with it as often as Dask allows (three times) has failed.
    """
    queue = deque(specs.items())
    running: dict[Future[Outcome], str] = {}
    while queue or running:
        labs = labs_of(client)
        if not labs:
            idle()
        while queue and len(running) < labs:
            name, spec = queue.popleft()
            key = f"{name}-{secrets.token_hex(4)}"
            future = client.submit(program, spec, code, key=key, pure=False, resources={LAB: 1})
            running[future] = name
        for future in _over(running):
            done(running.pop(future), _outcome(future))


def _over(running: Iterable[Future[Outcome]]) -> list[Future[Outcome]]:
    """The trials that are over; waits a moment for the first."""
    from distributed import wait

    if not running:
        time.sleep(POLL_S)
        return []
    with suppress(TimeoutError):
        wait(list(running), timeout=POLL_S, return_when="FIRST_COMPLETED")
    return [future for future in running if future.done()]


def _outcome(future: Future[Outcome]) -> Outcome:
    try:
        outcome: Outcome = future.result()
    except Exception as error:
        return Outcome(cause=f"The worker gave no answer: {error}")
    return outcome


def serve(scheduler: str, labs: int) -> None:
    """Be workers of a scheduler, one process for each lab, until the scheduler ends or Ctrl-C.

    Raises UsageError if it does not answer.
    """
    with at(scheduler):
        pass
    command = [sys.executable, "-m", "distributed.cli.dask_worker", scheduler]
    command += ["--nworkers", str(labs), "--nthreads", "1", "--resources", f"{LAB}=1"]
    command += ["--no-dashboard", "--death-timeout", f"{CONNECT_S:.0f}", "--preload", _DEAF]
    os.execv(sys.executable, command)
