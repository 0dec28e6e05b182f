"""Who may ask, how often, and how much: decided before anything of a request is worked on."""

import asyncio
import hmac
import time
from collections import OrderedDict
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sim_transforms.errors import UsageError
from sim_transforms.service.problems import Refused, refusal
from sim_transforms.settings.serving import ServeSettings

# What needs no key: whether the service is up, and the page, which holds no data and asks for one.
_OPEN = {"/healthz", "/"}
_OPEN_BELOW = "/static/"
_MOST_CLIENTS = 10_000
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
# No script, style or picture of anywhere else; a page of ours is in no frame of another's.
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; frame-ancestors 'none'; "
        b"base-uri 'none'; form-action 'self'",
    ),
]


def read_keys(path: str | None) -> tuple[bytes, ...]:
    """Keys of a file, one a line.

    Raises:
        UsageError: no such file, or none in it, or one of fewer than 16 characters, or with others than ASCII's.
    """
    if path is None:
        return ()
    try:
        keys = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"serve.api_keys_file: {path} cannot be read: {error}") from error
    found = tuple(key.encode() for key in keys if key and not key.startswith("#"))
    if not found or min(map(len, found)) < 16 or not all(key.isascii() for key in found):
        raise UsageError(f"serve.api_keys_file: {path} must hold keys of at least 16 characters of ASCII, one a line")
    return found


class Rates:
    """A bucket of tokens for each client, as many clients as were seen last.

    Args:
        a_second: tokens that come back.
    """

    def __init__(self, a_second: float) -> None:
        self._rate, self._burst = a_second, max(1.0, 2 * a_second)
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_seconds(self, client: str, now: float) -> float:
        """0 and one token fewer, or the seconds until there is one."""
        left, seen = self._left.pop(client, (self._burst, now))
        left = min(self._burst, left + (now - seen) * self._rate)
        wait = 0.0 if left >= 1 else (1 - left) / self._rate
        self._left[client] = (left - 1 if wait == 0 else left, now)
        while len(self._left) > _MOST_CLIENTS:
            self._left.popitem(last=False)
        return wait


class Gate:
    """ASGI: lets requests through that have a key, are not too many, and whose body is small and comes in time.

    Args:
        app: behind it.
        settings: of the service.
        keys: one of which is asked for, where there are any.
    """

    def __init__(self, app: ASGIApp, settings: ServeSettings, keys: Sequence[bytes] = ()) -> None:
        self._app, self._settings, self._keys = app, settings, keys
        self._most_bytes = settings.max_upload_mib * 2**20
        rate = settings.requests_a_second
        self._rates = Rates(rate) if rate is not None else None
        # A page elsewhere that gives its own name to this machine's address could ask what only this machine may.
        self._names = _LOOPBACK if settings.host in _LOOPBACK else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or refuses it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refused = self._refused(scope, headers)
        if refused is not None:
            await refused(scope, receive, _with_headers(send))
            return
        await self._app(scope, self._bounded(receive), _with_headers(send))

    def _refused(self, scope: Scope, headers: Headers) -> Response | None:
        if self._names is not None and _host_name(headers.get("host", "")) not in self._names:
            return refusal(HTTPStatus.MISDIRECTED_REQUEST, "this service answers to localhost alone (serve.host)")
        path, key = scope["path"], headers.get("x-api-key", "").encode()
        is_open = path in _OPEN or path.startswith(_OPEN_BELOW) or scope["method"] == "OPTIONS"
        known = [hmac.compare_digest(key, other) for other in self._keys]
        if self._keys and not is_open and not any(known):
            return refusal(HTTPStatus.UNAUTHORIZED, "a key is expected, as X-API-Key", {"WWW-Authenticate": "ApiKey"})
        if self._rates is not None and not is_open:
            client = key.decode(errors="replace") if any(known) else (scope.get("client") or ("",))[0]
            wait = self._rates.wait_seconds(client, time.monotonic())
            if wait:
                told = {"Retry-After": str(max(1, round(wait)))}
                return refusal(HTTPStatus.TOO_MANY_REQUESTS, f"the next request is taken in {wait:.1f} s", told)
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > self._most_bytes:
            return self._too_large()
        return None

    def _too_large(self) -> Response:
        message = f"a body holds at most {self._settings.max_upload_mib} MiB (serve.max_upload_mib)"
        # What still comes is not read, so that the connection can serve no other request.
        return refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message, {"Connection": "close"})

    def _bounded(self, receive: Receive) -> Receive:
        """The body, of no more bytes and in no more time than is allowed; raises Refused."""
        read, ends = 0, time.monotonic() + self._settings.timeout_seconds
        whole = False

        async def bounded() -> Message:
            nonlocal read, whole
            if whole:
                # Only that the client goes may come now.
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(0.0, ends - time.monotonic()))
            except TimeoutError:
                slow = f"the body did not come within {self._settings.timeout_seconds:g} s"
                raise Refused(HTTPStatus.REQUEST_TIMEOUT, slow, {"Connection": "close"}) from None
            read += len(message.get("body", b""))
            if read > self._most_bytes:
                limit = f"a body holds at most {self._settings.max_upload_mib} MiB (serve.max_upload_mib)"
                raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, limit, {"Connection": "close"})
            whole = not message.get("more_body", False)
            return message

        return bounded


def _host_name(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *_HEADERS]
        await send(message)

    return sent
