"""Classes turned by quarters, as further classes: more of them to learn a metric from than the catalog has.

A digit on its side is no digit, but telling it apart from others teaches what tells shapes apart that were never seen.
Not for what looks the same when it is turned (textures, coins): there two classes would be one.
"""

from typing import Any

import tensorflow as tf

from sim_transforms.errors import UsageError

TURNS = 4
# Between the seed of the turns and those of the views.
_APART = 2**29


def check_square(shape: tuple[int, ...]) -> None:
    """Raises UsageError for pictures that have another shape when they are turned."""
    if len(shape) != 3 or shape[0] != shape[1]:
        raise UsageError(f"train.augment.turned_classes: found features of {shape}; square pictures are expected, or 0")


def turn_classes(features: Any, classes: Any, seed: Any, share: float, count: int) -> tuple[Any, Any]:
    """Turns some classes of a batch, all items of a class alike, and gives them numbers of their own.

    Args:
        features: [b, s, s, c] float32.
        classes: [b] int32, -1 without a label: not turned.
        seed: [2] int32.
        share: of the classes that are turned.
        count: of all classes; class n turned by k quarters is class n + k * count.
    """
    drawn = tf.random.stateless_uniform([2, count], seed + tf.constant([0, _APART], tf.int32))
    quarters = 1 + tf.cast(tf.floor(drawn[1] * (TURNS - 1)), tf.int32)
    of_class = tf.where(drawn[0] < share, tf.minimum(quarters, TURNS - 1), 0)
    turns = tf.where(classes >= 0, tf.gather(of_class, tf.maximum(classes, 0)), 0)
    turned = features
    for number in range(1, TURNS):
        turned = tf.where((turns == number)[:, None, None, None], tf.image.rot90(features, number), turned)
    return turned, classes + turns * count
