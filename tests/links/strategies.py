"""Impairments that netem can be asked for."""

from __future__ import annotations

from hypothesis import strategies as st

from topologies.emulation.links import Impairment

_share = st.floats(0.0, 1.0)
_time_ns = st.integers(0, 3_600_000_000_000)

for_netem = st.builds(
    Impairment,
    delay_ns=_time_ns,
    jitter_ns=_time_ns,
    gemodel=st.none() | st.tuples(_share, _share, _share, _share),
    duplicate=_share,
    corrupt=_share,
    reorder=_share,
    rate_bit_s=st.none() | st.integers(1_000, 10_000_000_000_000),
    limit_packets=st.none() | st.integers(1, 1 << 20),
    blackhole=st.booleans(),
)
