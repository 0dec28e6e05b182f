"""Heads of requests come in time and stay small, on a real connection."""

import asyncio

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from sim_transforms.service import server


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body", False):
        pass
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


async def _asked(*pieces: bytes) -> bytes:
    """What comes back until the connection is closed."""
    config = uvicorn.Config(_app, ws="none", lifespan="off", log_config=None)
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: server.HeadBounded(config, state, {}, loop), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.02)
        return await asyncio.wait_for(reader.read(), 10.0)
    finally:
        writer.close()
        listening.close()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A head must come within a tenth of a second."""
    monkeypatch.setattr(server, "_HEAD_SECONDS", 0.1)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize(
    "pieces", [(), (b"GET / HTTP/1.1\r\nHost: a\r\n",), (b"GET / HTTP/1.1\r\nX: ", b"a", b"b", b"c")]
)
def test_connection_whose_head_does_not_come_is_closed(pieces: tuple[bytes, ...]) -> None:
    assert asyncio.run(_asked(*pieces)) == b""


@pytest.mark.usefixtures("soon")
def test_second_request_of_a_connection_must_come_too() -> None:
    whole = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    answer = asyncio.run(_asked(whole, whole, b"GET / HTTP/1.1\r\n"))
    assert answer.count(b"204 No Content") == 2


def test_head_above_64_kib_is_refused() -> None:
    answer = asyncio.run(_asked(b"GET / HTTP/1.1\r\nHost: a\r\nX: ", *(b"a" * 9_000 for _ in range(8))))
    assert answer.startswith(b"HTTP/1.1 431")


def test_large_body_behind_a_small_head_is_none_of_it() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 200000\r\n\r\n"
    assert b"204 No Content" in asyncio.run(_asked(head + b"a" * 200_000))
