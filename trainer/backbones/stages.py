"""Which layers are trained in which epoch: the head first, then block by block down to the input."""

import re
from dataclasses import dataclass
from typing import Any

import keras

from trainer.backbones.pooling import HEAD_BEGINS


@dataclass(frozen=True)
class Network:
    """A network and its groups of layers.

    Attributes:
        model: [b, *shape] float32 -> [b, dim] float32, unit length.
        stages: layers by group, from the head to the input: head, last block, ..., first block, stem.
        frozen_epochs: epochs in which the head alone is trained.
        unfrozen_blocks: groups after the head that are trained ever; null for all.
        unfreeze_every: epochs from one group to the next; 0 for all at once.
    """

    model: keras.Model
    stages: tuple[tuple[Any, ...], ...]
    frozen_epochs: int = 0
    unfrozen_blocks: int | None = None
    unfreeze_every: int = 0

    def trained_stages(self, epoch: int) -> int:
        """How many groups are trained in an epoch (from 0), the head among them."""
        since = epoch - self.frozen_epochs
        if since < 0:
            return 1
        blocks = len(self.stages) - 1
        allowed = blocks if self.unfrozen_blocks is None else min(blocks, self.unfrozen_blocks)
        return 1 + (allowed if self.unfreeze_every == 0 else min(allowed, 1 + since // self.unfreeze_every))

    def set_epoch(self, epoch: int) -> bool:
        """Freezes and unfreezes for an epoch (from 0), whatever came before; whether anything changed.

        Where it did, `model.trainable_variables` are others, and functions that were traced must be traced again: a
        batch normalisation that is not trainable takes its moving statistics, and leaves them as they are.
        """
        trained = self.trained_stages(epoch)
        wanted = [(layer, number < trained) for number, group in enumerate(self.stages) for layer in group]
        changed = any(layer.weights and layer.trainable != trains for layer, trains in wanted)
        for layer, trains in wanted:
            layer.trainable = trains
        return changed


def stages_of(model: keras.Model, block: str) -> tuple[tuple[Any, ...], ...]:
    """Groups of the layers of a model, from the head to the input.

    Args:
        model: whose layers lie directly in it.
        block: expression of the names of a block's layers (see `Application`).
    """
    names = [layer.name for layer in model.layers]
    begins = next(number for number, name in enumerate(names) if name in HEAD_BEGINS)
    groups: dict[int, list[Any]] = {}
    current = -1
    for layer in model.layers[:begins]:
        current = _block_of(layer.name, block, current)
        groups.setdefault(current, []).append(layer)
    blocks = list(groups.values())
    if len(blocks) > 1 and not any(layer.weights for layer in blocks[0]):
        blocks[:2] = [blocks[0] + blocks[1]]  # an input is no stem
    return tuple(tuple(group) for group in [model.layers[begins:], *reversed(blocks)])


def _block_of(name: str, block: str, current: int) -> int:
    found = re.match(block, name)
    if found is None:
        return current
    groups = found.groupdict()
    return int(groups["block"]) if groups["block"] is not None else int(groups["before"]) + 1
