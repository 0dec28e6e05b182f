"""Takes items out of a working directory: examples, embeddings, remembered files, rejects, pages.

Each artefact is written aside and swapped in, whole or not at all; files that hold none of the items are linked over.
What is done already finds nothing to do, so that a killed run is completed by the next.
"""

import html
import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from markupsafe import escape

from sim_transforms.commands.forget_accounts import Removed, accounts_without, digest_without, statistics_without
from sim_transforms.commands.whereabouts import files_with
from sim_transforms.errors import DamagedArtefact
from sim_transforms.records.codec import canonical_json
from sim_transforms.records.kept import FOLDER, PENDING, records_beside, table_beside
from sim_transforms.records.ledger import CLIPS, balance
from sim_transforms.records.manifests import EmbeddingsManifest, ExamplesManifest, FileEntry
from sim_transforms.runs.folders import recover, staged_folder
from sim_transforms.storage.checksums import file_entry
from sim_transforms.storage.files import TEMPORARY, link_file, replace_file, write_file
from sim_transforms.storage.tfrecord import read_record

_PAGES = ("report", "evaluation")
_GROUP = 16_384  # rows of a row group, as the embed job writes them


@dataclass(frozen=True)
class Taken:
    """What was taken out.

    Attributes:
        places: item -> files that held it, relative to the working directory.
        pages: folders of pages that showed one of the items; removed whole.
    """

    places: dict[str, tuple[str, ...]]
    pages: tuple[str, ...]


def forget_artefacts(workdir: Path, ids: Collection[str], clips: bool = False) -> Taken:
    """Takes items out of everything that a working directory holds but the model; the caller holds its lock.

    Args:
        workdir: the working directory.
        ids: of items of the catalog, whose clips go with them.
        clips: whether what the index has rejected are clips of theirs.

    Raises:
        DamagedArtefact: an artefact is not what its manifest says; those before it are done.
    """
    for folder in sorted(workdir.glob(".*.scratch")):
        if not folder.name.startswith(".forget-"):  # the caller's own
            shutil.rmtree(folder, ignore_errors=True)
    found: dict[str, list[str]] = {item_id: [] for item_id in ids}
    for name, forget in (("examples", forget_examples), ("embeddings", forget_embeddings)):
        if recovered(workdir / name):
            _note(found, forget(workdir / name, ids), name)
    _note(found, forget_decoded(workdir, ids), FOLDER)
    if (workdir / "sources").is_dir():
        _note(found, _forget_rows(workdir / "sources", "*.parquet", ids), "sources")
    for name, of_clips in (("rejects.parquet", False), ("index_rejects.parquet", clips)):
        _note(found, _forget_rows(workdir, name, ids, of_clips), "")
    pages = tuple(name for name in _PAGES if _shows(workdir / name, ids))
    for name in pages:
        shutil.rmtree(workdir / name)
    return Taken({item_id: tuple(sorted(set(files))) for item_id, files in found.items() if files}, pages)


def recovered(folder: Path) -> bool:
    """Puts right what a crash has left beside an artefact; whether there is one."""
    recover(folder)
    return folder.is_dir()


def _note(found: dict[str, list[str]], taken: Mapping[str, Sequence[str]], folder: str) -> None:
    for item_id, files in taken.items():
        found[item_id] += [f"{folder}/{name}" if folder else name for name in files]


def forget_examples(folder: Path, ids: Collection[str]) -> dict[str, list[str]]:
    """Writes `examples/` anew without some items, or all clips of some sounds: item -> files that held it.

    Only the TFRecord files that hold one of them are written, and the accounts: offsets, facts of the files, rejects,
    ledger, statistics, manifest. The graph of TensorFlow Transform stays: it holds means over all items, as the model
    does.

    Raises:
        NotFound: the folder has no manifest.
        DamagedArtefact: a record is not where the offsets say, or a table is missing.
    """
    manifest = ExamplesManifest.load(folder)
    clips = manifest.media.clips is not None
    offsets, *others = (_table(folder / f"{name}.parquet") for name in ("offsets", "media", "rejects"))
    gone, left = _with(offsets, ids, clips), _without(offsets, ids, clips)
    removed = Removed(gone, *(_with(table, ids) for table in others))
    if not any(table.num_rows for table in (removed.records, removed.files, removed.refused)):
        return {}
    touched = sorted(set(gone.column("shard").to_pylist()))
    names = [manifest.example_file(shard) for shard in touched]
    accounts = ("ledger.json", "media.parquet", "offsets.parquet", "rejects.parquet", "statistics.json")
    with staged_folder(folder) as new:
        _take_over(folder, new, {*names, *accounts, "manifest.json"})
        for shard, name in zip(touched, names, strict=True):
            _check_gone(folder / name, _of_shard(gone, shard))
            _copy_records(folder / name, new / name, _of_shard(left, shard))
        pq.write_table(_moved(left, touched), new / "offsets.parquet")
        for name, table in zip(("media.parquet", "rejects.parquet"), others, strict=True):
            pq.write_table(_without(table, ids), new / name)
        entries = accounts_without(folder / "ledger.json", manifest, removed)
        totals = balance("forget", (entry for entry in entries if entry.stage != CLIPS))
        write_file(new / "ledger.json", canonical_json(entries).encode())
        files = _entries(new, manifest.files, {*names, *accounts})
        statistics = statistics_without(folder / "statistics.json", manifest, removed)
        statistics |= {"files": totals.items_out, "items": left.num_rows}
        statistics["record_bytes"] = sum(entry.size_bytes for entry in files if entry.name.startswith("examples-"))
        write_file(new / "statistics.json", canonical_json(statistics).encode())
        described = replace(
            manifest,
            items=left.num_rows,
            catalog_digest=digest_without(manifest.catalog_digest, removed.item_ids()),
            labels=tuple(sorted(label for label in statistics["labels"] if label)),
            ledger=totals,
            files=_entries(new, files, {"statistics.json"}),
        )
        write_file(new / "manifest.json", canonical_json(described).encode())
    return removed.places(manifest)


def forget_decoded(workdir: Path, ids: Collection[str]) -> dict[str, list[str]]:
    """Takes items out of what is kept for the next preprocessing: item -> files that held it.

    Each file is written anew from its own records, whatever settings it is of. What a killed run has left, tables that
    cannot be read, and what was found in the items by the analysis go; the next run makes them again.
    """
    folder, found = workdir / FOLDER, {item_id: list[str]() for item_id in ids}
    folders = [path for pattern in ("*", f"*/{PENDING}") for path in sorted(folder.glob(pattern)) if path.is_dir()]
    for path in sorted(path for one in folders for path in one.iterdir() if path.is_file()):
        if path.name.startswith(TEMPORARY) or not _is_kept(path):
            path.unlink()
    for name in files_with(folder, "**/*.parquet", ids):
        table, records = folder / name, records_beside(folder / name)
        rows = pq.ParquetFile(table).read()
        for row in _with(rows, ids).to_pylist():
            holding = (table, records) if row["length"] else (table,)
            found[row["item_id"]] += [path.relative_to(folder).as_posix() for path in holding]
        left = _without(rows, ids)
        table.unlink()
        with replace_file(records) as temporary:
            _copy_records(records, temporary, left)
        lengths = left.column("length").to_numpy()
        place = left.schema.get_field_index("offset")
        offsets = pa.array(np.cumsum(lengths) - lengths, pa.int64())
        with replace_file(table) as temporary:
            pq.write_table(left.set_column(place, left.schema.field(place), offsets), temporary)
    for analysis in sorted(folder.glob("*/analysis-*") if any(found.values()) else ()):
        shutil.rmtree(analysis)
    return found


def _is_kept(path: Path) -> bool:
    """Whether a file of `decoded/` is one of a whole pair."""
    records = records_beside(path)
    try:
        pq.ParquetFile(table_beside(records)).close()
    except (OSError, pa.ArrowException):
        return False
    return records.is_file()


def _table(path: Path) -> pa.Table:
    if not path.is_file():
        raise DamagedArtefact(f"{path} is missing; run `ruiji preprocess` to write the examples anew")
    return pq.read_table(path)


def forget_embeddings(folder: Path, ids: Collection[str]) -> dict[str, list[str]]:
    """Writes `embeddings/` anew without some items, or all clips of some sounds: item -> file that held it.

    A file that is left empty goes.

    Raises:
        NotFound: the folder has no manifest.
    """
    manifest = EmbeddingsManifest.load(folder)
    clips = manifest.clips is not None
    held = files_with(folder, "embeddings-*.parquet", ids, clips)
    if not held:
        return {}
    gone: list[str] = []
    with staged_folder(folder) as new:
        _take_over(folder, new, {*held, "manifest.json"})
        for name in held:
            table = pq.ParquetFile(folder / name).read()
            left = _without(table, ids, clips)
            gone += _with(table, ids, clips).column("item_id").to_pylist()
            if left.num_rows:
                pq.write_table(left, new / name, row_group_size=_GROUP)
        ledger, count = manifest.ledger, len(gone)
        described = replace(
            manifest,
            items=manifest.items - count,
            catalog_digest=digest_without(manifest.catalog_digest, gone),
            ledger=replace(ledger, items_in=ledger.items_in - count, items_out=ledger.items_out - count),
            files=_entries(new, tuple(e for e in manifest.files if (new / e.name).is_file()), set(held)),
        )
        write_file(new / "manifest.json", canonical_json(described).encode())
    return {item_id: [name for name, found in held.items() if item_id in found] for item_id in _all(held)}


def _forget_rows(folder: Path, pattern: str, ids: Collection[str], clips: bool = False) -> dict[str, list[str]]:
    """Writes the Parquet files of a folder that hold some items, or clips of some sounds, anew without them."""
    held = files_with(folder, pattern, ids, clips)
    for name in held:
        left = _without(pq.ParquetFile(folder / name).read(), ids, clips)
        with replace_file(folder / name) as temporary:
            pq.write_table(left, temporary)
    return {item_id: [name for name, found in held.items() if item_id in found] for item_id in _all(held)}


def _all(held: Mapping[str, Sequence[str]]) -> set[str]:
    return {item_id for found in held.values() for item_id in found}


def _shows(folder: Path, ids: Collection[str]) -> bool:
    """Whether a file of a folder holds one of the ids, as it is or escaped for HTML, as Python or as Jinja does."""
    sought = {text.encode() for item_id in ids for text in (item_id, html.escape(item_id), str(escape(item_id)))}
    contents = (path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())
    return any(text in content for content in contents for text in sought)


def _is_one_of(table: pa.Table, ids: Collection[str], clips: bool) -> pa.ChunkedArray:
    column, kind = table.column("item_id"), table.schema.field("item_id").type
    named = pc.replace_substring_regex(column, "#[^#]*$", "") if clips else column
    return pc.is_in(named, value_set=pa.array(sorted(ids), kind))


def _with(table: pa.Table, ids: Collection[str], clips: bool = False) -> pa.Table:
    return table.filter(_is_one_of(table, ids, clips))


def _without(table: pa.Table, ids: Collection[str], clips: bool = False) -> pa.Table:
    # Copied, so that no buffer with the item is written again.
    return table.filter(pc.invert(_is_one_of(table, ids, clips))).combine_chunks()


def _of_shard(table: pa.Table, shard: int) -> pa.Table:
    return table.filter(pc.equal(table.column("shard"), shard)).sort_by("offset")


def _take_over(folder: Path, new: Path, but: set[str]) -> None:
    """Links all files but some into a new folder; copies where the file system cannot link."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder)
        if name.as_posix() in but:
            continue
        (new / name).parent.mkdir(parents=True, exist_ok=True)
        link_file(path, new / name)


def _check_gone(path: Path, gone: pa.Table) -> None:
    """Makes sure that what is left out are the items' own records."""
    with path.open("rb") as file:
        for row in gone.to_pylist():
            record = read_record(file.fileno(), row["offset"], row["length"], str(path))
            if row["item_id"].encode() not in record:
                raise DamagedArtefact(
                    f"{path}: the record at byte {row['offset']} is not that of {row['item_id']!r}, as offsets.parquet "
                    "says; run `ruiji preprocess` to write the examples anew"
                )


def _copy_records(source: Path, target: Path, kept: pa.Table) -> None:
    with source.open("rb") as file, target.open("wb") as out:
        for offset, length in zip(kept.column("offset").to_pylist(), kept.column("length").to_pylist(), strict=True):
            out.write(os.pread(file.fileno(), length, offset))
    expected = sum(kept.column("length").to_pylist())
    if target.stat().st_size != expected:
        raise DamagedArtefact(f"{source} ends before the last record that offsets.parquet names")


def _moved(kept: pa.Table, shards: Sequence[int]) -> pa.Table:
    """The offsets after the records between have gone."""
    offsets, lengths, of = (kept.column(name).to_numpy().copy() for name in ("offset", "length", "shard"))
    for shard in shards:
        rows = np.flatnonzero(of == shard)
        rows = rows[np.argsort(offsets[rows])]
        offsets[rows] = np.cumsum(lengths[rows]) - lengths[rows]
    place = kept.schema.get_field_index("offset")
    return kept.set_column(place, kept.schema.field(place), pa.array(offsets))


def _entries(new: Path, files: Sequence[FileEntry], changed: set[str]) -> tuple[FileEntry, ...]:
    """Entries of a manifest, those of changed files made anew where they are written already."""
    return tuple(file_entry(new, e.name) if e.name in changed and (new / e.name).is_file() else e for e in files)
