"""Silhouette and NMI against their definitions."""

import numpy as np
import pytest

from sim_transforms.quality.clusters import cluster_scores


def _clouds(apart: float, rows: int = 60) -> tuple[np.ndarray, list[str]]:
    generator = np.random.default_rng(0)
    labels = [f"c{i % 3}" for i in range(rows)]
    centres = np.eye(3, 5) * apart
    return (centres[[i % 3 for i in range(rows)]] + generator.normal(0, 0.1, (rows, 5))).astype(np.float32), labels


def _silhouette(vectors: np.ndarray, labels: list[str]) -> float:
    distances = np.linalg.norm(vectors[:, None].astype(np.float64) - vectors[None], axis=2)
    names, values = np.array(labels), []
    for row in range(len(vectors)):
        own = names == names[row]
        own[row] = False
        inside = distances[row, own].mean()
        outside = min(distances[row, names == other].mean() for other in set(labels) - {labels[row]})
        values.append((outside - inside) / max(inside, outside))
    return float(np.mean(values))


def test_silhouette_equals_the_loop() -> None:
    vectors, labels = _clouds(0.2)
    found = cluster_scores(vectors, labels)
    assert found is not None
    assert found["silhouette"] == pytest.approx(_silhouette(vectors, labels), abs=1e-6)
    assert (found["items"], found["classes"]) == (60.0, 3.0)


def test_classes_far_apart_are_found_as_clusters() -> None:
    vectors, labels = _clouds(5.0)
    found = cluster_scores(vectors, labels)
    assert found is not None
    assert found["nmi"] == pytest.approx(1.0)
    assert found["silhouette"] > 0.9


def test_labels_that_mean_nothing_have_little_in_common_with_clusters() -> None:
    vectors, _ = _clouds(5.0)
    labels = [f"c{n}" for n in np.random.default_rng(1).integers(0, 3, len(vectors))]
    found = cluster_scores(vectors, labels)
    assert found is not None
    assert found["nmi"] < 0.15


def test_the_same_vectors_give_the_same_scores() -> None:
    vectors, labels = _clouds(0.1)
    assert cluster_scores(vectors, labels) == cluster_scores(vectors, labels)


@pytest.mark.parametrize("labels", [["a"] * 4, ["a", "b", "c", "d"], []])
def test_one_class_or_items_all_alone_have_no_scores(labels: list[str]) -> None:
    assert cluster_scores(np.eye(max(len(labels), 1), dtype=np.float32)[: len(labels)], labels) is None


def test_other_numbers_of_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="2 vectors and 1 labels"):
        cluster_scores(np.eye(2, dtype=np.float32), ["a"])
