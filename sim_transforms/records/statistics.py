"""What is told of all examples at once, and how far two catalogs are from each other in it."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# Labels that are told apart; what is rarer counts together.
_MOST_LABELS = 1000


@dataclass(frozen=True)
class DataStatistics:
    """Of the examples that a model was trained on.

    Attributes:
        items: how many.
        labels: class -> items, of the most frequent classes.
        mean, deviation: a channel (0 to 255) or a mel band (dB), over the train split.
    """

    items: int
    labels: dict[str, int]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]


@dataclass(frozen=True)
class Drift:
    """How far examples are from others; 0 where they are alike.

    Attributes:
        labels: total variation distance of the shares of the classes, from 0 to 1.
        mean: largest difference of a channel's or band's means, in standard deviations of before.
        deviation: largest natural logarithm, up or down, of the ratio of two standard deviations.
    """

    labels: float
    mean: float
    deviation: float

    @property
    def largest(self) -> float:
        """What is held against `preprocess.max_drift`."""
        return max(self.labels, self.mean, self.deviation)


def data_statistics(
    labels: Mapping[str, Mapping[str, int]], mean: tuple[float, ...], deviation: tuple[float, ...]
) -> DataStatistics:
    """Puts statistics together from items by label and split."""
    counts = Counter({label: sum(splits.values()) for label, splits in labels.items()})
    frequent = sorted(counts, key=lambda label: (-counts[label], label))[:_MOST_LABELS]
    return DataStatistics(counts.total(), {label: counts[label] for label in sorted(frequent)}, mean, deviation)


def drift_between(before: DataStatistics, now: DataStatistics) -> Drift | None:
    """How far `now` is from `before`; null where they are of other channels or bands."""
    if len(before.mean) != len(now.mean):
        return None
    # Where labels were left out, those that only one side names may be among the other's rare ones.
    cut = len(before.labels) == _MOST_LABELS or len(now.labels) == _MOST_LABELS
    named = before.labels.keys() & now.labels.keys() if cut else before.labels.keys() | now.labels.keys()
    first, second = _shares(before, named), _shares(now, named)
    moments = list(zip(before.mean, before.deviation, now.mean, now.deviation, strict=True))
    return Drift(
        labels=math.fsum(abs(first[label] - second[label]) for label in first) / 2,
        mean=max(abs(to - at) / spread for at, spread, to, _ in moments),
        deviation=max(abs(math.log(wide / spread)) for _, spread, _, wide in moments),
    )


def _shares(statistics: DataStatistics, named: Iterable[str]) -> dict[str | None, float]:
    """Share of each named label, and of all others together."""
    total = max(1, statistics.items)
    shares: dict[str | None, float] = {label: statistics.labels.get(label, 0) / total for label in sorted(named)}
    return {**shares, None: 1.0 - math.fsum(shares.values())}
