"""Files of `<workdir>/decoded/`: TFRecord files, and beside each a table of the files behind its records."""

from pathlib import Path

FOLDER = "decoded"
# Where a run writes, until its examples are accepted.
PENDING = "pending"
_ENDING = ".parquet"


def table_beside(records: Path) -> Path:
    """The table of a TFRecord file."""
    return records.with_name(records.name + _ENDING)


def records_beside(table: Path) -> Path:
    """The TFRecord file of a table."""
    return table.with_name(table.name.removesuffix(_ENDING))
