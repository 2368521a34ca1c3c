"""What is recorded can be read by others."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st
from scapy.utils import RawPcapNgReader

from experiments.measure import pcapng
from experiments.measure.pcapng import Direction

FRAMES = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.integers(0, 1 << 62),
        st.sampled_from(Direction),
        st.binary(min_size=1, max_size=70),
    )
)


@given(FRAMES)
def test_scapy_reads_every_frame_its_time_and_its_way(
    frames: list[tuple[int, int, Direction, bytes]],
) -> None:
    text = pcapng.header(["tLHR:tLHR-eth1", "tARN:tARN-eth1"])
    text += b"".join(pcapng.frame(*frame) for frame in frames)
    text += b"".join(pcapng.statistics(number, 1 << 60, len(frames), 0) for number in (0, 1))
    read = list(RawPcapNgReader(io.BytesIO(text)))
    names = [b"tLHR:tLHR-eth1", b"tARN:tARN-eth1"]
    assert [
        (names.index(about.ifname), about.tshigh << 32 | about.tslow, about.direction, data)
        for data, about in read
    ] == frames
    assert {about.tsresol for _, about in read} <= {10**9}
