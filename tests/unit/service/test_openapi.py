"""What the OpenAPI page promises holds for what a fuzzer asks: no server error, and answers as they are described."""

import json
import re
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from sim_transforms.errors import MediaError
from sim_transforms.lookup.open import OpenVersion
from sim_transforms.service.uploads import Uploads
from sim_transforms.settings.serving import ServeSettings
from tests.thorough import rounds
from tests.unit.service.services import Service, small_service
from tests.unit.storage.published import published_store, some_vectors

pytestmark = pytest.mark.slow

OPERATIONS = (
    "POST /search",
    "GET /neighbors/{item_id}",
    "GET /items",
    "GET /items/{item_id}",
    "GET /pictures/{item_id}",
    "GET /versions",
    "GET /healthz",
    "GET /metrics",
)


class _Anything:
    """Stands in for a model that takes what begins with a digit."""

    def embed(self, opened: OpenVersion, data: bytes) -> tuple[np.ndarray[Any, Any], list[float]]:
        if not data[:1].isdigit():
            raise MediaError("unsupported", "this is no number")
        return some_vectors()[int(data[:1])][None], [0.0]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    store, _ = published_store(tmp_path_factory.mktemp("fuzzed"), some_vectors())
    with small_service(store, ServeSettings(host="0.0.0.0"), uploads=cast(Uploads, _Anything())) as found:
        yield found


@pytest.fixture(scope="module")
def api(service: Service) -> Any:
    return schemathesis.openapi.from_asgi("/openapi.json", service.app)


def test_page_describes_these_operations(api: Any) -> None:
    assert sorted(operation.ok().label for operation in api.get_all_operations()) == sorted(OPERATIONS)


def test_page_refers_to_nothing_that_it_does_not_hold(service: Service) -> None:
    page = service.client.get("/openapi.json").json()
    names = set(re.findall(r'"#/([^"]*)"', json.dumps(page)))
    assert {"components/schemas/SearchRequest", "components/schemas/Query", "components/schemas/SearchAnswer"} <= names
    assert [
        name for name in names if name.removeprefix("components/schemas/") not in page["components"]["schemas"]
    ] == []


def _make_it_meet_something(case: Any) -> None:
    """Most queries that are drawn are of no item, and of no vector of the right length: half of them are mended."""
    queries = case.body.get("queries") if isinstance(case.body, dict) else None
    if case.media_type != "application/json" or not isinstance(queries, list) or len(str(queries)) % 2:
        return
    for place, query in enumerate(queries):
        if isinstance(query, dict) and isinstance(query.get("item_id"), str):
            query["item_id"] = f"item-{place % 60}"
        if isinstance(query, dict) and isinstance(query.get("vector"), list):
            query["vector"] = (query["vector"] + [0.5] * 8)[:8]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_service_does_what_its_openapi_page_says(api: Any, operation: str) -> None:
    method, path = operation.split(" ")
    checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]

    @settings(max_examples=rounds(2_000, 60), deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(case=api[path][method].as_strategy())
    def ask(case: Any) -> None:
        _make_it_meet_something(case)
        case.call_and_validate(checks=checks)

    ask()
