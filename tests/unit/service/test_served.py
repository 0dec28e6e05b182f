"""The service takes up what is published, keeps what works, and never answers from two versions."""

import shutil
import threading
from pathlib import Path

import pytest

from sim_transforms.errors import NotFound, StoreError
from sim_transforms.lookup.open import OpenVersion, open_version
from sim_transforms.service.served import Served
from sim_transforms.storage.leases import READERS, fresh_holds
from sim_transforms.storage.local import LocalStore
from sim_transforms.storage.versions import latest, move_latest, publish
from tests.unit.service.services import small_service
from tests.unit.storage.published import published_store, some_vectors, version_folder


def _publish(store: LocalStore, folder: Path, seed: int) -> str:
    """Another version: other vectors under the same ids."""
    manifest = version_folder(folder / f"next-{seed}", some_vectors(seed), latest(store))
    return publish(store, folder / f"next-{seed}", manifest)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return published_store(tmp_path, some_vectors())[0]


def test_new_version_is_taken_up_and_the_old_ones_lease_released(store: LocalStore, tmp_path: Path) -> None:
    with small_service(store) as service:
        first = service.client.get("/healthz").json()["version"]
        second = _publish(store, tmp_path, 1)
        assert service.client.get("/healthz").json()["version"] == first
        service.parts.served.look()
        assert service.client.get("/healthz").json()["version"] == second
        assert fresh_holds(store, READERS) == {second: 1}
    assert fresh_holds(store, READERS) == {}


def test_version_that_is_damaged_is_refused_and_the_old_one_goes_on(store: LocalStore, tmp_path: Path) -> None:
    with small_service(store) as service:
        first = service.parts.served.current.version
        second = _publish(store, tmp_path, 1)
        index = Path(store.url) / "versions" / second / "index.hnsw"
        data = bytearray(index.read_bytes())
        data[-1] ^= 1
        index.chmod(0o644)
        index.write_bytes(data)
        service.parts.served.look()
        told = service.client.get("/versions").json()
        assert told["served"] == first
        assert "index.hnsw differs from its checksum" in told["refused"][second]
        assert service.client.get("/neighbors/item-1").status_code == 200
        assert "ruiji_versions_refused 1.0" in service.client.get("/metrics").text
        third = _publish(store, tmp_path, 2)
        service.parts.served.look()
        assert service.parts.served.current.version == third


def test_version_that_answers_otherwise_than_it_was_published_is_refused(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_service(store) as service:
        first = service.parts.served.current.version
        second = _publish(store, tmp_path, 1)
        real = OpenVersion.vector_at
        monkeypatch.setattr(
            OpenVersion, "vector_at", lambda opened, row: real(opened, row + (opened.version == second))
        )
        service.parts.served.look()
        assert service.parts.served.current.version == first
        assert "canary" in dict(service.parts.served.state.refused)[second]
        assert fresh_holds(store, READERS) == {first: 1}


def test_rollback_is_followed(store: LocalStore, tmp_path: Path) -> None:
    first = latest(store)
    second = _publish(store, tmp_path, 1)
    assert first is not None
    with small_service(store) as service:
        assert service.parts.served.current.version == second
        move_latest(store, first, second)
        service.parts.served.look()
        assert service.parts.served.current.version == first


def test_refused_version_is_not_read_at_every_look_and_a_store_that_is_gone_is(store: LocalStore) -> None:
    asked: list[str] = []
    error: Exception = NotFound("index.hnsw is gone")

    def opener(version: str) -> OpenVersion:
        if version != first:
            asked.append(version)
            raise error
        return open_version(store.url, version)

    first = latest(store)
    assert first is not None
    chosen = first
    with Served(lambda: chosen, opener, 3600.0) as served:
        chosen = "0" * 16
        served.look()
        served.look()
        assert asked == ["0" * 16]
        chosen, error = "1" * 16, StoreError("no answer")
        served.look()
        served.look()
        assert asked == ["0" * 16, "1" * 16, "1" * 16]
        assert served.state.taken_up == 1
        assert served.current.version == first


def test_store_that_cannot_be_read_is_told_and_answers_go_on(store: LocalStore) -> None:
    is_there = True

    def chosen() -> str | None:
        if not is_there:
            raise StoreError("the bucket does not answer")
        return latest(store)

    with Served(chosen, lambda version: open_version(store.url, version), 3600.0) as served:
        is_there = False
        served.look()
        assert served.state.problem == "the bucket does not answer"
        assert served.current.search_item("item-1", 3)
        is_there = True
        served.look()
        assert served.state.problem == ""


def test_nothing_published_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nothing is published"), Served(lambda: None, open_version, 1.0):
        pass


def test_no_answer_is_a_mixture_while_versions_change(store: LocalStore, tmp_path: Path) -> None:
    versions = [str(latest(store)), *(_publish(store, tmp_path, seed) for seed in (1, 2, 3))]
    expected = {}
    for version in versions:
        (matches,) = open_version(store.url, version).search(some_vectors()[:1], 5)
        expected[version] = [(match.item_id, match.distance) for match in matches]
    assert len({str(found) for found in expected.values()}) == len(versions)
    with small_service(store) as service:
        ended, failures = threading.Event(), []
        body = {"queries": [{"vector": some_vectors()[0].tolist()}] * 3, "k": 5}

        def ask() -> None:
            while not ended.is_set():
                answer = service.client.post("/search", json=body)
                found = answer.json()
                for result in found["results"]:
                    pairs = [(match["item_id"], match["distance"]) for match in result["matches"]]
                    if answer.status_code != 200 or pairs != expected[found["version"]]:
                        failures.append(found)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        seen = set()
        for turn in range(12):
            move_latest(store, versions[turn % 4], str(latest(store)))
            service.parts.served.look()
            seen.add(service.parts.served.current.version)
        ended.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert seen == set(versions)


def test_health_tells_that_latest_is_not_what_answers(store: LocalStore, tmp_path: Path) -> None:
    def problem() -> str:
        service.parts.served.look()
        return str(service.client.get("/healthz").json()["problem"])

    with small_service(store) as service:
        assert problem() == ""
        second = _publish(store, tmp_path, 1)
        (Path(store.url) / "versions" / second / "index.hnsw").unlink()
        for _ in range(2):
            assert f"version {second} is not served: " in problem()
        store.delete("LATEST")
        assert problem() == "the store has no LATEST any more"
        store.write("LATEST", b"../../x")
        assert "16 hex digits" in problem()
        assert service.client.get("/versions").status_code == 200
        move_latest_to = service.parts.served.current.version
        store.write("LATEST", f"{move_latest_to}\n".encode())
        assert problem() == ""


def test_versions_are_told_beside_a_damaged_one(store: LocalStore, tmp_path: Path) -> None:
    good = str(latest(store))
    shutil.copytree(Path(store.url) / "versions" / good, Path(store.url) / "versions" / "0000000000000001")
    with small_service(store) as service:
        answer = service.client.get("/versions")
        assert answer.status_code == 200
        assert [version["version"] for version in answer.json()["versions"]] == [good]
