"""The load's client sees an answer that is not that of the version it names."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.serving import Ask, K, Seen, make_asks, publish_next, wrong_answers
from sim_transforms.errors import DamagedArtefact
from sim_transforms.lookup.open import OpenVersion, open_version
from sim_transforms.storage.local import LocalStore
from sim_transforms.storage.versions import latest
from tests.unit.storage.published import published_store, some_vectors


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return published_store(tmp_path, some_vectors())[0]


def _seen(opened: OpenVersion, distance: float) -> Seen:
    matches = [{"item_id": m.item_id, "distance": m.distance} for m in opened.search(some_vectors()[:1], K)[0]]
    matches[0]["distance"] = float(str(matches[0]["distance"])) + distance
    body = json.dumps({"version": opened.version, "results": [{"matches": matches}]}).encode()
    return Seen(answers={(0, opened.version, "d"): 3}, bodies={(0, opened.version, "d"): body})  # type: ignore[arg-type]


def test_answers_of_another_version_are_counted(store: LocalStore) -> None:
    opened = open_version(store.url)
    asks = [Ask("vector", b"", some_vectors()[:1])]
    assert wrong_answers(_seen(opened, 0.0), asks, {opened.version: opened}) == 0
    assert wrong_answers(_seen(opened, 1e-6), asks, {opened.version: opened}) == 3
    assert wrong_answers(_seen(opened, 0.0), asks, {}) == 3


def test_mixed_load_holds_every_kind_and_half_of_it_are_batches() -> None:
    kinds = [ask.kind for ask in make_asks(np.ones((100, 8), np.float32), "localhost:1", mixed=True)]
    assert set(kinds) == {"batch", "vector", "neighbors", "filtered"}
    assert kinds.count("batch") == len(kinds) / 2


def test_broken_version_is_latest_and_cannot_be_opened(store: LocalStore) -> None:
    first = latest(store)
    assert first is not None
    version = publish_next(store, Path(store.url) / "versions" / first, broken=True)
    assert latest(store) == version
    with pytest.raises(DamagedArtefact):
        open_version(store.url)
