"""The open-set test against a loop, and classes held out of the gallery."""

import numpy as np
import pytest

from sim_transforms.quality.open_set import open_set


def _unit(seed: int, rows: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, 4))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _nearest(query: np.ndarray, gallery: np.ndarray) -> float:
    return float(1.0 - (gallery.astype(np.float64) @ query).max())


def test_open_set_of_few_classes_holds_out_each_alone() -> None:
    queries, gallery = _unit(0, 40), _unit(1, 60)
    asked = [f"c{i % 5}" for i in range(40)]
    offered = np.array([f"c{i % 4}" for i in range(60)])
    found = open_set(queries, asked, gallery, offered.tolist(), "cosine")
    assert found.rows.tolist() == [i for i in range(40) if i % 5 < 4]
    for place, row in enumerate(found.rows):
        others = gallery[offered != asked[row]]
        assert found.present[place] == pytest.approx(_nearest(queries[row], gallery), abs=1e-6)
        assert found.absent[place] == pytest.approx(_nearest(queries[row], others), abs=1e-6)
        assert found.right[place] == (offered[(gallery @ queries[row]).argmax()] == asked[row])


def test_open_set_of_many_classes_never_offers_the_querys_own() -> None:
    labels = [f"c{i % 35:02}" for i in range(350)]
    vectors = np.eye(35, dtype=np.float32)[[int(label[1:]) for label in labels]]
    found = open_set(vectors, labels, vectors, labels, "cosine")
    np.testing.assert_allclose(found.present, 0.0, atol=1e-6)
    np.testing.assert_allclose(found.absent, 1.0, atol=1e-6)
    scores = found.scores(0.5)
    assert scores == {"queries": 350.0, "auroc": 1.0, "answered": 1.0, "right": 1.0, "refused": 1.0}


def test_scores_equal_shares_counted_one_by_one() -> None:
    labels = [f"c{i % 3}" for i in range(90)]
    found = open_set(_unit(2, 90), labels, _unit(3, 90), labels, "cosine")
    scores = found.scores(0.1)
    pairs = [(p < a) + 0.5 * (p == a) for p in found.present for a in found.absent]
    assert scores["auroc"] == pytest.approx(np.mean(pairs))
    assert scores["answered"] == np.mean([p <= 0.1 for p in found.present])
    assert scores["right"] == np.mean([p <= 0.1 and r for p, r in zip(found.present, found.right, strict=True)])
    assert scores["refused"] == np.mean([a > 0.1 for a in found.absent])
    assert set(found.scores(None)) == {"queries", "auroc"}


def test_part_keeps_some_queries_alone() -> None:
    labels = [f"c{i % 3}" for i in range(30)]
    found = open_set(_unit(2, 30), labels, _unit(3, 30), labels, "cosine")
    part = found.part(np.array([4, 7]))
    assert part.rows.tolist() == [4, 7]
    assert part.absent.tolist() == found.absent[[4, 7]].tolist()


@pytest.mark.parametrize("offered", [["a"] * 5, ["x", "y", "x", "y", "x"]])
def test_open_set_with_nothing_to_hold_out_has_no_queries(offered: list[str]) -> None:
    found = open_set(_unit(0, 3), ["a"] * 3, _unit(1, 5), offered, "cosine")
    assert found.scores(0.2) == {"queries": 0.0, "auroc": 0.0, "answered": 0.0, "right": 0.0, "refused": 0.0}


def test_open_set_of_an_empty_gallery_has_no_queries() -> None:
    assert len(open_set(_unit(0, 3), ["a"] * 3, np.zeros((0, 4), np.float32), [], "cosine").rows) == 0
