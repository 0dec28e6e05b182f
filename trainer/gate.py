"""The acceptance gate: a new model takes the place of the one in use only if it is not worse on the same items."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from sim_transforms.errors import DamagedArtefact, NotAccepted, NotFound, UsageError, one_line
from sim_transforms.features.preprocessing import MEDIA
from sim_transforms.quality.gate import Verdict, judge
from sim_transforms.quality.retrieval import retrieval_scores
from sim_transforms.records.manifests import ModelManifest
from sim_transforms.settings.training import TrainSettings
from trainer.training_data import TrainingData

Array = np.ndarray[Any, Any]
# The signature of a published model: decoded media -> embeddings.
Serve = Callable[..., Any]

_BLOCK = 64
_SHOWN = 5


def judge_model(
    in_use: Serve | None, data: TrainingData, vectors: Array, settings: TrainSettings, notify: Callable[[str], None]
) -> Verdict | None:
    """Holds a new model against the one in use, on the validation items that have a label.

    Args:
        in_use: the model in use, as `load_in_use` gives it.
        data: opened examples.
        vectors: [v, d] of the validation items, by the new model.
        settings: metric and margin.
        notify: is told the figures, and the classes that got worse.

    Returns:
        Null where there is nothing to compare: no model in use for these media, or no labels.

    Raises:
        NotAccepted: the new model is worse by more than the margin.
    """
    rows = [row for row, label in enumerate(data.labels) if label]
    if in_use is None or not rows:
        return None
    old = _embed_by(in_use, data, data.validation[rows])
    labels = [data.labels[row] for row in rows]
    before, after = (
        retrieval_scores(each, labels, each, labels, "cosine", exclude_self=True) for each in (old, vectors[rows])
    )
    if not len(before.rows):
        return None
    name = settings.select_by
    scored = [labels[row] for row in before.rows]
    verdict = judge(before.scores[name], after.scores[name], scored, settings.gate_margin)
    interval = f"{verdict.low:+.4f} to {verdict.high:+.4f}"
    line = f"{name} {verdict.old:.4f} -> {verdict.new:.4f}, the difference {interval} (95 %)"
    worse = ", ".join(f"{each.label} {each.old:.3f} -> {each.new:.3f}" for each in verdict.worse[:_SHOWN])
    told = f"{line}; worse on {worse}" if worse else line
    notify(f"train: beside the model in use: {told}")
    if not verdict.accepted:
        raise NotAccepted(
            f"the new model is worse than the one in use, which stays: {told}; "
            "train longer or otherwise, allow it by train.gate_margin, or set train.gate=false"
        )
    return verdict


def load_in_use(in_use: Path, data: TrainingData) -> Serve | None:
    """The signature of a model that was published; null where there is none, or it cannot take these media.

    Raises:
        UsageError: it is there and cannot be loaded.
    """
    try:
        manifest = ModelManifest.load(in_use)
        if (manifest.media, manifest.decoder) != (data.manifest.media, data.manifest.decoder):
            return None
        served: Serve = tf.saved_model.load(str(in_use / "saved_model")).signatures["serving_default"]
        return served
    except NotFound:
        return None
    except (DamagedArtefact, OSError, IndexError, KeyError, ValueError, tf.errors.OpError) as error:
        raise UsageError(
            f"the model in use, {in_use}, cannot be loaded ({one_line(error)}): remove it, or set train.gate=false"
        ) from error


def _embed_by(serve: Serve, data: TrainingData, rows: Array) -> Array:
    """[n, d] by a model that was published."""
    blocks = [rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK)]
    vectors = [serve(**{MEDIA: tf.constant(data.media(block))})["embedding"].numpy() for block in blocks]
    return np.concatenate(vectors)
