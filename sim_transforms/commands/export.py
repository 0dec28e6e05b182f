"""`ruiji export`: the items and vectors of a version in files that other systems take in bulk.

| format | files | for |
|---|---|---|
| parquet | `part-00000.parquet`: item_id, embedding, metadata | anything that reads Arrow |
| numpy | `vectors.npy` [n, d] float32, `ids.txt` a line each | notebooks; `ruiji index --embeddings --ids` |
| milvus | `part-00000.parquet`: item_id as primary key, vector, metadata | Milvus' bulk insert |
| qdrant | `part-00000.jsonl`: a point a line, `collection.json` | Qdrant's REST interface, points by batches of lines |
| vertex | `part-00000.json`: a record a line, metadata as restricts | Vertex AI Vector Search, batch update |

Vectors are as the index holds them: of unit length in the space cosine.
"""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from sim_transforms.commands.published import Opened, open_version_folder
from sim_transforms.errors import UsageError
from sim_transforms.hnsw.version_vectors import VersionVectors
from sim_transforms.records.batches import column_of
from sim_transforms.records.codec import canonical_json
from sim_transforms.records.ledger import LedgerEntry, balance
from sim_transforms.records.manifests import ExportManifest
from sim_transforms.runs.folders import output_folder
from sim_transforms.storage.checksums import file_entry
from sim_transforms.storage.files import write_file

Array = np.ndarray[Any, Any]
Batches = Iterator[tuple[pa.Table, Array]]

# Row groups, of 8,192 items each.
_PART_GROUPS = 12
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://github.com/ruiji/item")
_OWN = ("row", "digest")
_QDRANT = {"cosine": "Cosine", "l2": "Euclid", "inner_product": "Dot"}


def export(store_url: str, version: str | None, kind: str, output: Path) -> dict[str, Any]:
    """Writes a version into a folder, in the place of an earlier export.

    Args:
        store_url: of the published versions.
        version: id; LATEST where not given.
        kind: parquet, numpy, milvus, qdrant or vertex.
        output: the folder.

    Returns:
        {"version", "items", "format", "output"}.

    Raises:
        UsageError: no such format, or the folder holds something else than an earlier export.
        NotFound: no such version.
        DamagedArtefact: the version's files are not what was published.
    """
    if kind not in FORMATS:
        raise UsageError(f"--format: found {kind!r}; {', '.join(FORMATS)} are known")
    opened = open_version_folder(store_url, version)
    output = output.absolute()
    with output_folder(output, ExportManifest) as folder:
        written = FORMATS[kind](opened, _Items(opened), folder)
        entry = LedgerEntry("export", "all", opened.manifest.items, written)
        names = sorted(path.name for path in folder.iterdir())
        manifest = ExportManifest(
            version=opened.version,
            format=kind,
            ledger=balance("export", [entry], expected_in=opened.manifest.items),
            files=tuple(file_entry(folder, name) for name in names),
        )
        write_file(folder / "manifest.json", canonical_json(manifest).encode())
    return {"version": opened.version, "items": written, "format": kind, "output": str(output)}


class _Items:
    """Items of a version without our own columns, and their vectors [n, d], in the order of rows, part by part."""

    def __init__(self, opened: Opened) -> None:
        self._vectors = VersionVectors(opened.folder, opened.manifest)
        self._file = pq.ParquetFile(opened.folder / "items.parquet")

    def parts(self) -> Iterator[tuple[int, Batches]]:
        """Numbered, of some hundred thousand items each."""
        groups = self._file.metadata.num_row_groups
        for number, first in enumerate(range(0, groups, _PART_GROUPS)):
            yield number, self._read(range(first, min(first + _PART_GROUPS, groups)))

    def _read(self, groups: range) -> Batches:
        for group in groups:
            table = self._file.read_row_group(group)
            rows = table.column("row").to_numpy()
            yield table.drop_columns([name for name in _OWN if name in table.column_names]), self._vectors.at(rows)


def _write_parquet(opened: Opened, items: _Items, folder: Path, column: str, kind: pa.DataType) -> int:
    written = 0
    for number, part in items.parts():
        writer: pq.ParquetWriter | None = None
        for table, vectors in part:
            table = table.append_column(column, column_of(vectors).cast(kind))
            writer = writer or pq.ParquetWriter(folder / f"part-{number:05d}.parquet", table.schema)
            writer.write_table(table)
            written += table.num_rows
        if writer is not None:
            writer.close()
    return written


def _parquet(opened: Opened, items: _Items, folder: Path) -> int:
    return _write_parquet(opened, items, folder, "embedding", pa.list_(pa.float32(), opened.manifest.dimension))


def _milvus(opened: Opened, items: _Items, folder: Path) -> int:
    return _write_parquet(opened, items, folder, "vector", pa.list_(pa.float32()))


def _numpy(opened: Opened, items: _Items, folder: Path) -> int:
    shape = (opened.manifest.items, opened.manifest.dimension)
    target = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float32, shape) if shape[0] else None
    written = 0
    with (folder / "ids.txt").open("wb") as ids:
        for table, vectors in (batch for _, part in items.parts() for batch in part):
            assert target is not None
            target[written : written + len(vectors)] = vectors
            ids.writelines(item_id.encode() + b"\n" for item_id in table.column("item_id").to_pylist())
            written += len(vectors)
    if target is None:
        np.save(folder / "vectors.npy", np.zeros(shape, np.float32))
    else:
        target.flush()
    return written


def _write_lines(items: _Items, folder: Path, ending: str, line: Callable[[dict[str, Any], Array], Any]) -> int:
    written = 0
    for number, part in items.parts():
        with (folder / f"part-{number:05d}.{ending}").open("wb") as file:
            for table, vectors in part:
                written += _write_records(file, table.to_pylist(), vectors, line)
    return written


def _write_records(
    file: BinaryIO, records: list[dict[str, Any]], vectors: Array, line: Callable[[dict[str, Any], Array], Any]
) -> int:
    option = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
    for record, vector in zip(records, vectors, strict=True):
        file.write(orjson.dumps(line(record, vector), option=option))
    return len(records)


def _qdrant(opened: Opened, items: _Items, folder: Path) -> int:
    space = opened.manifest.space
    described = {"vectors": {"size": opened.manifest.dimension, "distance": _QDRANT[space]}}
    write_file(folder / "collection.json", orjson.dumps(described, option=orjson.OPT_INDENT_2))
    return _write_lines(items, folder, "jsonl", _point)


def _point(record: dict[str, Any], vector: Array) -> dict[str, Any]:
    # Qdrant takes numbers and UUIDs alone: the same item has the same one in every version.
    number = str(uuid.uuid5(_NAMESPACE, record["item_id"]))
    return {"id": number, "vector": vector, "payload": record}


def _vertex(opened: Opened, items: _Items, folder: Path) -> int:
    return _write_lines(items, folder, "json", _record)


def _record(record: dict[str, Any], vector: Array) -> dict[str, Any]:
    texts, numbers = [], []
    for name, value in record.items():
        if name == "item_id" or value is None:
            continue
        if isinstance(value, bool | str):
            texts.append({"namespace": name, "allow": [str(value)]})
        else:
            kind = "value_int" if isinstance(value, int) else "value_double"
            numbers.append({"namespace": name, kind: value})
    return {"id": record["item_id"], "embedding": vector, "restricts": texts, "numeric_restricts": numbers}


FORMATS: dict[str, Callable[[Opened, _Items, Path], int]] = {
    "parquet": _parquet,
    "numpy": _numpy,
    "milvus": _milvus,
    "qdrant": _qdrant,
    "vertex": _vertex,
}
