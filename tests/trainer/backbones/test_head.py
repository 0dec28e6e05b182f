"""The embedding head: length, zero, precision."""

import keras
import numpy as np
import pytest

from trainer.model import MetricEmbedding


def test_metric_embedding_gives_unit_vectors_and_a_finite_one_for_zero() -> None:
    layer = MetricEmbedding(3)
    vectors = np.asarray(layer(np.array([[1.0, 2.0], [0.0, 0.0]], np.float32)))
    assert np.linalg.norm(vectors[0]) == pytest.approx(1.0, abs=1e-6)
    assert np.isfinite(vectors[1]).all()


def test_metric_embedding_under_a_mixed_policy_computes_in_float32() -> None:
    rows = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    layer = MetricEmbedding(3, dtype=keras.dtype_policies.DTypePolicy("mixed_bfloat16"))
    found = layer(keras.ops.convert_to_tensor(rows))
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    mapped = rows.astype(np.float64) @ np.asarray(layer.linear.kernel) + np.asarray(layer.linear.bias)
    expected = mapped / np.linalg.norm(mapped, axis=1, keepdims=True)
    np.testing.assert_allclose(np.asarray(found), expected, atol=2e-6)


def test_metric_embedding_from_its_configuration_has_the_same_size() -> None:
    again = MetricEmbedding.from_config(MetricEmbedding(7, name="embedding").get_config())
    assert again(np.ones((1, 2), np.float32)).shape == (1, 7)
    assert again.name == "embedding"
