"""Seeds of the views of one batch."""

from typing import Any

import tensorflow as tf

# Further than any training has steps, whose numbers are the seeds of its batches.
_APART = 2**24


def view_seeds(seed: Any, count: int) -> list[Any]:
    """[2] int32 -> so many of them, the first of which is the seed itself."""
    return [seed + tf.constant([0, number * _APART], tf.int32) for number in range(count)]
