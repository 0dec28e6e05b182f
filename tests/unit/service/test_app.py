"""Requests are answered by one version, wrong ones are told what is wrong, and nobody asks more than is allowed."""

from collections.abc import Iterator

import numpy as np
import pytest

from sim_transforms.lookup.open import open_version
from sim_transforms.service.work import Workers
from sim_transforms.settings.serving import ServeSettings
from sim_transforms.storage.local import LocalStore
from tests.unit.service.services import Service, small_service
from tests.unit.storage.published import published_store, some_vectors

KEY = b"0123456789abcdef"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    return published_store(tmp_path_factory.mktemp("served"), some_vectors())[0]


@pytest.fixture(scope="module")
def service(store: LocalStore) -> Iterator[Service]:
    limits = ServeSettings(max_batch=4, max_k=20, max_upload_mib=1)
    with small_service(store, limits, picture={"item-1": b"PNG"}.get) as found:
        yield found


def test_search_answers_as_the_look_up_does(service: Service, store: LocalStore) -> None:
    queries = some_vectors(9, 3)
    expected = open_version(store.url).search(queries, 5)
    body = {"queries": [{"vector": q} for q in queries.tolist()], "k": 5}
    answer = service.client.post("/search", json=body).json()
    assert answer["version"] == open_version(store.url).version
    for result, matches in zip(answer["results"], expected, strict=True):
        assert [m["item_id"] for m in result["matches"]] == [m.item_id for m in matches]
        np.testing.assert_allclose([m["distance"] for m in result["matches"]], [m.distance for m in matches])
        assert result["no_match"] == open_version(store.url).no_match(matches)


def test_search_by_item_leaves_it_out_beside_vectors(service: Service) -> None:
    body = {"queries": [{"item_id": "item-3"}, {"vector": some_vectors()[3].tolist()}], "k": 4}
    first, second = service.client.post("/search", json=body).json()["results"]
    assert second["matches"][0]["item_id"] == "item-3"
    assert [m["item_id"] for m in second["matches"][1:]] == [m["item_id"] for m in first["matches"]][:3]
    assert len(first["matches"]) == len(second["matches"]) == 4


def test_neighbors_are_those_of_the_search(service: Service) -> None:
    body = {"queries": [{"item_id": "item-3"}], "k": 4, "where": "colour = 'red'"}
    asked = service.client.post("/search", json=body).json()
    assert service.client.get("/neighbors/item-3", params={"k": 4, "where": "colour = 'red'"}).json() == asked
    none = service.client.get("/neighbors/item-3", params={"where": "colour = 'blue'"}).json()["results"][0]
    assert none == {"matches": [], "no_match": True}


def test_items_are_listed_and_told(service: Service) -> None:
    found = service.client.get("/items", params={"limit": 5, "offset": 58}).json()
    assert (found["total"], len(found["items"])) == (60, 2)
    item_id = found["items"][0]["item_id"]
    told = service.client.get(f"/items/{item_id}").json()
    assert (told["item_id"], told["metadata"]) == (item_id, {"colour": "red"})
    assert (
        service.client.get("/items", params={"where": "item_id = 'item-7'"}).json()["items"][0]["item_id"] == "item-7"
    )


def test_pictures_are_given_where_there_are_some(service: Service) -> None:
    assert service.client.get("/pictures/item-1").content == b"PNG"
    assert service.client.get("/pictures/item-2").status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"queries": [{"item_id": "nobody"}]}, 404, "holds no item 'nobody'"),
        ({"queries": [{"vector": [1.0, 2.0]}]}, 400, "a vector of 2 numbers; 8 are expected"),
        ({"queries": [{"vector": [0.0] * 8}]}, 400, "zero vector"),
        ({"queries": [{"vector": [1e39] * 8}]}, 400, "NaN or infinite"),
        ({"queries": []}, 422, "queries"),
        ({"queries": [{"item_id": "item-1"}] * 5}, 400, "at most 4 are answered"),
        ({"queries": [{"item_id": "item-1"}], "k": 21}, 400, "at most 20 neighbours"),
        ({"queries": [{"item_id": "item-1"}], "k": 0}, 422, "k: "),
        ({"queries": [{"item_id": "item-1"}], "kk": 3}, 422, "kk: "),
        ({"queries": [{"item_id": "item-1", "vector": [1.0]}]}, 422, "either item_id or vector"),
        ({"queries": [{}]}, 422, "either item_id or vector"),
        ({"queries": [{"item_id": "item-1"}], "where": "size = 1"}, 400, "no column 'size'"),
        ({"queries": [{"item_id": "item-1"}], "ef_search": 10**9}, 422, "ef_search"),
        ({"queries": "item-1"}, 422, "queries"),
        ([1, 2], 422, ""),
    ],
)
def test_wrong_searches_are_told_what_is_wrong(service: Service, body: object, status: int, message: str) -> None:
    found = service.client.post("/search", json=body)
    assert found.status_code == status, found.text
    assert message in found.json()["error"]["message"]


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 422),
        (b'{"queries": [{"vector": [NaN]}]}', "application/json", 422),
        (b"\xff\xfe", "application/json", 422),
        (b"[" * 100_000, "application/json", 422),
        (b"k=3", "application/x-www-form-urlencoded", 415),
        (b"", "", 415),
        (b"nothing", "multipart/form-data; boundary=b", 409),
        (b"a" * (2**20 + 1), "application/json", 413),
    ],
)
def test_malformed_bodies_are_refused(service: Service, content: bytes, kind: str, status: int) -> None:
    found = service.client.post("/search", content=content, headers={"content-type": kind})
    assert found.status_code == status, found.text
    assert found.json()["error"]["message"]


def test_body_without_a_length_is_bounded_too(service: Service) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(100):
            yield b"a" * 100_000

    found = service.client.post("/search", content=pieces(), headers={"content-type": "application/json"})
    assert found.status_code == 413


@pytest.mark.parametrize(
    "path", ["/items/../../etc/passwd", "/pictures/..%2f..%2fetc%2fpasswd", "/items/%2e%2e/", "/static/../app.py"]
)
def test_paths_of_requests_lead_nowhere(service: Service, path: str) -> None:
    found = service.client.get(path)
    assert found.status_code == 404
    assert "root:" not in found.text


def test_uploads_without_a_model_are_refused(service: Service) -> None:
    found = service.client.post("/search", files={"media": b"picture"})
    assert (found.status_code, "without a model" in found.json()["error"]["message"]) == (409, True)


def test_other_paths_and_methods_are_refused_in_the_same_shape(service: Service) -> None:
    assert service.client.get("/nowhere").json()["error"]["code"] == "not_found"
    assert service.client.put("/search").json()["error"]["code"] == "bad_method"


def test_answers_carry_headers_that_keep_other_pages_out(service: Service) -> None:
    for path in ("/healthz", "/nowhere"):
        headers = service.client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]


def test_names_of_other_hosts_are_refused_on_loopback_alone(service: Service, store: LocalStore) -> None:
    assert service.client.get("/healthz", headers={"host": "shop.example"}).status_code == 421
    for name in ("localhost:1234", "127.0.0.1", "[::1]:80"):
        assert service.client.get("/healthz", headers={"host": name}).status_code == 200
    with small_service(store, ServeSettings(host="0.0.0.0")) as public:
        assert public.client.get("/healthz", headers={"host": "shop.example"}).status_code == 200


def test_keys_are_asked_of_all_but_health(store: LocalStore) -> None:
    with small_service(store, keys=(b"f" * 16, KEY)) as guarded:
        assert guarded.client.get("/items").status_code == 401
        assert guarded.client.get("/metrics").status_code == 401
        assert guarded.client.get("/items", headers={"x-api-key": "0" * 16}).status_code == 401
        assert guarded.client.get("/items", headers={"x-api-key": KEY.decode()}).status_code == 200
        assert guarded.client.get("/healthz").status_code == 200


def test_clients_that_ask_too_often_are_told_when_to_come_again(store: LocalStore) -> None:
    with small_service(store, ServeSettings(requests_a_second=0.5)) as slow:
        assert [slow.client.get("/items").status_code for _ in range(3)] == [200, 429, 429]
        assert int(slow.client.get("/items").headers["retry-after"]) == 2
        assert slow.client.get("/healthz").status_code == 200


def test_other_origins_are_let_in_by_configuration(store: LocalStore) -> None:
    asked = {"origin": "https://shop.example", "access-control-request-method": "POST"}
    with small_service(store, ServeSettings(cors_origins=("https://shop.example",)), (KEY,)) as shop:
        assert shop.client.options("/search", headers=asked).headers["access-control-allow-origin"] == asked["origin"]
        other = shop.client.options("/search", headers={**asked, "origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers


def test_requests_that_nobody_has_time_for_are_refused(store: LocalStore) -> None:
    with small_service(store, ServeSettings(waiting=1)) as busy:
        busy.parts.workers._there = 3
        found = busy.client.get("/items")
        assert (found.status_code, found.headers["retry-after"]) == (503, "1")
        busy.parts.workers._there = 0
        assert busy.client.get("/items").status_code == 200


def test_metrics_tell_routes_and_not_paths(store: LocalStore) -> None:
    with small_service(store) as found:
        for path in ("/neighbors/item-1", "/neighbors/item-2", "/nowhere/1", "/nowhere/2"):
            found.client.get(path)
        text = found.client.get("/metrics").text
    assert 'ruiji_requests_total{method="GET",route="/neighbors/{item_id:path}",status="200"} 2.0' in text
    assert 'ruiji_requests_total{method="GET",route="other",status="404"} 2.0' in text
    assert "ruiji_queries_total 2.0" in text
    assert f'ruiji_version{{version="{found.parts.served.current.version}"}} 1.0' in text


@pytest.mark.anyio
async def test_work_that_takes_too_long_is_given_up(anyio_backend: str) -> None:
    import threading

    from sim_transforms.service.problems import Refused

    workers, wait = Workers(1, 1, 0.05), threading.Event()
    with pytest.raises(Refused, match="no answer within"):
        await workers.run(wait.wait)
    wait.set()
    assert await workers.run(lambda: 7) == 7
    workers.close()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
