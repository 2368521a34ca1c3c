"""Studies in virtual time: exact to microseconds, and equal to the byte whatever the host does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from scapy.layers.inet import ICMP
from scapy.layers.l2 import Ether
from scapy.utils import RawPcapNgReader

from controller.core.events import Event, of_record
from controller.core.world import World
from experiments import load
from experiments.errors import UsageError
from experiments.runs import repeat, runfolder
from experiments.runs.runner import make_spec
from tests.virtual.runs import EXACT_US, Runs, disturbed, virtual_run
from topologies.emulation.sandbox import kernel, root
from topologies.emulation.sandbox.files import PACKAGES, PROJECT
from topologies.plan import plan

pytestmark = [pytest.mark.virtual, pytest.mark.timeout(400)]

ECHO_REQUEST = 8


def test_the_frames_of_a_link_are_kept_as_they_went(tmp_path: Path) -> None:
    """Each end has what it sent and what it received, and two runs have the same bytes."""
    result = virtual_run("latency", tmp_path, pcap=["eLHR-LHR-s1", "LHR-ARN"])
    files = sorted(path.name for path in result.run.glob("*.pcapng"))
    assert files == ["LHR-ARN.pcapng", "LHR-s1-eLHR.pcapng"]
    read = [(about, Ether(data)) for data, about in RawPcapNgReader(str(result.run / files[1]))]
    pings = [(about, x) for about, x in read if ICMP in x and x[ICMP].type == ECHO_REQUEST]
    sent, arrived = ([a for a, _ in pings if a.direction == way] for way in (2, 1))
    assert {about.ifname for about in arrived} == {b"LHR-s1:eth0"}
    assert len(sent) == len(arrived) > 0
    again = virtual_run("latency", tmp_path, pcap=["LHR-s1-eLHR", "LHR-ARN"])
    assert all((again.run / x).read_bytes() == (result.run / x).read_bytes() for x in files)
    assert again.capture_sha256 == result.capture_sha256


def test_a_link_that_is_not_there_cannot_be_recorded() -> None:
    with pytest.raises(UsageError, match="triangle has no link 'LHR-JFK'"):
        make_spec("latency", "triangle", pcap=["LHR-JFK"])


def test_the_log_of_a_run_replayed_ends_in_what_it_lent(first: Runs) -> None:
    found = load(first["borrowing"].run)
    records = runfolder.read_lines(found.path / runfolder.LOG)
    assert [record["number"] for record in records] == list(range(1, len(records) + 1))
    events = [of_record(record) for record in records]
    world = World(plan(found.spec.network)).after(*(x for x in events if isinstance(x, Event)))
    lent = {(x.server, str(x.address), x.first_port) for x in world.leases.values()}
    assert lent == {(x["server"], x["address"], x["first_port"]) for x in found.manifest["leases"]}
    assert found.events["at_ms"].is_monotonic_increasing
    assert {"SwitchSet", "LeaseChanged", "begin", "end"} <= set(found.events["event"])


def test_what_was_captured_is_in_the_result(first: Runs) -> None:
    one, other = first["latency"], first["borrowing"]
    assert one.contract()["capture_sha256"] != other.contract()["capture_sha256"]
    assert load(one.run).manifest["capture"]["frames"] > 1000


def test_another_seed_is_another_run(first: Runs, tmp_path: Path) -> None:
    other = virtual_run("latency", tmp_path, seed=2)
    comparison = repeat.compare(first["latency"].run, other.run)
    assert "frames" in comparison.differing
    assert comparison.causes == ("seed",)


def errors_us(samples: pd.DataFrame) -> pd.Series[float]:
    """Measured minus modelled RTT of all that was answered."""
    answered = samples[samples["outcome"] == "ok"]
    assert len(answered) > 0
    return (answered["rtt_ms"] - answered["model_rtt_ms"]).abs() * 1000


def test_every_rtt_is_the_models(first: Runs) -> None:
    pings = load(first["latency"].run).samples
    steady = errors_us(pings[pings["sequence"] > 0])
    assert steady.median() <= 2
    assert steady.max() <= EXACT_US
    fetches = load(first["borrowing"].run).samples
    direct = fetches[fetches["design"].isin(["own", "port sets"])]  # no proxy on the way
    assert errors_us(direct).max() <= EXACT_US


def test_the_link_daemon_and_userspace_switches_repeat_too(tmp_path: Path) -> None:
    carried = {"root": "host", "links": "delayline", "datapath": "userspace"}
    one = virtual_run("latency", tmp_path, **carried)
    with disturbed():
        again = virtual_run("latency", tmp_path, **carried)
    assert one.valid
    assert one.fidelity.backend == "delayline"
    assert repeat.compare(one.run, again.run).equal


@pytest.mark.parametrize("files", ["host", "hermetic"])
def test_a_user_without_root_gets_the_same_bytes_from_another_checkout(
    files: str, tmp_path: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else; this whole file has just run without it")
    if files == "hermetic" and root.find() is None:
        pytest.skip(f"the hermetic root has not been made: {root.MEND}")
    mine = virtual_run("latency", tmp_path, root=files)
    assert mine.sandbox["root"] == (root.need().sha256 if files == "hermetic" else "host")
    with tempfile.TemporaryDirectory(prefix="poplab-nobody-") as made:
        home = Path(made)
        for name in PACKAGES:
            shutil.copytree(PROJECT / name, home / "elsewhere" / name, symlinks=True)
        shutil.copytree(kernel.need().folder, home / "kernel")
        if files == "hermetic":
            shutil.copy(PROJECT / "requirements.lock", home / "elsewhere")
            here = root.need().folder
            there = home / "cache" / "poplab" / here.name
            shutil.copytree(here, there, symlinks=True)
            shutil.copy(here.with_name(f"{here.name}.facts"), there.parent)
        subprocess.run(["chown", "-R", "nobody", home], check=True)
        become = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        python = [*become, sys.executable, "-P"]
        if subprocess.run([*python, "-c", "import typer"], check=False, cwd="/").returncode != 0:
            pytest.skip(f"{sys.prefix} is out of the reach of other users")
        arguments = ["run", "latency", "--quick", "--clock", "virtual", "--root", files, "--json"]
        program = (
            f"import sys; sys.argv[1:] = {arguments}; from experiments.cli import main; main()"
        )
        environment = {
            "HOME": made,
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(home / "elsewhere"),
            "POPLAB_KERNEL": str(home / "kernel"),
            "XDG_CACHE_HOME": str(home / "cache"),
            "POPLAB_RESULTS": str(home / "results"),
            "LANG": "tr_TR.UTF-8",
            "TZ": "Asia/Tokyo",
        }
        done = subprocess.run(
            [*python, "-c", program],
            env=environment, cwd=made, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert (home / "results" / "latency").stat().st_uid != 0
        assert Path(told["run"]).is_relative_to(home)
        assert repeat.compare(mine.run, Path(told["run"])).equal
        assert told["capture_sha256"] == mine.capture_sha256


REFERENCES = sorted(
    path.parent for path in (PROJECT / "results/reference").glob("*-europe/spec.json")
)
"""Those of the README; the others are what ``first`` runs."""


@pytest.mark.slow
@pytest.mark.parametrize("reference", REFERENCES, ids=lambda path: path.name)
def test_a_reference_run_comes_again(reference: Path, tmp_path: Path) -> None:
    manifest = runfolder.read_json(reference / "manifest.json")
    if root.find() is None:
        pytest.skip(f"the hermetic root has not been made: {root.MEND}")
    _, comparison = repeat.reproduce(reference, tmp_path, lambda _message: None)
    if comparison.causes and not comparison.equal:
        pytest.skip(f"{reference.name} was made with other {', '.join(comparison.causes)}")
    assert comparison.equal, f"{comparison.sentence()}; it was made on {manifest['host']['cpu']}"


def test_a_scenario_repeats_to_the_byte_and_stands_in_the_timeline(tmp_path: Path) -> None:
    lines = ["{at: 100 ms, pop: LHR, do: withdraw}", "{at: 300 ms, link: LHR-FCO, do: cut}"]
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text("\n".join(["steps:", *(f"  - {line}" for line in lines)]))
    one, two = (virtual_run("latency", tmp_path, scenario=scenario) for _ in range(2))
    comparison = repeat.compare(one.run, two.run)
    assert comparison.equal, comparison.sentence()
    assert not one.valid  # the study does not expect it, and says so
    events = load(one.run).events.set_index("event")["at_ms"]
    assert events["Command"].tolist() == sorted(events["Command"])
    assert 0 < events["PortStatus"].min() - events["Command"].max() < 1
    again, same = repeat.reproduce(one.run, tmp_path, lambda _message: None)
    assert same.equal, same.sentence()
    assert again.capture_sha256 == one.capture_sha256
