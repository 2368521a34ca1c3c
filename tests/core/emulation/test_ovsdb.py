"""A database server that refuses, dies or says nothing is told of in words, and soon."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from topologies.emulation import ovsdb
from topologies.emulation.processes import LabError


@pytest.fixture
def server(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "db.sock"))
        yield listening


def test_a_socket_that_nobody_answers_yet_refuses(server: socket.socket) -> None:
    with pytest.raises(ConnectionRefusedError):
        ovsdb.Connection(Path(server.getsockname()))


def test_a_mute_server_is_not_awaited_for_ever(
    server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ovsdb, "PATIENCE_S", 0.1)
    server.listen()
    connection = ovsdb.Connection(Path(server.getsockname()))
    with pytest.raises(LabError, match=r"did not answer for 0.1 s"):
        connection.select("Bridge", "name")
    connection.close()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "closed its connection"),
        (b'{"id":1,"result":[{"error":"syntax error","details":"x"}]}', "refused: syntax error"),
    ],
)
def test_what_the_server_says_is_told(server: socket.socket, answer: bytes, words: str) -> None:
    server.listen()

    def serve() -> None:
        peer, _ = server.accept()
        with peer:
            peer.recv(1 << 16)
            peer.sendall(answer)

    serving = threading.Thread(target=serve)
    serving.start()
    connection = ovsdb.Connection(Path(server.getsockname()))
    with pytest.raises(LabError, match=words):
        connection.select("Bridge", "name")
    serving.join()
    connection.close()
