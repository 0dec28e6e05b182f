"""From the settings to a loss."""

import inspect
from collections.abc import Mapping
from typing import Any

from sim_transforms.errors import UsageError
from trainer.distances import DISTANCES
from trainer.losses.arcface import ArcFace
from trainer.losses.circle import Circle
from trainer.losses.contrastive import Contrastive
from trainer.losses.cross_batch_memory import CrossBatchMemory
from trainer.losses.lifted_structure import LiftedStructure
from trainer.losses.metric_loss import MetricLoss, PairLoss
from trainer.losses.multi_similarity import MultiSimilarity
from trainer.losses.multiple_negatives import MultipleNegatives
from trainer.losses.pn import PositiveNegative
from trainer.losses.proxy_anchor import ProxyAnchor
from trainer.losses.soft_nearest_neighbor import SoftNearestNeighbor
from trainer.losses.soft_triple import SoftTriple
from trainer.losses.supervised_contrastive import SupervisedContrastive
from trainer.losses.triplet import Triplet
from trainer.miners import MINERS, DistanceWeightedMiner
from trainer.reducers import REDUCERS

LOSSES: dict[str, type[MetricLoss]] = {
    "multi_similarity": MultiSimilarity,
    "triplet": Triplet,
    "contrastive": Contrastive,
    "pn": PositiveNegative,
    "circle": Circle,
    "lifted_structure": LiftedStructure,
    "soft_nearest_neighbor": SoftNearestNeighbor,
    "multiple_negatives": MultipleNegatives,
    "proxy_anchor": ProxyAnchor,
    "arcface": ArcFace,
    "soft_triple": SoftTriple,
    "supervised_contrastive": SupervisedContrastive,
}
_PARTS = ("distance", "miner", "reducer")
# Scales, temperatures and counts.
_ABOVE_ZERO = ("temperature", "scale", "gamma", "alpha", "beta", "centres")


def make_loss(
    name: str,
    parts: Mapping[str, str],
    options: Mapping[str, Any],
    memory: int,
    dimension: int,
    classes: int,
    seed: int,
) -> MetricLoss:
    """A loss, built.

    Args:
        name: in LOSSES.
        parts: names of `distance`, `miner` and `reducer`, or "auto" for the paper's.
        options: parameters of the loss.
        memory: past embeddings that count as references, 0 for none.
        dimension: of the embeddings.
        classes: how many are trained on.
        seed: of proxies and draws.

    Raises:
        UsageError: a part or an option that the loss does not take.
    """
    made = LOSSES[name]
    if name == "arcface" and parts["distance"] not in ("auto", "cosine"):
        # Its margin is an angle: what is no cosine would be cut off at -1, and nothing be learned.
        raise UsageError(f"train.distance: found {parts['distance']} for arcface; auto, or cosine, is expected")
    takes = inspect.signature(made).parameters
    known = [parameter for parameter in takes if parameter not in _PARTS]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise UsageError(f"train.loss_options: found {unknown[0]} for {name}; it takes {', '.join(known)}")
    _check_options(name, takes, options)
    chosen = {part: _part(part, parts[part], dimension, seed) for part in _PARTS if parts[part] != "auto"}
    refused = sorted(set(chosen) - set(takes))
    if refused:
        raise UsageError(f"train.{refused[0]}: found {parts[refused[0]]} for {name}, which takes none: set it to auto")
    try:
        loss = made(**options, **chosen)
    except (TypeError, ValueError) as error:
        raise UsageError(f"train.loss_options: {name}: {error}") from error
    if memory:
        if not isinstance(loss, PairLoss):
            raise UsageError(f"train.memory: found {memory} for {name}, which compares with proxies: set it to 0")
        loss = CrossBatchMemory(loss, memory)
    loss.build(dimension, classes, seed)
    return loss


def _check_options(name: str, takes: Mapping[str, inspect.Parameter], options: Mapping[str, Any]) -> None:
    """Numbers where numbers are taken, none of them below 0; what divides or counts is above it."""
    for key, value in options.items():
        annotation = takes[key].annotation
        if annotation not in (int, float, float | None) or (value is None and annotation == float | None):
            continue
        kind: Any = int if annotation is int else int | float
        is_number = isinstance(value, kind) and not isinstance(value, bool)
        if not is_number or value < 0 or (value == 0 and key in _ABOVE_ZERO):
            wanted = "whole number" if annotation is int else "number"
            least = "above 0" if key in _ABOVE_ZERO else "of at least 0"
            raise UsageError(f"train.loss_options: {key}: found {value!r} for {name}; a {wanted} {least} is expected")


def _part(part: str, name: str, dimension: int, seed: int) -> Any:
    if part == "miner" and name == "distance_weighted":
        return DistanceWeightedMiner(dimension, seed=seed)
    tables: dict[str, Mapping[str, Any]] = {"distance": DISTANCES, "miner": MINERS, "reducer": REDUCERS}
    return tables[part][name]()
