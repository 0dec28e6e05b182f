"""The learning rate: a linear warm-up, then half a cosine down to 0 (Loshchilov & Hutter 2017, without restarts)."""

import keras

from sim_transforms.settings.training import TrainSettings


def learning_rate(
    settings: TrainSettings, steps: int, factor: float = 1.0
) -> keras.optimizers.schedules.LearningRateSchedule:
    """The rate by step of the optimizer.

    Args:
        settings: highest rate and share of the warm-up.
        steps: of the whole training, as batches; the optimizer steps once in `settings.accumulate` of them.
        factor: of the rate.
    """
    total = max(1, steps // settings.accumulate)
    warm = max(1, int(total * settings.warmup))
    highest = settings.learning_rate * factor
    return keras.optimizers.schedules.CosineDecay(
        highest / 10, max(1, total - warm), warmup_target=highest, warmup_steps=warm
    )


def optimizer(settings: TrainSettings, steps: int, factor: float = 1.0) -> keras.optimizers.Optimizer:
    """Adam, or AdamW with weight decay; with float16 the losses are scaled so that small gradients are not lost."""
    rate, accumulate = learning_rate(settings, steps, factor), settings.accumulate if settings.accumulate > 1 else None
    if settings.weight_decay:
        chosen = keras.optimizers.AdamW(
            rate, weight_decay=settings.weight_decay, gradient_accumulation_steps=accumulate
        )
        chosen.exclude_from_weight_decay(var_names=["bias", "gamma", "beta", "power"])
    else:
        chosen = keras.optimizers.Adam(rate, gradient_accumulation_steps=accumulate)
    if keras.config.dtype_policy().compute_dtype == "float16":
        return keras.optimizers.LossScaleOptimizer(chosen)
    return chosen
