"""Balanced batches out of the TFRecords: P classes with K examples each, by the offsets, never all in memory.

A stream of batches is a function of the rows, the seed and a small position (a batch number and the draws of each
class), so that it goes on after a crash where it stood; several processes draw from disjoint parts of every class.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from sim_transforms.errors import UsageError

Array = np.ndarray[Any, Any]
SmallClasses = Literal["repeat", "leave_out"]

# Kinds of draws, so that no two of them share a generator.
_CLASSES, _EXAMPLES, _PARTS = range(3)


class Sampler(Protocol):
    """An endless stream of batches of rows."""

    def draw(self) -> Array:
        """[b] int64 rows of the next batch."""
        ...

    def position(self) -> dict[str, Any]:
        """Where the stream stands: plain values and arrays of whole numbers."""
        ...

    def go_to(self, position: dict[str, Any]) -> None:
        """Goes on from a position that this sampler, or one of the same arguments, has told."""
        ...


@dataclass(frozen=True)
class Part:
    """Which of several processes draws: `number` of `count`, from 0."""

    number: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.number < self.count:
            raise ValueError(f"part: found {self.number} of {self.count}; from 0 to {self.count - 1} is expected")


class BalancedSampler:
    """Batches of P classes drawn without repetition, and K examples of each.

    A class is walked in a seeded order, and in another when it is through, so that all its examples come equally often.
    A batch in which one walk ends and the next begins may hold an example twice, each time seen in another view.
    With fewer than P classes all take part.

    Args:
        numbers: [n] int, class of every example.
        rows: [t] int, those to draw from.
        classes, examples: P and K.
        seed: of all draws.
        small_classes: classes of fewer than K examples repeat them within a batch, or are left out.
        part: which examples of each class this process draws: they are dealt out in a seeded order, the first to
            another part for each class, so that small classes are not all with the first process.

    Raises:
        UsageError: fewer than two classes are left.
    """

    def __init__(
        self,
        numbers: Array,
        rows: Array,
        classes: int,
        examples: int,
        seed: int,
        small_classes: SmallClasses = "repeat",
        part: Part | None = None,
    ) -> None:
        """Sorts the rows by class; no example is read."""
        classes_of = _members(numbers, rows, seed, part or Part())
        if small_classes == "leave_out":
            classes_of = [members for members in classes_of if len(members) >= examples]
        if len(classes_of) < 2:
            raise UsageError(
                f"train.examples_per_class: found {len(classes_of)} classes with {examples} examples to draw from; "
                "at least two are expected: lower it, or set train.small_classes to repeat"
            )
        self._walks = [_Walk(members, (seed, _EXAMPLES, place)) for place, members in enumerate(classes_of)]
        self._classes, self._examples, self._seed = min(classes, len(classes_of)), examples, seed
        self._batch = 0
        self._drawn = np.zeros(len(classes_of), np.int64)

    def draw(self) -> Array:
        """[P * K] int64 rows of the next batch, class by class."""
        generator = np.random.default_rng([self._seed, _CLASSES, self._batch])
        chosen = np.sort(generator.choice(len(self._walks), self._classes, replace=False))
        self._batch += 1
        drawn = self._drawn[chosen].tolist()
        pieces = [
            self._walks[place].take(count, self._examples) for place, count in zip(chosen.tolist(), drawn, strict=True)
        ]
        self._drawn[chosen] += self._examples
        return np.concatenate(pieces)

    def position(self) -> dict[str, Any]:
        """Number of the next batch and draws of each class so far."""
        return {"batch": self._batch, "drawn": self._drawn.copy()}

    def go_to(self, position: dict[str, Any]) -> None:
        """Goes on from a position."""
        self._batch = int(position["batch"])
        self._drawn = np.array(position["drawn"], np.int64)


class ShuffledSampler:
    """Batches of rows in a seeded order, another one for every walk through them; labels play no part.

    Args:
        rows: [t] int, at least one.
        batch: rows of a batch.
        seed: of the orders.
        part: which rows this process draws.
    """

    def __init__(self, rows: Array, batch: int, seed: int, part: Part | None = None) -> None:
        """No example is read."""
        whole = np.zeros(int(rows.max()) + 1, np.int32)
        self._walk = _Walk(_members(whole, rows, seed, part or Part())[0], (seed, _EXAMPLES))
        self._batch, self._drawn = batch, 0

    def draw(self) -> Array:
        """[batch] int64 rows."""
        rows = self._walk.take(self._drawn, self._batch)
        self._drawn += self._batch
        return rows

    def position(self) -> dict[str, Any]:
        """Rows drawn so far."""
        return {"drawn": self._drawn}

    def go_to(self, position: dict[str, Any]) -> None:
        """Goes on from a position."""
        self._drawn = int(position["drawn"])


class JoinedSampler:
    """Batches of several samplers, one after the other in each batch."""

    def __init__(self, samplers: Sequence[Sampler]) -> None:
        """At least one."""
        self._samplers = tuple(samplers)

    def draw(self) -> Array:
        """Rows of all."""
        return np.concatenate([sampler.draw() for sampler in self._samplers])

    def position(self) -> dict[str, Any]:
        """Positions of all."""
        return {"each": [sampler.position() for sampler in self._samplers]}

    def go_to(self, position: dict[str, Any]) -> None:
        """Goes on from positions of all."""
        for sampler, its_own in zip(self._samplers, position["each"], strict=True):
            sampler.go_to(its_own)


class _Walk:
    """Rows in a seeded order, again and again, each time in another; only the last order is kept.

    Args:
        rows: [n] int64, at least one.
        seeds: of the orders.
    """

    def __init__(self, rows: Array, seeds: tuple[int, ...]) -> None:
        self._rows, self._seeds, self._count = rows, seeds, len(rows)
        self._last, self._order = -1, np.zeros(0, np.int32)

    def take(self, drawn: int, count: int) -> Array:
        """[count] rows that follow the first `drawn` ones."""
        walk, start = divmod(drawn, self._count)
        pieces = [self._rows[self._order_of(walk)[start : start + count]]]
        missing = count - len(pieces[0])
        while missing:
            walk += 1
            pieces.append(self._rows[self._order_of(walk)[:missing]])
            missing -= len(pieces[-1])
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _order_of(self, walk: int) -> Array:
        if walk != self._last:
            order = np.random.default_rng([*self._seeds, walk]).permutation(self._count)
            self._last, self._order = walk, order.astype(np.int32)
        return self._order


def _members(numbers: Array, rows: Array, seed: int, part: Part) -> list[Array]:
    """The rows of each class that the part draws from, in the order of the class numbers."""
    order = np.argsort(numbers[rows], kind="stable")
    by_class = rows[order].astype(np.int64)
    ends = np.flatnonzero(np.diff(numbers[rows][order])) + 1
    members = np.split(by_class, ends) if len(by_class) else []
    if part.count > 1:
        members = [_dealt(rows, place, seed, part) for place, rows in enumerate(members)]
    return [member for member in members if len(member)]


def _dealt(members: Array, place: int, seed: int, part: Part) -> Array:
    order = np.random.default_rng([seed, _PARTS, place]).permutation(len(members))
    return members[np.sort(order[(part.number + place) % part.count :: part.count])]
