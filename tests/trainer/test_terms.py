"""Loss, self-supervised term and views against slow, obvious answers."""

import math

import numpy as np
import pytest
import tensorflow as tf

from trainer.losses.multi_similarity import MultiSimilarity, multi_similarity
from trainer.self_supervised.augment import Augmentation, augment
from trainer.self_supervised.simclr import nt_xent


def _unit(count: int, dimension: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _slow_multi_similarity(labels: list[int], vectors: np.ndarray) -> float:
    alpha, beta, base, margin = 2.0, 40.0, 0.5, 0.1
    total = 0.0
    for i, anchor in enumerate(vectors):
        positive = [float(anchor @ v) for j, v in enumerate(vectors) if j != i and labels[j] == labels[i]]
        negative = [float(anchor @ v) for j, v in enumerate(vectors) if labels[j] != labels[i]]
        hard_negative = [s for s in negative if positive and s + margin > min(positive)]
        hard_positive = [s for s in positive if negative and s - margin < max(negative)]
        total += math.log(1 + sum(math.exp(-alpha * (s - base)) for s in hard_positive)) / alpha
        total += math.log(1 + sum(math.exp(beta * (s - base)) for s in hard_negative)) / beta
    return total / len(vectors)


@pytest.mark.parametrize("seed", range(4))
def test_multi_similarity_random_batch_equals_the_loop(seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 4, 20).tolist()
    vectors = _unit(20, 6, seed)
    found = float(multi_similarity(tf.constant(labels), tf.constant(vectors)))
    assert found == pytest.approx(_slow_multi_similarity(labels, vectors), rel=1e-4)


@pytest.mark.parametrize("labels", [[1] * 6, [0, 1, 2, 3, 4, 5], [0, 0, 0, 1, 1, 1]])
def test_multi_similarity_degenerate_batch_has_finite_loss_and_gradient(labels: list[int]) -> None:
    vectors = tf.constant(np.tile(_unit(1, 5, 0), (6, 1)))
    with tf.GradientTape() as tape:
        tape.watch(vectors)
        loss = MultiSimilarity()(tf.constant(labels), vectors)
    assert np.isfinite(float(loss))
    assert np.isfinite(tape.gradient(loss, vectors).numpy()).all()


def test_multi_similarity_gradient_equals_differences() -> None:
    labels, vectors = tf.constant([0, 0, 1, 1, 2]), _unit(5, 3, 8).astype(np.float64)
    variable = tf.Variable(vectors)
    with tf.GradientTape() as tape:
        loss = multi_similarity(labels, variable)
    gradient = tape.gradient(loss, variable).numpy()
    for place in ((0, 0), (2, 1), (4, 2)):
        step = np.zeros_like(vectors)
        step[place] = 1e-6
        up, down = (float(multi_similarity(labels, tf.constant(vectors + s))) for s in (step, -step))
        assert gradient[place] == pytest.approx((up - down) / 2e-6, rel=1e-3, abs=1e-6)


def test_multi_similarity_from_its_configuration_is_the_same_loss() -> None:
    loss = MultiSimilarity(beta=10.0)
    again = MultiSimilarity.from_config(loss.get_config())
    labels, vectors = tf.constant([0, 0, 1, 1]), tf.constant(_unit(4, 3, 2))
    assert float(again(labels, vectors)) == float(loss(labels, vectors))


def test_nt_xent_random_views_equals_the_loop() -> None:
    first, second = _unit(5, 4, 1), _unit(5, 4, 2)
    views, total = np.concatenate([first, second]).astype(np.float64), 0.0
    for i in range(10):
        other = (i + 5) % 10
        logits = {j: math.exp(float(views[i] @ views[j]) / 0.2) for j in range(10) if j != i}
        total -= math.log(logits[other] / sum(logits.values()))
    assert float(nt_xent(tf.constant(first), tf.constant(second), 0.2)) == pytest.approx(total / 10, rel=1e-4)


def test_augment_same_seed_gives_same_views_and_other_seed_others() -> None:
    batch = tf.constant(np.random.default_rng(0).normal(size=(4, 16, 16, 1)).astype(np.float32))
    views = [augment(batch, tf.constant([3, s]), Augmentation()).numpy() for s in (1, 1, 2)]
    assert np.array_equal(views[0], views[1])
    assert not np.array_equal(views[0], views[2])


def test_augment_of_no_strength_gives_the_picture_back() -> None:
    batch = tf.constant(np.random.default_rng(0).normal(size=(3, 12, 9, 3)).astype(np.float32))
    same = augment(batch, tf.constant([0, 0]), Augmentation(shift=0.0, turn=0.0, zoom=0.0))
    np.testing.assert_allclose(same.numpy(), batch.numpy(), atol=1e-5)


def test_augment_outside_is_background() -> None:
    batch = tf.fill([2, 8, 8, 1], -0.7)
    moved = augment(batch, tf.constant([5, 5]), Augmentation(shift=0.5))
    np.testing.assert_allclose(moved.numpy(), -0.7, atol=1e-6)
