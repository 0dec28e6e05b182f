"""Generations of records: those that came in with one run, which are analysed together and once.

What was found in a generation lies in a folder whose name tells its number, how many records it has and what they are,
so that it is known by its name whether it still holds.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

# So many are kept apart; then all but the largest become one, which is analysed anew.
MOST = 24
_MODULUS = 2**128
_NAME = re.compile(r"generation-(\d{6})-(\d{1,18})-([0-9a-f]{32})")


@dataclass(frozen=True, order=True)
class Generation:
    """Records that are analysed together.

    Attributes:
        number: from 1 on.
        records: how many.
        digest: sum of a 128-bit hash of each, modulo 2^128: no order changes it.
    """

    number: int
    records: int
    digest: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"generation-{self.number:06d}-{self.records}-{self.digest:032x}"


def named_generation(name: str) -> Generation | None:
    """Inverse of `Generation.name`; null for another name."""
    found = _NAME.fullmatch(name)
    return Generation(int(found[1]), int(found[2]), int(found[3], 16)) if found else None


def added(parts: Iterable[Generation]) -> tuple[Generation, ...]:
    """Sums by number, ascending; the parts of one generation have no record in common."""
    sums: dict[int, tuple[int, int]] = {}
    for part in parts:
        records, digest = sums.get(part.number, (0, 0))
        sums[part.number] = records + part.records, (digest + part.digest) % _MODULUS
    return tuple(Generation(number, *sums[number]) for number in sorted(sums))


def known_generations(cache: Path) -> frozenset[Generation]:
    """Those whose results lie in a folder, which may be missing."""
    names = [path.name for path in cache.iterdir()] if cache.is_dir() else []
    return frozenset(found for found in map(named_generation, names) if found is not None)


def next_generation(known: Collection[Generation]) -> tuple[int, frozenset[int]]:
    """Number of the generation of a new run, and the numbers of those that become part of it."""
    number = 1 + max((generation.number for generation in known), default=0)
    if len(known) < MOST:
        return number, frozenset()
    largest = max(known, key=lambda generation: (generation.records, -generation.number))
    return number, frozenset(generation.number for generation in known if generation != largest)
