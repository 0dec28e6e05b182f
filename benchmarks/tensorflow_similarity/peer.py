"""Trains with TensorFlow Similarity what Ruiji's trainer trains, and prints what came out as one line of JSON.

    make similarity-deps
    .venv-similarity/bin/python benchmarks/tensorflow_similarity/peer.py features.npz --steps 600 --seed 0

Run as a file by the Python of `.venv-similarity`, which has TensorFlow 2.15, Keras 2 and nothing of Ruiji; so nothing
of Ruiji is imported here, and network and metrics are written out again. The first run in a new environment compiles
the kernels of a package that TensorFlow Similarity imports (tens of seconds): its `total_seconds` do not count.

The file has, of the very features that Ruiji trains and is measured on:

| array | shape and type |
|---|---|
| train_features, gallery_features, query_features | [n, height, width, channels] float32 |
| train_labels, gallery_labels, query_labels | [n] int |

Everything else is TensorFlow Similarity's own, as its documentation shows it: `MultiShotMemorySampler`,
`MultiSimilarityLoss` with its defaults, `SimilarityModel.fit`. Its progress goes to stderr.
"""

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_similarity
from tensorflow_similarity.layers import MetricEmbedding
from tensorflow_similarity.losses import MultiSimilarityLoss
from tensorflow_similarity.models import SimilarityModel
from tensorflow_similarity.samplers import MultiShotMemorySampler

Array = np.ndarray[Any, Any]

EMBEDDING_SIZE = 64
_LEARNING_RATE = 0.001
_PLACES = 8
_START_TIME = 19  # of the fields of /proc/self/stat behind the name, in clock ticks since the boot


def similarity_model(shape: tuple[int, ...]) -> SimilarityModel:
    """The layers of `trainer/backbones/convolutional.py`, flattened, with TensorFlow Similarity's head.

    Args:
        shape: (height, width, channels) of the features.

    Returns:
        A model [b, *shape] float32 -> [b, EMBEDDING_SIZE] float32, unit length.
    """
    layers = tf.keras.layers
    inputs = tf.keras.Input(shape)
    hidden = inputs
    for block, filters in enumerate((32, 64, 128)):
        hidden = layers.Conv2D(filters, 3, padding="same", use_bias=False)(hidden)
        hidden = layers.BatchNormalization(momentum=0.9)(hidden)
        hidden = layers.ReLU()(hidden)
        if block < 2:
            hidden = layers.MaxPooling2D(2, padding="same")(hidden)
    pool = tuple(-(-side // _PLACES) for side in hidden.shape[1:3])
    if pool != (1, 1):
        hidden = layers.AveragePooling2D(pool, padding="same")(hidden)
    return SimilarityModel(inputs, MetricEmbedding(EMBEDDING_SIZE)(layers.Flatten()(hidden)))


def fit(data: Mapping[str, Array], given: argparse.Namespace) -> tuple[SimilarityModel, float]:
    """The trained model, and the seconds of `fit` alone: tracing is in them, validation is not."""
    tf.keras.utils.set_random_seed(given.seed)
    features = data["train_features"]
    sampler = MultiShotMemorySampler(
        features,
        data["train_labels"],
        classes_per_batch=given.classes,
        examples_per_class_per_batch=given.examples,
        steps_per_epoch=given.steps,
    )
    model = similarity_model(features.shape[1:])
    model.compile(optimizer=tf.keras.optimizers.Adam(_LEARNING_RATE), loss=MultiSimilarityLoss(distance="cosine"))
    began = time.perf_counter()
    model.fit(sampler, epochs=1, verbose=0)
    seconds = time.perf_counter() - began
    if int(model.optimizer.iterations) != given.steps:
        raise RuntimeError(f"found {int(model.optimizer.iterations)} steps; {given.steps} are expected")
    return model, seconds


def retrieval(queries: Array, query_labels: Array, gallery: Array, gallery_labels: Array) -> dict[str, float]:
    """precision@1 and MAP@R as `sim_transforms/quality/retrieval.py` defines them, by brute force.

    Args:
        queries: [q, d] float32, unit length.
        query_labels: [q] int.
        gallery: [g, d] float32, unit length.
        gallery_labels: [g] int.

    Returns:
        Means over the queries whose label the gallery has.
    """
    nearest, precision = [], []
    for vector, label in zip(queries, query_labels, strict=True):
        relevant = int((gallery_labels == label).sum())
        if relevant:
            order = np.argsort(-(gallery @ vector), kind="stable")[:relevant]
            hits = gallery_labels[order] == label
            nearest.append(float(hits[0]))
            precision.append(float((hits * np.cumsum(hits) / np.arange(1, relevant + 1)).sum() / relevant))
    return {"precision_at_1": float(np.mean(nearest)), "map_at_r": float(np.mean(precision))}


def seconds_since_start() -> float:
    """Age of this process by the kernel's clock: the start of Python and all imports are in it."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[_START_TIME]) / os.sysconf("SC_CLK_TCK")


def run(given: argparse.Namespace) -> dict[str, Any]:
    """Trains, measures, and tells the figures."""
    with np.load(given.data) as arrays:
        data = {name: arrays[name] for name in arrays.files}
    model, fit_seconds = fit(data, given)
    sides = [(model.predict(data[f"{s}_features"], verbose=0), data[f"{s}_labels"]) for s in ("query", "gallery")]
    return {
        "steps": given.steps,
        "fit_seconds": round(fit_seconds, 3),
        **retrieval(*sides[0], *sides[1]),
        "parameters": model.count_params(),
        "seed": given.seed,
        "versions": {"tensorflow_similarity": tensorflow_similarity.__version__, "tensorflow": tf.__version__},
        "total_seconds": round(seconds_since_start(), 3),
    }


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Trains with TensorFlow Similarity; prints one line of JSON.")
    parser.add_argument("data", type=Path, help="the .npz with features and labels")
    parser.add_argument("--steps", type=int, default=600, help="batches to train on")
    parser.add_argument("--classes", type=int, default=6, help="classes of a batch")
    parser.add_argument("--examples", type=int, default=10, help="examples of each class in a batch")
    parser.add_argument("--seed", type=int, default=0, help="of weights and batches")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> None:
    """Prints the figures; what TensorFlow Similarity itself prints goes to stderr."""
    with contextlib.redirect_stdout(sys.stderr):
        figures = run(parse(argv))
    print(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1:])
