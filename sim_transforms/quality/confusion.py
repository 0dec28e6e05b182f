"""Which classes are taken for which: queries by their class and that of their nearest item."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ConfusedPair:
    """Queries of class `label` whose nearest item is of class `taken_for`, and all queries of that class."""

    label: str
    taken_for: str
    count: int
    queries: int


@dataclass(frozen=True)
class Confusion:
    """Some classes, of each the answers.

    Attributes:
        labels: of the rows, and of the columns but the last; sorted.
        counts: [labels][labels + 1] queries; the last column is of all other classes.
        classes: that queries have, in all.
        pairs: of all classes, most confused first.
    """

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    classes: int
    pairs: tuple[ConfusedPair, ...]


def confusion(asked: Sequence[str], answered: Sequence[str], most: int) -> Confusion:
    """Counts the answers of each class.

    Args:
        asked: class of each query.
        answered: class of each query's nearest item.
        most: classes that get a row; of more, those with most mistakes.
    """
    found = Counter(zip(asked, answered, strict=True))
    queries = Counter(asked)
    wrong = {pair: count for pair, count in found.items() if pair[0] != pair[1]}
    mistakes = Counter[str]()
    for (label, taken_for), count in wrong.items():
        mistakes[label] += count
        mistakes[taken_for] += count
    chosen = sorted(queries, key=lambda label: (-mistakes[label], label))[:most]
    labels = tuple(sorted(chosen))
    counts = tuple(_row(label, labels, found, queries[label]) for label in labels)
    order = sorted(wrong.items(), key=lambda entry: (-entry[1], entry[0]))
    pairs = tuple(ConfusedPair(a, b, count, queries[a]) for (a, b), count in order)
    return Confusion(labels, counts, len(queries), pairs)


def _row(label: str, labels: Sequence[str], found: Counter[tuple[str, str]], queries: int) -> tuple[int, ...]:
    counts = [found[label, other] for other in labels]
    return (*counts, queries - sum(counts))
