"""Counters of the stages, for those who watch a job: what went in, was accepted, rejected, skipped.

The accounts of record are the ledger, which is data: a runner counts what it works again once more. Where nothing was
worked again, both say the same.
"""

from dataclasses import fields
from typing import Any

from apache_beam.metrics import Metrics
from apache_beam.metrics.metric import MetricsFilter

from sim_transforms.records.ledger import LedgerEntry, LedgerTotals

_PREFIX = "ruiji."
_COUNTS = tuple(field.name for field in fields(LedgerTotals))


def count(entry: LedgerEntry) -> LedgerEntry:
    """Counts what a worker has just accounted for; gives the entry back."""
    for name in _COUNTS:
        Metrics.counter(_PREFIX + entry.stage, name).inc(getattr(entry, name))
    return entry


def counted(metrics: Any) -> dict[str, LedgerTotals]:
    """Stage -> its counters.

    Args:
        metrics: `MetricResults` of a job; while it runs, what workers have told so far.
    """
    found: dict[str, dict[str, int]] = {}
    names = MetricsFilter().with_names(_COUNTS)
    for each in metrics.query(names)["counters"]:
        namespace = each.key.metric.namespace
        if namespace.startswith(_PREFIX):
            known = found.setdefault(namespace.removeprefix(_PREFIX), dict.fromkeys(_COUNTS, 0))
            # Some runners tell what is committed alone, some what is attempted, some both.
            known[each.key.metric.name] += max(each.committed or 0, each.attempted or 0)
    return {stage: LedgerTotals(**counts) for stage, counts in sorted(found.items())}


def counters_text(stages: dict[str, LedgerTotals]) -> str:
    """What the counters say, for a line of progress; the only stage needs no name."""
    named = len(stages) > 1
    return "; ".join(f"{f'{stage} ' if named else ''}{_totals_text(totals)}" for stage, totals in stages.items())


def _totals_text(totals: LedgerTotals) -> str:
    further = (("rejected", totals.rejected), ("skipped", totals.skipped))
    told = "".join(f", {count:,} {name}" for name, count in further if count)
    return f"{totals.items_out:,} of {totals.items_in:,} accepted{told}"
