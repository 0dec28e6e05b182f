"""Self-supervised losses against loops, and where their gradients go."""

import math

import keras
import numpy as np
import pytest
from keras import ops

from sim_transforms.settings.training import AugmentSettings, TrainSettings
from tests.trainer.losses.gradients import value_and_gradient
from trainer.model import MetricEmbedding
from trainer.self_supervised.barlow_twins import barlow_twins
from trainer.self_supervised.byol import Byol, momentum
from trainer.self_supervised.make import make_objective
from trainer.self_supervised.objective import ViewObjective
from trainer.self_supervised.simclr import nt_xent
from trainer.self_supervised.simsiam import SimSiam, negative_cosine
from trainer.self_supervised.sinkhorn import sinkhorn
from trainer.self_supervised.swav import swapped_prediction
from trainer.self_supervised.vicreg import vicreg

NAMES = ("simclr", "simsiam", "byol", "swav", "barlow_twins", "vicreg")
SIZE = 6


def _unit(count: int, seed: int, dimension: int = SIZE) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _network() -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5,))
    hidden = keras.layers.BatchNormalization()(keras.layers.Dense(8)(inputs))
    return keras.Model(inputs, MetricEmbedding(SIZE)(keras.layers.ReLU()(hidden)))


def _objective(name: str, network: keras.Model) -> ViewObjective:
    augment = AugmentSettings(local_crops=2 if name == "swav" else 0)
    chosen = TrainSettings(loss="none", self_supervised=name, augment=augment)
    objective = make_objective(chosen)
    objective.build_for(network, SIZE, lambda vectors: vectors, 0)
    return objective


def _given(objective: ViewObjective, seed: int = 0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Vectors and features of all views."""
    count = objective.views + objective.local_views
    generator = np.random.default_rng(seed)
    features = [generator.normal(size=(12, 5)).astype(np.float32) for _ in range(count)]
    return [_unit(12, seed + n) for n in range(count)], features


def test_nt_xent_equals_the_loop() -> None:
    first, second = _unit(5, 1, 4), _unit(5, 2, 4)
    views, total = np.concatenate([first, second]).astype(np.float64), 0.0
    for i in range(10):
        logits = {j: math.exp(float(views[i] @ views[j]) / 0.2) for j in range(10) if j != i}
        total -= math.log(logits[(i + 5) % 10] / sum(logits.values()))
    assert float(nt_xent(first, second, 0.2)) == pytest.approx(total / 10, rel=1e-4)


def test_negative_cosine_equals_the_loop_and_has_no_gradient_into_what_is_wanted() -> None:
    p, z = 3 * _unit(7, 0), 2 * _unit(7, 1)
    expected = -np.mean([a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(p, z, strict=True)])
    assert float(negative_cosine(p, z)) == pytest.approx(expected, rel=1e-5)
    assert not value_and_gradient(lambda x: negative_cosine(p, x), z)[1].any()
    assert value_and_gradient(lambda x: negative_cosine(x, z), p)[1].any()


def test_barlow_twins_equals_the_loop() -> None:
    first, second = (np.random.default_rng(s).normal(size=(9, 4)).astype(np.float32) for s in (0, 1))
    total = 0.0
    for i in range(4):
        for j in range(4):
            a, b = first[:, i].astype(float), second[:, j].astype(float)
            a, b = (a - a.mean()) / math.sqrt(a.var() + 1e-5), (b - b.mean()) / math.sqrt(b.var() + 1e-5)
            total += (np.mean(a * b) - 1) ** 2 if i == j else 0.005 * np.mean(a * b) ** 2
    assert float(barlow_twins(first, second, 0.005)) == pytest.approx(total, rel=1e-4)


def test_vicreg_equals_the_loop() -> None:
    views = [np.random.default_rng(s).normal(size=(9, 4)).astype(np.float32) for s in (0, 1)]
    expected = 25 * np.mean((views[0] - views[1]) ** 2)
    for view in views:
        matrix = np.cov(view.astype(float).T)
        expected += 25 * np.mean([max(0.0, 1 - math.sqrt(matrix[d, d] + 1e-4)) for d in range(4)]) / 2
        expected += sum(matrix[i, j] ** 2 for i in range(4) for j in range(4) if i != j) / 4
    assert float(vicreg(*views, 25.0, 25.0, 1.0)) == pytest.approx(expected, rel=1e-4)


def test_sinkhorn_rows_are_shares_and_columns_are_used_alike() -> None:
    logits = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    codes = ops.convert_to_numpy(sinkhorn(logits, 0.5, 30))
    np.testing.assert_allclose(codes.sum(axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(codes.sum(axis=0), 5.0, rtol=1e-3)


def test_sinkhorn_of_extreme_logits_is_finite() -> None:
    codes = ops.convert_to_numpy(sinkhorn(np.array([[500.0, -500.0], [500.0, -500.0]], np.float32), 0.05, 3))
    assert np.isfinite(codes).all()


def test_swapped_prediction_equals_the_loop() -> None:
    logits = [np.random.default_rng(n).normal(size=(5, 3)).astype(np.float32) for n in range(3)]
    codes = [np.random.default_rng(9 + n).dirichlet(np.ones(3), 5).astype(np.float32) for n in range(2)]
    terms = []
    for number, code in enumerate(codes):
        for place, view in enumerate(logits):
            if place != number:
                shares = np.exp(view / 0.1) / np.exp(view / 0.1).sum(axis=1, keepdims=True)
                terms.append(-np.mean((code * np.log(shares)).sum(axis=1)))
    assert float(swapped_prediction(logits, codes, 0.1)) == pytest.approx(np.mean(terms), rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_objective_has_a_finite_value_and_a_gradient_into_the_vectors(name: str) -> None:
    objective = _objective(name, _network())
    vectors, features = _given(objective)
    views = [ops.convert_to_tensor(view) for view in features]
    stacked = np.stack(vectors)
    value, gradient = value_and_gradient(lambda x: objective([x[n] for n in range(len(vectors))], views), stacked)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    assert all(gradient[n].any() for n in range(len(vectors)))


@pytest.mark.parametrize("name", NAMES)
def test_objective_begins_from_its_seed(name: str) -> None:
    first, again = (_objective(name, _network()).variables for _ in range(2))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(one), ops.convert_to_numpy(other))


def test_byol_target_is_not_trained_and_follows_by_its_momentum() -> None:
    network = _network()
    objective = _objective("byol", network)
    assert isinstance(objective, Byol)
    trained = {variable.path for variable in objective.trainable_variables}
    assert not trained & {variable.path for variable in objective.target.weights + objective.target_projector.weights}
    before = [ops.convert_to_numpy(weight) for weight in objective.target.weights]
    for weight in network.weights:
        weight.assign(weight + 1.0)
    objective.after_step(network, ops.convert_to_tensor(3, "int32"), 10)
    kept = 1 - 0.005 * (math.cos(math.pi * 0.3) + 1) / 2
    for slow, old in zip(objective.target.weights, before, strict=True):
        moved = slow.path.endswith(("kernel", "bias", "gamma", "beta"))
        expected = kept * old + (1 - kept) * (old + 1.0) if moved else old
        np.testing.assert_allclose(ops.convert_to_numpy(slow), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [Byol, SimSiam])
def test_predictors_keep_up_and_nothing_does_without_one(kind: type[Byol] | type[SimSiam]) -> None:
    network, found = _network(), []
    for predictor in (True, False):
        objective = kind(predictor=predictor)
        objective.build_for(network, SIZE, lambda vectors: vectors, 0)
        found.append(objective.quick)
        assert {id(each) for each in objective.quick} <= {id(each) for each in objective.trainable_variables}
    assert ([each.path.split("/")[0] for each in found[0]], found[1]) == (["predictor"] * len(found[0]), [])


def test_byol_target_normalises_by_the_batch() -> None:
    network = _network()
    objective = _objective("byol", network)
    assert isinstance(objective, Byol)
    vectors = ops.convert_to_tensor(_unit(64, 3) * 0.1 + 0.5)
    projected = ops.convert_to_numpy(objective.target_projector(vectors, training=True))
    np.testing.assert_allclose(projected.mean(axis=0), 0.0, atol=1e-4)
    assert projected.std() > 0.5


def test_momentum_rises_from_the_first_to_one() -> None:
    found = [float(momentum(step, 100, 0.9)) for step in range(0, 101, 10)]
    assert found == sorted(found)
    assert (found[0], found[-1]) == (pytest.approx(0.9), pytest.approx(1.0))
