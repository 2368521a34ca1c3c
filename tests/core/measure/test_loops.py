"""Open and closed loops: who waits for whom, from when times count, and how they are mended."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from ipaddress import ip_address
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.measure import arrivals, closed_loop
from experiments.measure.closed_loop import circle, corrected
from experiments.measure.dial import Dialled
from experiments.measure.exchange import ask
from experiments.measure.meanwhile import Meanwhile
from experiments.measure.open_loop import offer

SERVICE = ip_address("198.51.100.1")
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\npop=LHR"


def test_an_open_loop_waits_for_nobody() -> None:
    started: list[str] = []
    enough = 5

    async def slow(_turn: int, host: str) -> str:
        started.append(host)
        while len(started) < enough:  # nobody is answered before the last one has started
            await asyncio.sleep(0.001)
        return host

    rows = offer(["a", "b"], slow, arrivals.within(0.005, arrivals.even(1000)))
    assert [one.row for one in rows] == started == ["a", "b", "a", "b", "a"]


def test_an_open_loop_is_over_when_it_is_told_so() -> None:
    async def answer(turn: int, _attempt: str) -> int:
        return turn

    with Meanwhile(lambda over: offer(["a"], answer, arrivals.even(500), over)) as load:
        time.sleep(0.05)
    assert [one.row for one in load.rows] == list(range(len(load.rows)))
    assert len(load.rows) > 3


def test_what_starts_late_is_late() -> None:
    async def busy(turn: int, _attempt: str) -> int:
        time.sleep(0.02)  # it keeps the whole loop from starting anything
        return turn

    rows = offer(["a"], busy, [0.0, 0.001, 0.002])
    assert [one.due_ns - rows[0].due_ns for one in rows] == [0, 1_000_000, 2_000_000]
    assert rows[0].late_ns >= 0
    assert max(one.late_ns for one in rows) > 10_000_000


def test_an_error_beside_a_block_is_raised_at_its_end() -> None:
    def fail(_over: threading.Event) -> list[int]:
        raise FileNotFoundError("no such host")

    with pytest.raises(FileNotFoundError, match="no such host"), Meanwhile(fail):
        pass


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Connections end at a thread that answers; ``how`` says with what, and how many times."""
    how: dict[str, Any] = {"answer": ANSWER, "times": 10**6, "outcome": "ok", "opened": []}
    ends: list[socket.socket] = []

    def serve(end: socket.socket) -> None:
        for _ in range(how["times"]):
            if not end.recv(4096):
                return
            end.sendall(how["answer"])
        end.close()

    async def dialled(host: str, _target: object, **_options: object) -> Dialled:
        how["opened"].append(host)
        if how["outcome"] != "ok":
            return Dialled(how["outcome"])
        here, there = socket.socketpair()
        here.setblocking(False)
        ends.append(there)
        threading.Thread(target=serve, args=(there,), daemon=True).start()
        return Dialled("ok", 0, None, here)

    monkeypatch.setattr(closed_loop, "dial", dialled)
    yield how
    for end in ends:
        end.close()


def go_round(seconds: float, think_s: float = 0.002) -> list[closed_loop.Turn]:
    with Meanwhile(
        lambda over: circle(
            ["a", "b"], SERVICE, over, think_s=think_s, stagger_s=0.001, timeout_s=0.2
        )
    ) as load:
        time.sleep(seconds)
    return load.rows


def test_a_closed_loop_keeps_its_connections_and_thinks(served: dict[str, Any]) -> None:
    turns = go_round(0.1)
    assert served["opened"] == ["a", "b"]
    for number in (0, 1):
        mine = [turn for turn in turns if turn.connection == number]
        assert len(mine) > 3
        assert [turn.sequence for turn in mine] == list(range(len(mine)))
        assert all(turn.outcome == "ok" and turn.rtt_ns is not None for turn in mine)
        for one, after in pairwise(mine):
            assert after.sent_ns >= one.sent_ns + (one.rtt_ns or 0) + 1_900_000


@pytest.mark.parametrize(
    ("how", "outcomes"),
    [
        ({"outcome": "refused"}, ["refused"]),
        ({"times": 2}, ["ok", "ok", "reset"]),
        ({"answer": b"HTTP/1.1 200 OK\r\n\r\n"}, ["bad answer"]),
        ({"answer": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npop=LHR"}, ["timeout"]),
    ],
)
def test_a_connection_that_fails_asks_no_more(
    served: dict[str, Any], how: dict[str, Any], outcomes: list[str]
) -> None:
    served.update(how)
    turns = go_round(0.3)
    for number in (0, 1):
        assert [x.outcome for x in turns if x.connection == number] == outcomes


def test_the_last_answer_is_whole_when_the_server_has_closed() -> None:
    here, there = socket.socketpair()
    here.setblocking(False)
    with here, there:
        there.sendall(ANSWER)
        there.shutdown(socket.SHUT_WR)
        assert asyncio.run(ask(here, "www", last=True)) == b"pop=LHR"
        assert b"Host: www\r\nConnection: close\r\n" in there.recv(4096)


@given(st.integers(0, 10**9), st.integers(1, 10**7))
def test_a_correction_puts_in_what_was_kept_back(value: int, expected: int) -> None:
    first = next(corrected(value, expected))
    assert first == value
    if value // expected > 10_000:
        return
    found = list(corrected(value, expected))
    assert len(found) == max(1, value // expected)
    assert all(a - b == expected for a, b in pairwise(found))
    assert len(found) == 1 or found[-1] >= expected


def test_without_an_expected_interval_nothing_is_corrected() -> None:
    assert list(corrected(300.0, 0.0)) == [300.0]


def test_a_corrected_closed_loop_is_an_even_one() -> None:
    """Of a stall, whoever asks every 10 ms whatever happens sees 300, 290, ... 10 ms."""
    assert list(corrected(300.0, 10.0)) == [300.0 - 10 * n for n in range(30)]
