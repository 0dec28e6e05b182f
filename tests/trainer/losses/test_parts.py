"""Distances, miners, reducers and the cross-batch memory against loops."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.trainer.losses.gradients import value_and_gradient
from trainer.distances import DISTANCES
from trainer.losses.cross_batch_memory import CrossBatchMemory
from trainer.losses.make import make_loss
from trainer.miners import (
    DistanceWeightedMiner,
    HardMiner,
    Miner,
    MultiSimilarityMiner,
    SemiHardMiner,
)
from trainer.pairs import Pairs, masks
from trainer.reducers import MeanNonzeroReducer, MeanReducer, SumReducer

ORACLES = {
    "cosine": lambda a, b: 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b),
    "euclidean": lambda a, b: np.linalg.norm(a - b),
    "squared_euclidean": lambda a, b: np.square(a - b).sum(),
    "manhattan": lambda a, b: np.abs(a - b).sum(),
    "inner_product": lambda a, b: -(a @ b),
    "signal_to_noise": lambda a, b: np.var(a - b) / np.var(a),
}


def _vectors(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 5)).astype(np.float32)


def _pairs(seed: int, count: int = 14) -> tuple[Pairs, np.ndarray, np.ndarray]:
    """Of unit vectors of three classes against themselves, their labels, and distances as an array."""
    vectors = _vectors(count, seed)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = np.random.default_rng(seed).integers(0, 3, count).astype(np.int32)
    distances = DISTANCES["cosine"]()(vectors, vectors)
    positives, negatives, anchors = masks(ops.convert_to_tensor(labels), ops.convert_to_tensor(labels), own=True)
    array = ops.convert_to_numpy(distances)
    return Pairs(distances, 1.0 - distances, positives, negatives, anchors), labels, array


def _others(labels: np.ndarray, anchor: int) -> tuple[list[int], list[int]]:
    positives = [j for j in range(len(labels)) if j != anchor and labels[j] == labels[anchor]]
    return positives, [j for j in range(len(labels)) if labels[j] != labels[anchor]]


def _kept(pairs: Pairs, anchor: int) -> tuple[list[int], list[int]]:
    masks_ = (ops.convert_to_numpy(mask)[anchor] for mask in (pairs.positives, pairs.negatives))
    positives, negatives = (np.flatnonzero(mask).tolist() for mask in masks_)
    return positives, negatives


@pytest.mark.parametrize("name", sorted(DISTANCES))
def test_distance_equals_the_loop(name: str) -> None:
    a, b = _vectors(6, 0), _vectors(4, 1)
    expected = [[ORACLES[name](x.astype(float), y.astype(float)) for y in b] for x in a]
    np.testing.assert_allclose(DISTANCES[name]()(a, b), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", sorted(DISTANCES))
def test_similarity_falls_as_distance_rises(name: str) -> None:
    distance = DISTANCES[name]()
    a, b = _vectors(1, 2), _vectors(30, 3)
    near, far = (ops.convert_to_numpy(part(a, b))[0] for part in (distance.similarity, distance))
    np.testing.assert_array_equal(np.argsort(-near, kind="stable"), np.argsort(far, kind="stable"))


@pytest.mark.parametrize("name", sorted(DISTANCES))
def test_distance_of_a_point_to_itself_has_a_finite_gradient(name: str) -> None:
    x = np.zeros((3, 4), np.float32)
    x[2] = 1.0
    _, gradient = value_and_gradient(lambda v: ops.sum(DISTANCES[name]()(v, v)), x)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("seed", range(4))
def test_hard_miner_keeps_farthest_positive_and_nearest_negative(seed: int) -> None:
    pairs, labels, distances = _pairs(seed)
    kept = HardMiner().select(pairs)
    for i in range(len(labels)):
        positives, negatives = _others(labels, i)
        expected = (
            [max(positives, key=lambda j, i=i: distances[i, j])] if positives else [],
            [min(negatives, key=lambda j, i=i: distances[i, j])],
        )
        assert _kept(kept, i) == expected


@pytest.mark.parametrize("seed", range(4))
def test_semi_hard_triplets_take_the_next_negative_beyond_the_positive(seed: int) -> None:
    pairs, labels, distances = _pairs(seed)
    chosen, counted = (ops.convert_to_numpy(part) for part in SemiHardMiner().triplets(pairs))
    for i in range(len(labels)):
        positives, negatives = _others(labels, i)
        assert np.flatnonzero(counted[i]).tolist() == positives
        for j in positives:
            beyond = [k for k in negatives if distances[i, k] > distances[i, j]]
            expected = (
                min(beyond, key=lambda k, i=i: distances[i, k])
                if beyond
                else max(negatives, key=lambda k, i=i: distances[i, k])
            )
            assert chosen[i, j] == expected


@pytest.mark.parametrize("seed", range(4))
def test_semi_hard_pairs_lie_beyond_the_nearest_positive_and_within_the_margin(seed: int) -> None:
    pairs, labels, distances = _pairs(seed)
    kept = SemiHardMiner(0.1).select(pairs)
    for i in range(len(labels)):
        positives, negatives = _others(labels, i)
        near = [distances[i, j] for j in positives]
        expected = [k for k in negatives if near and min(near) < distances[i, k] < max(near) + 0.1]
        assert _kept(kept, i) == (positives, expected)


@pytest.mark.parametrize("seed", range(4))
def test_multi_similarity_miner_keeps_what_is_hard_beside_the_others(seed: int) -> None:
    pairs, labels, distances = _pairs(seed)
    kept = MultiSimilarityMiner(0.1).select(pairs)
    for i in range(len(labels)):
        positives, negatives = _others(labels, i)
        s = 1 - distances[i]
        expected = (
            [j for j in positives if s[j] - 0.1 < max(s[k] for k in negatives)],
            [k for k in negatives if positives and s[k] + 0.1 > min(s[j] for j in positives)],
        )
        assert _kept(kept, i) == expected


def test_distance_weighted_miner_draws_as_many_negatives_as_positives() -> None:
    pairs, labels, _ = _pairs(1)
    kept = DistanceWeightedMiner(5).select(pairs)
    for i in range(len(labels)):
        positives, negatives = _others(labels, i)
        found = _kept(kept, i)
        assert found[0] == positives
        assert set(found[1]) <= set(negatives)
        assert len(found[1]) == min(len(positives), len(negatives))


def test_distance_weighted_miner_draws_by_one_over_the_density() -> None:
    # One positive, and negatives at two distances: how often each is drawn is the ratio of the weights.
    near, far = 0.8, 1.6
    cosines = np.array([[1.0, 0.9, 1 - near**2 / 2, 1 - far**2 / 2]], np.float32)
    positives, negatives = np.array([[0, 1, 0, 0]], bool), np.array([[0, 0, 1, 1]], bool)
    pairs = Pairs(1.0 - ops.convert_to_tensor(cosines), ops.convert_to_tensor(cosines), positives, negatives, None)
    miner = DistanceWeightedMiner(6, seed=3)
    drawn = [ops.convert_to_numpy(miner.select(pairs).negatives)[0, 2:] for _ in range(2000)]
    weights = [(d ** (2 - 6)) * (1 - d**2 / 4) ** ((3 - 6) / 2) for d in (near, far)]
    assert np.mean(drawn, axis=0)[0] == pytest.approx(weights[0] / sum(weights), abs=0.03)


def test_distance_weighted_miner_goes_on_from_its_variable() -> None:
    pairs, _, _ = _pairs(2)
    undisturbed, resumed = DistanceWeightedMiner(5), DistanceWeightedMiner(5)
    undisturbed.select(pairs)
    for one, other in zip(resumed.variables, undisturbed.variables, strict=True):
        one.assign(other)
    found, expected = (ops.convert_to_numpy(miner.select(pairs).negatives) for miner in (resumed, undisturbed))
    np.testing.assert_array_equal(found, expected)


def test_no_miner_gives_each_positive_the_nearest_negative() -> None:
    pairs, labels, distances = _pairs(0)
    chosen, counted = (ops.convert_to_numpy(part) for part in Miner().triplets(pairs))
    for i, j in zip(*np.nonzero(counted), strict=True):
        assert chosen[i, j] == min(_others(labels, i)[1], key=lambda k, i=i: distances[i, k])


@pytest.mark.parametrize(
    ("reducer", "expected"), [(MeanReducer(), 1.5), (MeanNonzeroReducer(), 2.25), (SumReducer(), 4.5)]
)
def test_reducers_leave_out_what_does_not_count(reducer: MeanReducer, expected: float) -> None:
    values = ops.convert_to_tensor(np.array([3.0, 0.0, 1.5, 100.0], np.float32))
    counted = ops.convert_to_tensor(np.array([True, True, True, False]))
    assert float(reducer(values, counted)) == pytest.approx(expected)
    assert float(reducer(values, ops.zeros_like(counted))) == 0.0


def _memory(size: int) -> CrossBatchMemory:
    parts = {"distance": "auto", "miner": "auto", "reducer": "auto"}
    made = make_loss("contrastive", parts, {}, size, 5, 3, 0)
    assert isinstance(made, CrossBatchMemory)
    return made


def test_memory_holds_the_last_embeddings_with_their_labels() -> None:
    loss, seen = _memory(10), []
    for step in range(4):
        labels, vectors = np.array([step % 3, 2, 1, 0], np.int32), _vectors(4, step)
        loss(labels, ops.convert_to_tensor(vectors))
        seen = [*zip(labels.tolist(), vectors.tolist(), strict=True), *seen][:10]
    held, labels = (ops.convert_to_numpy(variable) for variable in loss.variables)
    assert labels.tolist() == [label for label, _ in seen]
    np.testing.assert_allclose(held, [vector for _, vector in seen], rtol=1e-6)


def test_memory_empty_gives_the_loss_of_the_batch() -> None:
    labels, vectors = np.array([0, 1, 0, 1, -1], np.int32), ops.convert_to_tensor(_vectors(5, 0))
    alone = _memory(4).loss(labels, vectors)
    assert float(_memory(4)(labels, vectors)) == pytest.approx(float(alone), rel=1e-6)


def test_memory_references_count_and_have_no_gradient() -> None:
    loss, labels = _memory(4), np.array([0, 1, 0, 1], np.int32)
    past, now = _vectors(4, 0), _vectors(4, 1)
    loss(labels, ops.convert_to_tensor(past))
    whole = ops.concatenate([ops.convert_to_tensor(now), ops.convert_to_tensor(past)])
    expected = loss.loss.between(labels, ops.convert_to_tensor(now), np.tile(labels, 2), whole)
    assert float(loss(labels, ops.convert_to_tensor(now))) == pytest.approx(float(expected), rel=1e-6)


def test_memory_smaller_than_the_batch_holds_its_first_items() -> None:
    loss, vectors = _memory(2), _vectors(4, 0)
    loss(np.array([0, 1, 0, 1], np.int32), ops.convert_to_tensor(vectors))
    np.testing.assert_allclose(ops.convert_to_numpy(loss.variables[0]), vectors[:2])


def test_memory_from_its_configuration_is_the_same() -> None:
    config = _memory(7).get_config()
    again = CrossBatchMemory.from_config(config)
    again.build(5, 3, 0)
    labels, vectors = np.array([0, 1, 0, 1], np.int32), ops.convert_to_tensor(_vectors(4, 2))
    assert float(again(labels, vectors)) == float(_memory(7)(labels, vectors))
    assert keras.backend.standardize_dtype(again.variables[1].dtype) == "int32"
