"""Listens: uvicorn, with what it leaves open closed. Heads of requests must come in time, and be small."""

import asyncio
import contextlib
import socket
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sim_transforms.errors import UsageError
from sim_transforms.settings.serving import ServeSettings

_HEAD_SECONDS, _MOST_HEAD_BYTES = 10.0, 64 * 2**10
_KEEP_ALIVE_SECONDS, _END_SECONDS = 15, 10
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class HeadBounded(HttpToolsProtocol):
    """A connection on which the head of a request comes within seconds and holds at most 64 KiB.

    uvicorn bounds the time between requests alone: a client that sends a header line a minute would hold a connection
    for ever, and one that sends headers without end would fill the memory.
    """

    _waiting: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The first head is awaited."""
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Counts what comes before a head is whole."""
        super().data_received(data)
        if self._waiting is None or self.transport.is_closing():
            return
        self._head_bytes += len(data)
        if self._head_bytes > _MOST_HEAD_BYTES:
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        """Another head is awaited."""
        super().on_message_begin()
        if self._waiting is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        """The head has come."""
        self._head_has_come()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is awaited any more."""
        self._head_has_come()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._head_bytes = 0
        self._waiting = self.loop.call_later(_HEAD_SECONDS, self._close_silent)

    def _head_has_come(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _close_silent(self) -> None:
        self._waiting = None
        if not self.transport.is_closing():
            self.transport.close()


def listen(app: ASGIApp, settings: ServeSettings, started: Callable[[str], None]) -> None:
    """Serves until SIGINT or SIGTERM, then lets requests end that have begun.

    Args:
        app: that answers.
        settings: where, and how many connections.
        started: told the address once it is listened at.

    Raises:
        UsageError: the address cannot be listened at.
    """
    config = uvicorn.Config(
        app,
        http=HeadBounded,
        ws="none",
        loop="uvloop",
        lifespan="off",
        limit_concurrency=settings.connections,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_END_SECONDS,
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
    )
    with _listening(settings) as opened:
        host, port = opened.getsockname()[:2]
        started(f"http://{f'[{host}]' if ':' in host else host}:{port}")
        # uvicorn raises the signal again that it has ended for: the end of a service is no failure.
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run([opened])


def _listening(settings: ServeSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=settings.connections)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"serve: {settings.host}:{settings.port} cannot be listened at: {error}") from error
