from __future__ import annotations

import asyncio
import errno

import pytest

from experiments.measure.dial import failure, paced
from experiments.measure.http import parse_fields, parse_head


def test_fields_are_the_key_value_lines():
    body = b"pop=LHR\nserver=LHR-s1\nnot a pair\nquery=a=b\nempty=\n"
    assert parse_fields(body) == {"pop": "LHR", "server": "LHR-s1", "query": "a=b", "empty": ""}


def test_head_gives_status_and_length():
    assert parse_head(b"HTTP/1.1 200 OK\r\nContent-LENGTH: 17\r\nX: 1\r\n\r\n") == (200, 17)
    assert parse_head(b"HTTP/1.0 404 Not Found\r\n\r\n") == (404, None)


@pytest.mark.parametrize(
    "head", [b"", b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 OK\r\n\r\n", b"HTTP/2 200\r\n\r\n",
             b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n"]
)  # fmt: skip
def test_what_is_no_answer_is_refused(head):
    with pytest.raises(ValueError, match=r"not an HTTP/1 answer|invalid literal"):
        parse_head(head)


@pytest.mark.parametrize(
    ("number", "outcome"),
    [
        (errno.ECONNREFUSED, "refused"),
        (errno.ECONNRESET, "reset"),
        (errno.ETIMEDOUT, "timeout"),
        (errno.EHOSTUNREACH, "unreachable"),
        (errno.EADDRNOTAVAIL, "no port"),
    ],
)
def test_errors_of_the_network_have_an_outcome(number, outcome):
    assert failure(OSError(number, "")) == outcome


def test_the_deadline_is_a_timeout():
    assert failure(TimeoutError()) == "timeout"


def test_errors_of_the_program_are_not_swallowed():
    with pytest.raises(OSError, match="too many"):
        failure(OSError(errno.EMFILE, "too many open files"))


def test_paced_keeps_the_order_the_spacing_and_the_limit():
    running: list[int] = []
    most = 0

    async def act(index: int, name: str) -> str:
        nonlocal most
        running.append(index)
        most = max(most, len(running))
        await asyncio.sleep(0.002)
        running.remove(index)
        return f"{index}{name}"

    rows = asyncio.run(paced("abcdefgh", act, at_once=3, spacing_s=0))
    assert rows == ["0a", "1b", "2c", "3d", "4e", "5f", "6g", "7h"]
    assert most == 3


def test_paced_passes_an_error_on_as_it_is():
    async def act(index: int, _: str) -> None:
        raise FileNotFoundError(index)

    with pytest.raises(FileNotFoundError):
        asyncio.run(paced("ab", act, at_once=1, spacing_s=0))
