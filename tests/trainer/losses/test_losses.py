"""Every loss keeps one contract: the loop's value, the differences' gradient, finite where a batch is degenerate."""

from typing import Any

import keras
import numpy as np
import pytest

from sim_transforms.errors import UsageError
from tests.trainer.losses.gradients import by_differences, value_and_gradient
from tests.trainer.losses.oracles import ORACLES, triplet_soft_and_hard
from trainer.distances import DISTANCES
from trainer.losses.make import LOSSES, make_loss
from trainer.losses.metric_loss import MetricLoss
from trainer.miners import MINERS
from trainer.reducers import REDUCERS

CLASSES, DIMENSION = 4, 6
AUTO = {"distance": "auto", "miner": "auto", "reducer": "auto"}
PROXIES = ("proxy_anchor", "arcface", "soft_triple")


def _loss(name: str, memory: int = 0, options: dict[str, Any] | None = None, **parts: str) -> MetricLoss:
    return make_loss(name, AUTO | parts, options or {}, memory, DIMENSION, CLASSES, 0)


def _batch(seed: int, count: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Labels, of which one class is alone and one item has none, and unit vectors that overlap."""
    generator = np.random.default_rng(seed)
    labels = np.concatenate([generator.integers(0, CLASSES - 1, count - 2), [CLASSES - 1, -1]]).astype(np.int32)
    vectors = generator.normal(size=(count, DIMENSION)) + 0.7 * np.eye(CLASSES, DIMENSION)[labels]
    return labels, (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _proxies(loss: MetricLoss) -> np.ndarray | None:
    (variable,) = loss.trainable_variables or [None]
    return None if variable is None else keras.ops.convert_to_numpy(variable).astype(np.float64)


def test_every_loss_has_an_oracle() -> None:
    assert set(ORACLES) == set(LOSSES)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_value_equals_the_loop(name: str, seed: int) -> None:
    loss, (labels, vectors) = _loss(name), _batch(seed)
    expected = ORACLES[name](labels.tolist(), vectors.astype(np.float64), _proxies(loss))
    assert float(loss(labels, keras.ops.convert_to_tensor(vectors))) == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_triplet_of_hard_pairs_with_soft_margin_equals_the_loop(seed: int) -> None:
    labels, vectors = _batch(seed)
    found = _loss("triplet", miner="hard", options={"margin": None})(labels, keras.ops.convert_to_tensor(vectors))
    expected = triplet_soft_and_hard(labels.tolist(), vectors.astype(np.float64))
    assert float(found) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_value_of_bfloat16_embeddings_is_that_of_their_float32_values(name: str) -> None:
    loss, (labels, vectors) = _loss(name), _batch(5)
    rounded = keras.ops.cast(vectors, "bfloat16")
    found = loss(labels, rounded)
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    assert float(found) == pytest.approx(float(loss(labels, keras.ops.cast(rounded, "float32"))), rel=1e-5)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_gradient_equals_differences(name: str) -> None:
    if name == "circle":
        pytest.skip("its weights have no gradient by design: the next test")
    loss, (labels, vectors) = _loss(name), _batch(8, 8)
    _, gradient = value_and_gradient(lambda x: loss(labels, x), vectors)
    expected = by_differences(lambda x: loss(labels, x), vectors, 1e-3)
    scale = max(float(np.abs(expected).max()), 1e-3)
    np.testing.assert_allclose(gradient / scale, expected / scale, atol=0.02)


def test_gradient_of_circle_equals_that_with_fixed_weights() -> None:
    labels, vectors = _batch(8, 8)
    positives = (labels[:, None] == labels[None]) & ~np.eye(8, dtype=bool) & (labels >= 0)[:, None]
    negatives = (labels[:, None] != labels[None]) & (labels >= 0)[:, None] & (labels >= 0)[None]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    fixed = unit @ unit.T

    def slow(x: Any) -> float:
        x = keras.ops.convert_to_numpy(x).astype(np.float64)
        cosines = (x / np.linalg.norm(x, axis=1, keepdims=True)) @ (x / np.linalg.norm(x, axis=1, keepdims=True)).T
        near = np.where(positives, np.exp(-80 * np.maximum(0, 1.25 - fixed) * (cosines - 0.75)), 0).sum(1)
        far = np.where(negatives, np.exp(80 * np.maximum(0, fixed + 0.25) * (cosines - 0.25)), 0).sum(1)
        counted = positives.any(1) & negatives.any(1)
        return float(np.log1p(near * far)[counted].mean())

    loss = _loss("circle")
    _, gradient = value_and_gradient(lambda x: loss(labels, x), vectors)
    expected = by_differences(slow, vectors.astype(np.float64), 1e-5)
    np.testing.assert_allclose(gradient, expected, rtol=1e-2, atol=1e-2 * float(np.abs(expected).max()))


@pytest.mark.parametrize(
    "kind", ["one class", "all alone", "all identical", "identical of two classes", "no labels", "zeros"]
)
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_degenerate_batch_has_a_finite_value_and_gradient(name: str, kind: str) -> None:
    _, vectors = _batch(2, 4)
    given = {
        "one class": ([1, 1, 1, 1], vectors),
        "all alone": ([0, 1, 2, 3], vectors),
        "all identical": ([0, 0, 0, 0], vectors[[0] * 4]),
        "identical of two classes": ([0, 0, 1, 1], vectors[[0] * 4]),
        "no labels": ([-1, -1, -1, -1], vectors),
        "zeros": ([0, 0, 1, 1], np.zeros_like(vectors)),
    }
    chosen, x = given[kind]
    loss = _loss(name)
    value, gradient = value_and_gradient(lambda v: loss(np.array(chosen, np.int32), v), x)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    if kind == "no labels" and name not in PROXIES:
        assert value == 0
        assert not gradient.any()


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_items_without_a_label_change_nothing(name: str) -> None:
    loss, (labels, vectors) = _loss(name), _batch(3)
    others = np.where(labels[:, None] < 0, -vectors, vectors)
    assert float(loss(labels, keras.ops.convert_to_tensor(vectors))) == pytest.approx(
        float(loss(labels, keras.ops.convert_to_tensor(others))), rel=1e-6
    )


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_order_of_the_batch_changes_nothing(name: str) -> None:
    loss, (labels, vectors) = _loss(name), _batch(4)
    order = np.random.default_rng(0).permutation(len(labels))
    found = float(loss(labels[order], keras.ops.convert_to_tensor(vectors[order])))
    assert found == pytest.approx(float(loss(labels, keras.ops.convert_to_tensor(vectors))), rel=1e-5)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_a_step_along_the_gradient_makes_the_loss_smaller(name: str) -> None:
    loss, (labels, vectors) = _loss(name), _batch(6)
    value, gradient = value_and_gradient(lambda x: loss(labels, x), vectors)
    moved = vectors - 1e-3 * gradient / max(float(np.abs(gradient).max()), 1e-9)
    assert float(loss(labels, keras.ops.convert_to_tensor(moved))) < value


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_loss_from_its_configuration_is_the_same(name: str) -> None:
    loss, (labels, vectors) = _loss(name), _batch(1)
    again = type(loss).from_config(loss.get_config())
    again.build(DIMENSION, CLASSES, 0)
    x = keras.ops.convert_to_tensor(vectors)
    assert float(again(labels, x)) == float(loss(labels, x))


@pytest.mark.parametrize("distance", sorted(DISTANCES))
@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"arcface"}))
def test_any_loss_takes_any_distance(name: str, distance: str) -> None:
    labels, vectors = _batch(7)
    loss = _loss(name, distance=distance)
    value, gradient = value_and_gradient(lambda x: loss(labels, x), vectors)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    assert gradient.any()


@pytest.mark.parametrize("miner", sorted(MINERS))
@pytest.mark.parametrize("name", sorted(set(LOSSES) - set(PROXIES)))
def test_any_loss_of_pairs_takes_any_miner_and_reducer(name: str, miner: str) -> None:
    labels, vectors = _batch(7)
    for reducer in sorted(REDUCERS):
        loss = _loss(name, miner=miner, reducer=reducer)
        value, gradient = value_and_gradient(lambda x, loss=loss: loss(labels, x), vectors)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("triplet", {"options": {"margn": 1.0}}, "margn.*takes margin"),
        ("triplet", {"options": {"margin": "abc"}}, "margin: found 'abc'"),
        ("triplet", {"options": {"margin": -5}}, "margin: found -5.*at least 0"),
        ("supervised_contrastive", {"options": {"temperature": 0}}, "temperature: found 0.*above 0"),
        ("soft_triple", {"options": {"centres": 2.5}}, "centres: found 2.5.*whole number above 0"),
        ("circle", {"options": {"margin": None}}, "margin: found None"),
        ("arcface", {"distance": "euclidean"}, "euclidean for arcface"),
        ("proxy_anchor", {"miner": "hard"}, "train.miner"),
        ("proxy_anchor", {"reducer": "sum"}, "train.reducer"),
        ("arcface", {"memory": 8}, "train.memory"),
    ],
)
def test_make_loss_of_what_it_does_not_take_is_refused(name: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        _loss(name, **given)


def test_proxies_are_the_same_for_the_same_seed() -> None:
    first, again = (_proxies(_loss("soft_triple")) for _ in range(2))
    assert first is not None
    np.testing.assert_array_equal(first, again)
    assert first.shape == (5 * CLASSES, DIMENSION)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="of the backend that trains")
@pytest.mark.parametrize(
    ("name", "memory", "miner"),
    [
        *((name, 0, "auto") for name in sorted(LOSSES)),
        *((name, 32, "auto") for name in sorted(set(LOSSES) - set(PROXIES))),
        *((name, 0, miner) for name in ("triplet", "contrastive") for miner in sorted(MINERS)),
    ],
)
def test_loss_that_was_traced_before_the_batch_was_known_is_the_same(name: str, memory: int, miner: str) -> None:
    import tensorflow as tf

    labels, vectors = _batch(11)
    traced = _loss(name, memory, miner=miner)
    signature = [tf.TensorSpec([None], tf.int32), tf.TensorSpec([None, DIMENSION], tf.float32)]
    found = tf.function(lambda y, x: traced(y, x), input_signature=signature, autograph=False)(labels, vectors)
    assert float(found) == pytest.approx(float(_loss(name, memory, miner=miner)(labels, vectors)), rel=1e-5, abs=1e-6)
