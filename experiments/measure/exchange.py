"""One question on a connection that is open, and its whole answer."""

from __future__ import annotations

import asyncio
import socket

from experiments.measure.http import parse_head

__all__ = ["ask"]


async def ask(sock: socket.socket, name: str = "service", *, last: bool = False) -> bytes:
    """Ask by HTTP who answers; the body. After the ``last`` question the server closes first.

    Raises ValueError for what is no answer, OSError.
    """
    loop = asyncio.get_running_loop()
    end = "Connection: close\r\n" if last else ""
    await loop.sock_sendall(sock, f"GET /trace HTTP/1.1\r\nHost: {name}\r\n{end}\r\n".encode())
    data = b""
    while True:
        piece = await loop.sock_recv(sock, 1 << 16)
        data += piece
        head, blank, body = data.partition(b"\r\n\r\n")
        length = parse_head(head)[1] if blank else None
        if blank and length is None:
            raise ValueError("the answer does not say how long it is")
        whole = length is not None and len(body) >= length
        if whole and (not last or not piece):
            return body
        if not piece:
            raise ConnectionResetError
