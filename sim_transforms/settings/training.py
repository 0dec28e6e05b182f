"""How the embedding model is fitted: every key below `train`, its default, its unit and what it may be."""

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from sim_transforms.settings.checks import above_zero, at_least, share

LossName = Literal[
    "multi_similarity",
    "triplet",
    "contrastive",
    "pn",
    "circle",
    "lifted_structure",
    "soft_nearest_neighbor",
    "multiple_negatives",
    "proxy_anchor",
    "arcface",
    "soft_triple",
    "supervised_contrastive",
    "none",
]
DistanceName = Literal[
    "auto", "cosine", "euclidean", "squared_euclidean", "manhattan", "inner_product", "signal_to_noise"
]
MinerName = Literal["auto", "none", "hard", "semi_hard", "multi_similarity", "distance_weighted"]
ReducerName = Literal["auto", "mean", "mean_nonzero", "sum"]
SelfSupervisedName = Literal["none", "simclr", "simsiam", "byol", "swav", "barlow_twins", "vicreg"]
BackboneName = Literal[
    "auto",
    "convolutional",
    "sound",
    "efficientnet_v2_b0",
    "efficientnet_v2_b1",
    "efficientnet_v2_b2",
    "efficientnet_v2_b3",
    "efficientnet_v2_s",
    "efficientnet_v2_m",
    "efficientnet_v2_l",
    "convnext_tiny",
    "convnext_small",
    "convnext_base",
    "convnext_large",
    "resnet50",
    "resnet50_v2",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
]


@dataclass(frozen=True, kw_only=True)
class BackboneSettings:
    """What comes before the embedding head.

    Attributes:
        name: `auto` is `convolutional` for pictures and `sound` for sounds; the others are of `keras.applications`.
        weights: `.keras` or `.weights.h5` file of a pretrained backbone, a local path or gs://; null begins with seeded
            random weights.
        pooling: how places become one vector; `auto` is `flatten` for the small networks and `gem` for the others.
        frozen_epochs: a pretrained backbone is not trained for so many epochs, the head alone is.
        unfrozen_blocks: after them so many of its last blocks are trained too; null is all.
        unfreeze_every: epochs from one block to the next that is trained; 0 is all at once.
    """

    name: BackboneName = "auto"
    weights: str | None = None
    pooling: Literal["auto", "flatten", "average", "max", "gem"] = "auto"
    frozen_epochs: int = 1
    unfrozen_blocks: int | None = None
    unfreeze_every: int = 0

    def __post_init__(self) -> None:
        for name in ("frozen_epochs", "unfreeze_every"):
            at_least(name, getattr(self, name), 0)
        if self.unfrozen_blocks is not None:
            at_least("unfrozen_blocks", self.unfrozen_blocks, 0)


@dataclass(frozen=True, kw_only=True)
class AugmentSettings:
    """Views of an item that mean the same; a strength of 0 leaves a change out.

    Attributes:
        shift, turn, zoom: of pictures: share of the sides, radians, share of each axis on its own; to both sides.
        crop: of pictures: the least share of the area that a crop keeps, 1 for none.
        flip: of pictures: whether they may be mirrored, left to right.
        brightness, contrast, saturation, hue: of pictures: strengths of the colour jitter.
        blur: of pictures: the largest standard deviation of a Gaussian blur, pixels.
        noise_db: of sounds: the loudest noise, dB against the sound; null for none.
        gain_db: of sounds: louder or quieter by up to so many dB.
        mix: of sounds: the largest share at which another clip of the batch is mixed in, 0 for none.
        time_mask, frequency_mask: of sounds: the largest share of the spectra, and of the bands, that is hidden.
        turned_classes: of pictures: the share of the draws in which a class is turned by a quarter, a half or three
            quarters and counts as another class (only with a metric loss).
        local_crops: further small crops of each picture (multi-crop), for `swav`.
        local_scale: the largest share of the area that such a crop keeps.
    """

    shift: float = 0.08
    turn: float = 0.15
    zoom: float = 0.1
    crop: float = 1.0
    flip: bool = False
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    blur: float = 0.0
    noise_db: float | None = 0.0
    gain_db: float = 0.0
    mix: float = 0.0
    time_mask: float = 0.0
    frequency_mask: float = 0.0
    turned_classes: float = 0.0
    local_crops: int = 0
    local_scale: float = 0.4

    def __post_init__(self) -> None:
        for name in ("shift", "zoom", "contrast", "saturation", "mix", "time_mask", "frequency_mask", "turned_classes"):
            share(name, getattr(self, name))
        for name in ("turn", "brightness", "hue", "blur", "gain_db", "local_crops"):
            at_least(name, getattr(self, name), 0)
        for name in ("crop", "local_scale"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise ValueError(f"{name}: a share above 0 and up to 1 is expected")


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How the embedding model is fitted.

    Attributes:
        train_labels: labels to train on, or all.
        loss: metric loss; `none` trains by the self-supervised term alone, and needs no labels.
        loss_options: parameters of the loss by name, such as {margin: 0.2}; its own defaults where not given.
        distance: between embeddings, for the loss; `auto` is the one of the loss's paper.
        miner: which pairs count; `auto` is the one of the loss's paper.
        reducer: from the losses of anchors to one number; `auto` is the one of the loss's paper.
        memory: embeddings of past batches that count as references (cross-batch memory), 0 for none.
        self_supervised: term on two augmented views of the same items, or none.
        self_supervised_weight: its weight beside the metric loss.
        temperature: of the self-supervised term.
        semi: items without a label take part in the self-supervised term, as many of a batch as have one.
        backbone, augment: network and views.
        embedding_size: of the output.
        view_size: of these dimensions so many are for the self-supervised term alone and the others for the metric loss
            alone; `auto` is half of them, 0 has both shape all.
        metric_share: of the cosine of two embeddings, what the dimensions of the metric loss make out, where they are
            apart.
        classes_per_batch, examples_per_class: P and K of the balanced batches.
        small_classes: classes of fewer than K examples repeat them within a batch, or are left out.
        epochs: at most.
        steps_per_epoch: batches an epoch, or auto (items / batch, at least 60).
        patience: epochs without a better one after which training ends; null trains all epochs.
        select_by: metric of the validation items that chooses the epoch; a tie goes to the later one.
        learning_rate: the highest; it rises for `warmup` of the steps, and falls by half a cosine to 0.
        warmup: share of the steps.
        proxy_learning_rate: of proxies and predictors, as a multiple of learning_rate.
        weight_decay: of AdamW, 0 for Adam.
        average: the model is an exponential mean of the weights of all steps, of which each step keeps this share; 0
            takes the weights of the last step.
        accumulate: batches whose gradients are averaged before a step.
        precision: float32, or mixed (bfloat16 on CPUs, float16 on GPUs, float32 weights).
        devices: `one`, or `all` GPUs of the machine (each batch is shared out).
        checkpoint_steps: steps from one checkpoint to the next; null is once an epoch.
        tensorboard: write TensorBoard's files beside the steps' log.
        validation_share: of the training items of the trained labels; chooses the epoch.
        validation_items: at most so many of them, by hash, are embedded after each epoch.
        calibrate_precision: target precision of the match threshold, or null for none.
        calibrate_f1: the match threshold is that of the best F1 instead.
        gate: a model that is worse by `select_by` on the validation items than the one in use, by more than
            gate_margin, does not replace it.
        gate_margin: share.
        search: of `ruiji train --trials`: key below `train` (such as learning_rate or augment.shift) -> [lowest,
            highest] or a list of choices; a few keys that matter most where it is empty.
        seed: of the split, the initial weights, the batches and the augmentation.
    """

    train_labels: tuple[str, ...] | Literal["all"] = "all"
    loss: LossName = "multi_similarity"
    loss_options: dict[str, Any] = field(default_factory=dict)
    distance: DistanceName = "auto"
    miner: MinerName = "auto"
    reducer: ReducerName = "auto"
    memory: int = 0
    self_supervised: SelfSupervisedName = "simclr"
    self_supervised_weight: float = 1.0
    temperature: float = 0.2
    semi: bool = False
    backbone: BackboneSettings = field(default_factory=BackboneSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    embedding_size: int = 64
    view_size: int | Literal["auto"] = "auto"
    metric_share: float = 0.6
    classes_per_batch: int = 6
    examples_per_class: int = 10
    small_classes: Literal["repeat", "leave_out"] = "repeat"
    epochs: int = 10
    steps_per_epoch: int | Literal["auto"] = "auto"
    patience: int | None = None
    select_by: Literal["precision_at_1", "recall_at_10", "map_at_r", "r_precision", "mrr"] = "precision_at_1"
    learning_rate: float = 0.001
    warmup: float = 0.05
    proxy_learning_rate: float = 10.0
    weight_decay: float = 0.0
    average: float = 0.98
    accumulate: int = 1
    precision: Literal["float32", "mixed"] = "float32"
    devices: Literal["one", "all"] = "one"
    checkpoint_steps: int | None = None
    tensorboard: bool = False
    validation_share: float = 0.15
    validation_items: int = 10_000
    calibrate_precision: float | None = None
    calibrate_f1: bool = False
    gate: bool = True
    gate_margin: float = 0.01
    search: dict[str, Any] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        at_least("embedding_size", self.embedding_size, 2)
        at_least("classes_per_batch", self.classes_per_batch, 2)
        at_least("examples_per_class", self.examples_per_class, 2)
        at_least("validation_items", self.validation_items, 10)
        for name in ("epochs", "accumulate"):
            at_least(name, getattr(self, name), 1)
        for name in ("steps_per_epoch", "patience", "checkpoint_steps"):
            if getattr(self, name) not in ("auto", None):
                at_least(name, getattr(self, name), 1)
        for name in ("temperature", "learning_rate", "proxy_learning_rate"):
            above_zero(name, getattr(self, name))
        for name in ("self_supervised_weight", "memory", "weight_decay", "gate_margin"):
            at_least(name, getattr(self, name), 0)
        for name in ("warmup", "metric_share", "average"):
            share(name, getattr(self, name))
        if not 0.0 < self.validation_share < 1.0:
            raise ValueError("validation_share: a share between 0 and 1 is expected")
        if self.calibrate_precision is not None and not 0.0 < self.calibrate_precision < 1.0:
            raise ValueError("calibrate_precision: a share between 0 and 1 is expected")
        if self.train_labels != "all" and not 2 <= len(set(self.train_labels)) == len(self.train_labels):
            raise ValueError("train_labels: all, or at least two different labels, each once, are expected")
        if not 0 <= self.seed < 2**32:
            raise ValueError("seed: a whole number from 0 to 4294967295 is expected")
        for name in ("search", "loss_options"):
            _check_finite(name, getattr(self, name))
        self._check_terms()

    @property
    def own_view_size(self) -> int:
        """Dimensions of the self-supervised term: `view_size` where there are two terms to keep apart, else 0."""
        if "none" in (self.loss, self.self_supervised):
            return 0
        return self.embedding_size // 2 if self.view_size == "auto" else self.view_size

    def _check_terms(self) -> None:
        most = self.embedding_size - 2
        if self.view_size != "auto" and not 0 <= self.view_size <= most:
            raise ValueError(f"view_size: auto, or from 0 to {most} (train.embedding_size less 2) is expected")
        if self.own_view_size and not 0.0 < self.metric_share < 1.0:
            raise ValueError("metric_share: a share above 0 and below 1 is expected where train.view_size is not 0")
        if self.average == 1.0:
            raise ValueError("average: a share from 0 to below 1 is expected")
        if self.loss == "none" and self.self_supervised == "none":
            raise ValueError(f"loss: one of {get_args(LossName)[:-1]}, or a train.self_supervised, is expected")
        if self.augment.local_crops and self.self_supervised != "swav":
            raise ValueError("augment.local_crops: train.self_supervised=swav is expected with it")
        if self.semi and "none" in (self.loss, self.self_supervised):
            raise ValueError("semi: a train.loss and a train.self_supervised are expected with it")
        if self.calibrate_f1 and self.calibrate_precision is not None:
            raise ValueError("calibrate_f1: it or train.calibrate_precision is expected, not both")


def _check_finite(name: str, value: Any) -> None:
    """Raises ValueError for a number within that is none, or has no end."""
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_finite(name, each)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name}: finite numbers are expected")


def shaping(settings: TrainSettings) -> TrainSettings:
    """The settings without what leaves the weights as they are, for telling whether a model is up to date."""
    plain = TrainSettings()
    names = ("checkpoint_steps", "tensorboard", "gate", "gate_margin", "search")
    return replace(settings, **{name: getattr(plain, name) for name in names})
