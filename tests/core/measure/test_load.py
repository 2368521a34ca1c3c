from __future__ import annotations

import pytest

from experiments.measure.load import CpuTimes, LoadWatch, parse_cpu

STAT = "cpu  100 20 30 1000 50 6 4 40 7 8\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr 5\n"


def test_parse_cpu_sums_by_what_the_time_went_to():
    # Guest time (the last two) is within user time already: proc_stat(5).
    assert parse_cpu(STAT) == CpuTimes(busy=160, idle=1050, steal=40)


def test_parse_cpu_refuses_a_file_without_the_line():
    with pytest.raises(ValueError, match="no cpu line"):
        parse_cpu("cpu0 1 2 3 4 5 6 7 8\n")


def test_shares_of_a_time():
    assert CpuTimes(160, 1050, 40).share_since(CpuTimes(100, 1000, 20)) == (60 / 130, 20 / 130)
    assert CpuTimes(1, 1, 1).share_since(CpuTimes(1, 1, 1)) == (0.0, 0.0)


def test_watch_gives_sensible_shares():
    with LoadWatch(interval_s=0.01) as watch:
        during = watch.load()
    after = watch.load()
    assert during.seconds <= after.seconds
    for load in (during, after):
        assert 0 <= load.busy_mean <= load.busy_max <= 1
        assert 0 <= load.steal_mean <= load.steal_max <= 1
    assert set(after.summary()) >= {"cores", "busy_mean", "steal_max", "load_1min_max"}
