"""Errors as answers: a status, a stable code, a sentence for a person."""

from http import HTTPStatus

import orjson
from starlette.responses import Response

from sim_transforms.errors import MediaError, ModelMismatch, NotFound, RuijiError, UsageError

_STATUS: tuple[tuple[type[RuijiError], HTTPStatus, str], ...] = (
    (UsageError, HTTPStatus.BAD_REQUEST, "bad_request"),
    (MediaError, HTTPStatus.UNPROCESSABLE_ENTITY, "bad_media"),
    (NotFound, HTTPStatus.NOT_FOUND, "not_found"),
    (ModelMismatch, HTTPStatus.CONFLICT, "model_mismatch"),
)
_CODES = {
    HTTPStatus.BAD_REQUEST: "bad_request",
    HTTPStatus.UNAUTHORIZED: "no_key",
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "bad_method",
    HTTPStatus.REQUEST_TIMEOUT: "slow_request",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too_large",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "bad_content_type",
    HTTPStatus.UNPROCESSABLE_ENTITY: "bad_request",
    HTTPStatus.MISDIRECTED_REQUEST: "bad_host",
    HTTPStatus.TOO_MANY_REQUESTS: "too_many_requests",
    HTTPStatus.SERVICE_UNAVAILABLE: "busy",
    HTTPStatus.GATEWAY_TIMEOUT: "timeout",
}


class Refused(Exception):
    """A request that is not answered.

    Args:
        status: of the answer.
        message: for a person.
        headers: of the answer.
    """

    def __init__(self, status: HTTPStatus, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers or {}


def refusal(status: int, message: str, headers: dict[str, str] | None = None, code: str = "") -> Response:
    """The answer that says what is wrong."""
    known = _CODES.get(HTTPStatus(status), "internal" if status >= 500 else "bad_request")
    content = orjson.dumps({"error": {"code": code or known, "message": message}})
    return Response(content, status, headers, media_type="application/json")


def refusal_of(error: RuijiError) -> Response:
    """The same for an error of ours; what is no fault of the request is 500."""
    for kind, status, code in _STATUS:
        if isinstance(error, kind):
            reason = f"{error.reason}: " if isinstance(error, MediaError) else ""
            return refusal(status, f"{reason}{error}", code=code)
    return refusal(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
