"""Rejected items: written out with their reasons, and judged against the share that is allowed."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sim_transforms.errors import TooManyRejects
from sim_transforms.records.items import REJECTS_SCHEMA, FailedItem
from sim_transforms.records.ledger import LedgerTotals


def write_rejects(path: Path, failed: Sequence[FailedItem]) -> None:
    """Writes a Parquet file of REJECTS_SCHEMA, a row an item."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([asdict(item) for item in failed], REJECTS_SCHEMA), path)


def reasons_of(failed: Sequence[FailedItem]) -> str:
    """How often each reason was given, the most frequent first, for a message."""
    return ", ".join(f"{n} {reason}" for reason, n in Counter(item.reason for item in failed).most_common())


def judge_rejects(totals: LedgerTotals, failed: Sequence[FailedItem], most: float, rejects: Path) -> None:
    """Passes judgement on a stage's rejects.

    Args:
        totals: of the stage.
        failed: the rejected items.
        most: share of the items that may be rejected.
        rejects: file that names them, for the message.

    Raises:
        TooManyRejects: more were rejected, or nothing is left.
    """
    share = totals.rejected / max(totals.items_in, 1)
    if share <= most and (totals.items_out or not totals.rejected):
        return
    raise TooManyRejects(
        f"{totals.rejected} of {totals.items_in} items ({share:.1%}) were rejected ({reasons_of(failed)}); at most "
        f"{most:.1%} are allowed by preprocess.max_reject_share; {rejects} names each with its reason: mend the files, "
        "or raise the limit"
    )
