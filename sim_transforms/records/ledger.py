"""Accounts of items: what each shard of each stage took in and gave out."""

from collections.abc import Iterable
from dataclasses import dataclass

from sim_transforms.errors import LedgerError

# Stage of the entries that count clips of sounds, beside those that count the sounds.
CLIPS = "clips"


@dataclass(frozen=True, order=True)
class LedgerEntry:
    """Counts of one shard of one stage; written with the shard's output and summed.

    Attributes:
        shard: name of the part of the work, unique within the stage.
    """

    stage: str
    shard: str
    items_in: int
    items_out: int
    rejected: int = 0
    skipped: int = 0

    def balances(self) -> bool:
        """Whether in = out + rejected + skipped."""
        return self.items_in == self.items_out + self.rejected + self.skipped


@dataclass(frozen=True)
class LedgerTotals:
    """Sum of a stage's entries."""

    items_in: int
    items_out: int
    rejected: int
    skipped: int


def balance(stage: str, entries: Iterable[LedgerEntry], expected_in: int | None = None) -> LedgerTotals:
    """Sums the entries of a stage.

    Args:
        stage: name shown in messages.
        entries: in any order.
        expected_in: items that went into the stage, counted independently, where known.

    Raises:
        LedgerError: an entry does not balance, or the sum of `items_in` is not `expected_in`.
    """
    entries = sorted(entries)
    for entry in entries:
        if not entry.balances():
            raise LedgerError(f"{stage}: shard {entry.shard} does not balance: {entry}")
    total = LedgerTotals(
        items_in=sum(e.items_in for e in entries),
        items_out=sum(e.items_out for e in entries),
        rejected=sum(e.rejected for e in entries),
        skipped=sum(e.skipped for e in entries),
    )
    if expected_in is not None and total.items_in != expected_in:
        raise LedgerError(f"{stage}: {expected_in} items went in, but {total.items_in} are accounted for")
    return total
