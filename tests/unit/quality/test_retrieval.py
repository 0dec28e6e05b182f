"""Retrieval metrics against a loop written from their definitions."""

import numpy as np
import pytest

from sim_transforms.quality.retrieval import retrieval_metrics


def _grid(seed: int, rows: int) -> np.ndarray:
    """Points of a small grid, so that ties and duplicates are many."""
    return np.random.default_rng(seed).integers(0, 4, (rows, 3)).astype(np.float32)


def _labels(seed: int, rows: int, classes: int) -> list[str]:
    return [f"c{c}" for c in np.random.default_rng(seed).integers(0, classes, rows)]


def _loop(queries, query_labels, gallery, gallery_labels, exclude_self: bool) -> dict[str, float]:
    sums, scored = np.zeros(7), 0
    for i, (query, label) in enumerate(zip(queries, query_labels, strict=True)):
        distances = ((gallery.astype(np.float64) - query) ** 2).sum(axis=1)
        ranked = [j for j in np.argsort(distances, kind="stable") if not (exclude_self and j == i)]
        hits = [gallery_labels[j] == label for j in ranked]
        if not any(hits):
            continue
        scored += 1
        of_class = sum(hits)
        at_r = sum(sum(hits[: r + 1]) / (r + 1) for r in range(of_class) if hits[r]) / of_class
        first = next((1 / (r + 1) for r in range(max(of_class, 10)) if r < len(hits) and hits[r]), 0.0)
        gains = [1 / np.log2(r + 2) for r in range(of_class)]
        ndcg = sum(gain for gain, hit in zip(gains, hits, strict=False) if hit) / sum(gains)
        precision_at_r = sum(hits[:of_class]) / of_class
        sums += (hits[0], sum(hits[:5]) / 5, any(hits[:10]), at_r, precision_at_r, first, ndcg)
    names = ("precision_at_1", "precision_at_5", "recall_at_10", "map_at_r", "r_precision", "mrr", "bndcg")
    means = dict(zip(names, sums / scored, strict=True))
    return {**means, "queries": scored, "queries_without_relevant": len(queries) - scored}


def test_retrieval_metrics_of_another_gallery_equal_the_loop() -> None:
    queries, gallery = _grid(0, 150), _grid(1, 200)
    asked, offered = _labels(2, 150, 7), _labels(3, 200, 5)
    found = retrieval_metrics(queries, asked, gallery, offered, "l2")
    assert found == pytest.approx(_loop(queries, asked, gallery, offered, exclude_self=False))
    assert found["queries_without_relevant"] > 0


def test_retrieval_metrics_without_self_equal_the_loop() -> None:
    vectors, labels = _grid(0, 150), [*_labels(1, 149, 4), "alone"]
    found = retrieval_metrics(vectors, labels, vectors, labels, "l2", exclude_self=True)
    assert found == pytest.approx(_loop(vectors, labels, vectors, labels, exclude_self=True))
    assert found["queries_without_relevant"] == 1


def test_retrieval_metrics_without_self_among_many_duplicates_leave_out_itself_alone() -> None:
    vectors = np.zeros((40, 2), np.float32)
    labels = ["a", "b"] * 20
    found = retrieval_metrics(vectors, labels, vectors, labels, "l2", exclude_self=True)
    assert found == pytest.approx(_loop(vectors, labels, vectors, labels, exclude_self=True))


def test_retrieval_metrics_of_more_queries_than_a_block_equal_the_loop() -> None:
    queries, asked = _grid(0, 1100), _labels(1, 1100, 3)
    gallery, offered = _grid(2, 30), _labels(3, 30, 3)
    found = retrieval_metrics(queries, asked, gallery, offered, "l2")
    assert found == pytest.approx(_loop(queries, asked, gallery, offered, exclude_self=False))


def test_retrieval_metrics_of_scaled_vectors_in_cosine_are_the_same() -> None:
    generator = np.random.default_rng(0)
    vectors, labels = generator.normal(size=(60, 5)).astype(np.float32), _labels(1, 60, 3)
    scaled = vectors * generator.uniform(0.5, 20, (60, 1)).astype(np.float32)
    plain = retrieval_metrics(vectors, labels, vectors, labels, "cosine", exclude_self=True)
    assert retrieval_metrics(scaled, labels, scaled, labels, "cosine", exclude_self=True) == pytest.approx(plain)


def test_retrieval_metrics_of_classes_apart_are_one() -> None:
    vectors = np.repeat(np.eye(3, dtype=np.float32), 6, axis=0)
    labels = [f"c{i // 6}" for i in range(18)]
    found = retrieval_metrics(vectors, labels, vectors, labels, "cosine", exclude_self=True)
    assert (found["precision_at_1"], found["precision_at_5"], found["map_at_r"]) == (1.0, 1.0, 1.0)


def test_retrieval_metrics_without_anything_relevant_are_zero_of_zero_queries() -> None:
    found = retrieval_metrics(_grid(0, 4), ["a"] * 4, _grid(1, 4), ["b"] * 4, "l2")
    assert (found["queries"], found["queries_without_relevant"], found["precision_at_1"]) == (0.0, 4.0, 0.0)


def test_retrieval_metrics_with_too_few_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="4 vectors and 3 labels"):
        retrieval_metrics(_grid(0, 4), ["a"] * 3, _grid(1, 4), ["a"] * 4, "l2")


def test_retrieval_metrics_without_self_in_another_gallery_are_refused() -> None:
    with pytest.raises(ValueError, match="exclude_self"):
        retrieval_metrics(_grid(0, 4), ["a"] * 4, _grid(1, 5), ["a"] * 5, "l2", exclude_self=True)
