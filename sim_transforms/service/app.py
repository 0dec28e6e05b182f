"""The HTTP API of a store: routes, and what they have in common. `server.py` listens."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any

import orjson
from fastapi import FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sim_transforms.errors import NotFound, RuijiError, UsageError
from sim_transforms.lookup.open import OpenVersion
from sim_transforms.service import searches
from sim_transforms.service.answers import (
    Asked,
    Condition,
    HealthAnswer,
    ItemAnswer,
    ItemsAnswer,
    ProblemAnswer,
    SearchAnswer,
    SearchRequest,
    VersionsAnswer,
)
from sim_transforms.service.gate import Gate
from sim_transforms.service.metrics import Metrics
from sim_transforms.service.pages import api_page, read_pages
from sim_transforms.service.problems import Refused, refusal, refusal_of
from sim_transforms.service.served import Served
from sim_transforms.service.uploads import Uploads
from sim_transforms.service.work import Workers
from sim_transforms.settings.serving import ServeSettings

_MOST_ITEMS = 500
_JSON, _FORM = "application/json", "multipart/form-data"
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": ProblemAnswer, "description": HTTPStatus(status).phrase}
    for status in (400, 401, 404, 408, 409, 413, 415, 421, 422, 429, 503, 504)
}
_UPLOAD = {
    "type": "object",
    "required": ["media"],
    "additionalProperties": False,
    "properties": {
        "media": {"type": "string", "format": "binary", "description": "a picture or sound"},
        **Asked.model_json_schema()["properties"],
    },
}


@dataclass(frozen=True)
class Parts:
    """What the routes need.

    Attributes:
        served: the version that answers.
        settings: of the service.
        workers, decoding: threads that search, and those that decode and embed uploads.
        uploads: embeds them; null where no model is given.
        published: the store's versions, as `VersionsAnswer` lists them.
        picture: PNG of an item, null where there is none; null where no pictures are known.
        metrics: that are told.
    """

    served: Served
    settings: ServeSettings
    workers: Workers
    decoding: Workers
    uploads: Uploads | None
    published: Callable[[], list[dict[str, Any]]]
    picture: Callable[[str], bytes | None] | None
    metrics: Metrics


_COMPONENTS = "#/components/schemas/{model}"
ItemPath = Annotated[str, Path(min_length=1, max_length=1024)]
Where = Annotated[Condition | None, Query()]
K = Annotated[int, Query(ge=1, description="neighbours")]


def make_app(parts: Parts, keys: tuple[bytes, ...] = ()) -> ASGIApp:
    """The application, behind its gate.

    Args:
        parts: of the service.
        keys: that requests must carry, where there are any.
    """
    app = FastAPI(
        title="Ruiji",
        version="1",
        summary="Searches of what looks or sounds alike, in the latest version of a store.",
        docs_url=None,
        redoc_url=None,
        responses=_PROBLEMS,
    )
    _handle_errors(app)
    _add_searches(app, parts)
    _add_items(app, parts)
    _add_state(app, parts)
    described = _described(app)
    _add_pages(app, described)
    outer: ASGIApp = Gate(app, parts.settings, keys)
    if parts.settings.cors_origins:
        outer = CORSMiddleware(
            outer,
            allow_origins=parts.settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["X-API-Key", "Content-Type"],
            max_age=600,
        )
    return Counted(outer, app, parts.metrics)


def _add_searches(app: FastAPI, parts: Parts) -> None:
    asked = {"$ref": _COMPONENTS.format(model=SearchRequest.__name__)}
    body = {"content": {_JSON: {"schema": asked}, _FORM: {"schema": _UPLOAD}}}

    @app.post("/search", response_model=SearchAnswer, openapi_extra={"requestBody": {**body, "required": True}})
    async def search(request: Request) -> Response:
        """The nearest items of some queries (JSON), or of an uploaded picture or sound (a form)."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == _JSON:
            asked = SearchRequest.model_validate_json(await request.body())
            searches.check_limits(asked, parts.settings)
            found = await _with_version(parts, lambda opened: searches.search(opened, asked), asked.version)
            return _answered(found, parts)
        if kind == _FORM:
            return _answered(await _search_upload(request, parts), parts)
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"{_JSON} or {_FORM} is expected")

    @app.get("/neighbors/{item_id:path}", response_model=SearchAnswer)
    async def neighbors(item_id: ItemPath, k: K = 10, where: Where = None) -> Response:
        """The nearest of an indexed item, itself left out."""
        searches.check_k(k, parts.settings)
        found = await _with_version(parts, lambda opened: searches.neighbors(opened, item_id, k, where))
        return _answered(found, parts)


def _described(app: FastAPI) -> dict[str, Any]:
    """What FastAPI knows of the routes, and what a search is asked with, which its route reads itself."""
    described = app.openapi()
    asked = SearchRequest.model_json_schema(ref_template=_COMPONENTS)
    described["components"]["schemas"].update({**asked.pop("$defs"), SearchRequest.__name__: asked})
    app.openapi = lambda: described  # type: ignore[method-assign]
    return described


async def _search_upload(request: Request, parts: Parts) -> dict[str, Any]:
    uploads = parts.uploads
    if uploads is None:
        raise Refused(HTTPStatus.CONFLICT, "uploads are not searched here: the service was started without a model")
    async with request.form(max_files=1, max_fields=len(Asked.model_fields)) as form:
        data, asked = await _upload(form)
    searches.check_k(asked.k, parts.settings)

    def embed_and_search() -> dict[str, Any]:
        opened = parts.served.version(asked.version)
        vectors, starts = uploads.embed(opened, data)
        return searches.search_parts(opened, vectors, starts, asked)

    return await parts.decoding.run(embed_and_search)


async def _upload(form: FormData) -> tuple[bytes, Asked]:
    unknown = sorted(form.keys() - {"media", *Asked.model_fields})
    if unknown:
        raise UsageError(f"the form holds {unknown[0][:40]!r}; media, {', '.join(Asked.model_fields)} are known")
    media, told = form.get("media"), {name: form[name] for name in Asked.model_fields if name in form}
    if not isinstance(media, UploadFile) or not all(isinstance(value, str) for value in told.values()):
        raise UsageError("a form is expected that holds `media` as a file, and the others as text")
    return await media.read(), Asked.model_validate(told)


def _add_items(app: FastAPI, parts: Parts) -> None:
    @app.get("/items", response_model=ItemsAnswer)
    async def items(
        where: Where = None,
        offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
        limit: Annotated[int, Query(ge=1, le=_MOST_ITEMS)] = 50,
    ) -> Response:
        """Some of the items, in the order of their rows."""
        return _json(await _with_version(parts, lambda opened: searches.items(opened, where, offset, limit)))

    @app.get("/items/{item_id:path}", response_model=ItemAnswer)
    async def item(item_id: ItemPath) -> Response:
        """An indexed item: its metadata."""
        return _json(await _with_version(parts, lambda opened: searches.item(opened, item_id)))

    picture: dict[int | str, dict[str, Any]] = {
        200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}
    }

    @app.get("/pictures/{item_id:path}", response_class=Response, responses=picture)
    async def pictures(item_id: ItemPath) -> Response:
        """A small PNG of an item."""
        found = await parts.workers.run(parts.picture, item_id) if parts.picture is not None else None
        if found is None:
            raise NotFound(f"there is no picture of item {item_id!r}")
        return Response(found, media_type="image/png", headers={"Cache-Control": "private, max-age=300"})


def _add_state(app: FastAPI, parts: Parts) -> None:
    @app.get("/versions", response_model=VersionsAnswer)
    async def versions() -> Response:
        """The whole versions of the store, oldest first; which is served, and what could not be taken up."""
        published = await parts.workers.run(parts.published)
        now = parts.served.current.version
        for version in published:
            version["served"] = version["version"] == now
        return _json({"served": now, "versions": published, "refused": dict(parts.served.state.refused)})

    @app.get("/healthz", response_model=HealthAnswer)
    async def health() -> Response:
        """Whether searches are answered."""
        opened, state = parts.served.current, parts.served.state
        told = {"status": "ok", "version": opened.version, "items": opened.manifest.items, "problem": state.problem}
        return _json(told)

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Counters and gauges in Prometheus' text format."""
        return Response(parts.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_pages(app: FastAPI, described: dict[str, Any]) -> None:
    pages, about = read_pages(), api_page(described).encode()

    def shown(content: bytes, kind: str) -> Response:
        # Asked for again each time: another version of Ruiji has other pages.
        return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return shown(*pages["index.html"])

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return shown(about, "text/html; charset=utf-8")

    @app.get("/static/{name}", include_in_schema=False)
    async def static(name: str) -> Response:
        if name not in pages:
            raise NotFound(f"there is no {name!r}")
        return shown(*pages[name])


async def _with_version(
    parts: Parts, function: Callable[[OpenVersion], dict[str, Any]], version: str | None = None
) -> dict[str, Any]:
    """Calls a function in a thread, with the version that is named, or that answers at this moment."""
    return await parts.workers.run(lambda: function(parts.served.version(version)))


def _answered(found: dict[str, Any], parts: Parts) -> Response:
    parts.metrics.queries.inc(len(found["results"]))
    return _json(found)


def _json(content: dict[str, Any]) -> Response:
    return Response(orjson.dumps(content, option=orjson.OPT_NON_STR_KEYS), media_type=_JSON)


def _handle_errors(app: FastAPI) -> None:
    async def ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, RuijiError)
        return refusal_of(error)

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, Refused)
        return refusal(error.status, error.message, error.headers)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError | ValidationError)
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part not in ("query", "path"))
        return refusal(HTTPStatus.UNPROCESSABLE_ENTITY, f"{place}: {first['msg']}" if place else str(first["msg"]))

    async def plain(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return refusal(error.status_code, str(error.detail), dict(error.headers or {}))

    async def gone(request: Request, error: Exception) -> Response:
        # Nobody reads it; it is counted.
        return refusal(HTTPStatus.BAD_REQUEST, "the client went away before its request was whole")

    async def broken(request: Request, error: Exception) -> Response:
        # Starlette raises it again behind this answer, and uvicorn writes its trace.
        return refusal(HTTPStatus.INTERNAL_SERVER_ERROR, f"internal error: {type(error).__name__}; the log says more")

    handlers: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
        RuijiError: ours,
        Refused: refused,
        RequestValidationError: invalid,
        ValidationError: invalid,
        HTTPException: plain,
        ClientDisconnect: gone,
        Exception: broken,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


class Counted:
    """ASGI: tells the metrics of every request, refused ones too.

    Args:
        inner: behind it.
        app: whose routes are told, in place of the paths of requests.
        metrics: that are told.
    """

    def __init__(self, inner: ASGIApp, app: FastAPI, metrics: Metrics) -> None:
        self._inner, self._metrics = inner, metrics
        self._known = {getattr(route, "path", "") for route in app.routes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on and counts it."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        began, status = time.perf_counter(), int(HTTPStatus.INTERNAL_SERVER_ERROR)

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._inner(scope, receive, counted)
        finally:
            route = getattr(scope.get("route"), "path", "")
            shown = route if route in self._known else "other"
            self._metrics.count(shown, scope["method"], status, time.perf_counter() - began)
