"""What is told of all examples at once, and how far two catalogs are from each other in it."""

import hashlib
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

# Labels that are told by name; rarer ones count together, in so many groups by the hash of their names.
_MOST_LABELS, _GROUPS = 1000, 4096


@dataclass(frozen=True)
class DataStatistics:
    """Of the examples that a model was trained on.

    Attributes:
        items: how many.
        labels: class -> items, of the most frequent classes.
        rare: items of the other classes by a hash of their names; empty where there are none.
        mean, deviation: a channel (0 to 255) or a mel band (dB), over the train split.
    """

    items: int
    labels: dict[str, int]
    rare: tuple[int, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]


@dataclass(frozen=True)
class Drift:
    """How far examples are from others; 0 where they are alike.

    Attributes:
        labels: total variation distance of the shares of the classes, from 0 to 1; of groups of them, so that it is
            too small rather than too large, where there are more classes than are told by name.
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
    named = {label: counts[label] for label in sorted(frequent)}
    rare = {label: count for label, count in counts.items() if label not in named}
    return DataStatistics(counts.total(), named, _grouped(rare) if rare else (), mean, deviation)


def _grouped(labels: Mapping[str, int]) -> tuple[int, ...]:
    groups = [0] * _GROUPS
    for label, count in labels.items():
        groups[int.from_bytes(hashlib.sha256(label.encode()).digest()[:8], "big") % _GROUPS] += count
    return tuple(groups)


def drift_between(before: DataStatistics, now: DataStatistics) -> Drift | None:
    """How far `now` is from `before`; null where they are of other channels or bands."""
    if len(before.mean) != len(now.mean):
        return None
    if before.rare or now.rare:
        shares = list(zip(_group_shares(before), _group_shares(now), strict=True))
    else:
        names = sorted(before.labels.keys() | now.labels.keys())
        shares = [(_share(before, name), _share(now, name)) for name in names]
    moments = list(zip(before.mean, before.deviation, now.mean, now.deviation, strict=True))
    return Drift(
        labels=math.fsum(abs(first - second) for first, second in shares) / 2,
        mean=max(abs(to - at) / spread for at, spread, to, _ in moments),
        deviation=max(abs(math.log(wide / spread)) for _, spread, _, wide in moments),
    )


def _share(statistics: DataStatistics, label: str) -> float:
    return statistics.labels.get(label, 0) / max(1, statistics.items)


def _group_shares(statistics: DataStatistics) -> list[float]:
    rare = statistics.rare or (0,) * _GROUPS
    together = zip(_grouped(statistics.labels), rare, strict=True)
    return [(named + other) / max(1, statistics.items) for named, other in together]
