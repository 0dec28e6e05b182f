"""`ruiji why`: where an item, a sound or a clip stands, or at which stage, when and why it was dropped."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sim_transforms.commands.sound_clips import ClipPlace, clip_places, prepared_shape
from sim_transforms.commands.whereabouts import (
    IndexedRow,
    RecordAt,
    Rejected,
    catalog_rows,
    digest_in_version,
    files_with,
    holds_clips,
    ids_of_version,
    iso_time,
    nearest_ids,
    places_in_examples,
    rejects_of,
    rows_in_version,
)
from sim_transforms.errors import DamagedArtefact, NotFound
from sim_transforms.media.remote import LOCAL_ONLY, RemoteFiles
from sim_transforms.records.clips import sound_of, start_of
from sim_transforms.records.manifests import VersionManifest
from sim_transforms.records.media import Clips
from sim_transforms.storage.object_store import ObjectStore
from sim_transforms.storage.open import open_store
from sim_transforms.storage.versions import VersionInfo, latest, list_versions, load_manifest

Status = Literal["published", "rejected", "silent", "waiting", "withdrawn", "prepared", "unknown"]


@dataclass(frozen=True)
class Origin:
    """Where the items come from.

    Attributes:
        workdir: of the artefacts.
        catalog: its source.
        allow_outside: whether uris may leave its folder.
        files: where a catalog with a scheme lies.
    """

    workdir: Path
    catalog: str
    allow_outside: bool
    files: RemoteFiles = LOCAL_ONLY

    def rows(self) -> Iterator[tuple[str, int | None]]:
        """Item and row of the catalog, as `catalog_rows` gives them."""
        return catalog_rows(self.catalog, self.allow_outside, self.files)


@dataclass(frozen=True)
class InVersion:
    """Place of an item in a version; of a sound that of the first of its clips.

    Attributes:
        shard: whose rows hold it.
        created: ISO 8601 in UTC.
        clips: of a sound, how many it has there; 0 of an item or a clip.
    """

    version: str
    row: int
    shard: int
    created: str
    clips: int = 0


@dataclass(frozen=True)
class Standing:
    """What is known of an item.

    Attributes:
        status: published (LATEST holds it), rejected, silent (a clip that was skipped of a sound that LATEST holds),
            waiting (in the catalog alone), withdrawn (only older versions hold it), prepared (only examples or
            embeddings do), unknown.
        store: its URL.
        latest: id of LATEST, or null.
        published: place in LATEST.
        older: places in the other whole versions, oldest first.
        unreadable: versions of which it cannot be told.
        rejected: what the rejects files say.
        catalog: of the configuration, or null where none was given.
        in_catalog: null where it was not asked; of a clip whether its sound is.
        catalog_row: counted from 1; null where the row is no reference.
        examples: place in `examples/`: (shard, offset, length), of a sound that of the first of its clips there.
        embeddings: file in `embeddings/`.
        nearest: ids that are spelt alike, where it is unknown.
        sound: where the item is a sound or a clip, the sound; else null.
        clips: of a sound those in LATEST and those that were skipped because they are silent, by start; of a clip
            itself.
    """

    item_id: str
    status: Status
    store: str
    latest: str | None
    published: InVersion | None
    older: tuple[InVersion, ...]
    unreadable: tuple[str, ...]
    rejected: tuple[Rejected, ...]
    catalog: str | None
    in_catalog: bool | None
    catalog_row: int | None
    examples: tuple[int, int, int] | None
    embeddings: str | None
    nearest: tuple[str, ...] = ()
    sound: str | None = None
    clips: tuple[ClipPlace, ...] = ()


def why(item_id: str, store_url: str, origin: Origin | None) -> Standing:
    """Looks everywhere; without an origin in the store alone."""
    store = open_store(store_url)
    current = latest(store)
    places, unreadable = _in_versions(store, item_id)
    sound = _sound_of(store, current, item_id, origin)
    clips = _clips(store, current, sound, origin)
    published = places.pop(current) if current in places else None
    rejected: tuple[Rejected, ...] = ()
    examples, embeddings, row, listed = None, None, None, None
    if origin is not None:
        rejected = _rejected(origin, item_id, sound)
        found = places_in_examples(origin.workdir, [item_id], sound is not None).get(item_id)
        examples = min(found, key=_by_place)[1:] if found else None
        files = files_with(origin.workdir / "embeddings", "embeddings-*.parquet", [item_id], sound is not None)
        embeddings = next(iter(files), None)
        rows = _catalog_rows(origin, {item_id, sound or item_id})
        listed, row = bool(rows), rows.get(item_id, rows.get(sound or item_id))
    older = tuple(sorted(places.values(), key=lambda p: (p.created, p.version)))
    if item_id != sound:
        # Of a sound that is published, a clip that is not does not wait.
        waits, clips = listed and not clips, tuple(clip for clip in clips if clip.item_id == item_id)
    else:
        waits = listed
    status = _status(published, rejected, waits, older, bool(examples or embeddings))
    if published is None and [clip.row for clip in clips] == [None]:
        status = "silent"
    nearest = nearest_ids(item_id, _known_ids(store, current, origin)) if status == "unknown" else []
    return Standing(
        item_id=item_id, status=status, store=store.url, latest=current, published=published, older=older,
        unreadable=unreadable, rejected=rejected, catalog=origin.catalog if origin else None, in_catalog=listed,
        catalog_row=row, examples=examples, embeddings=embeddings, nearest=tuple(nearest), sound=sound, clips=clips,
    )  # fmt: skip


def _by_place(record: RecordAt) -> tuple[int, int]:
    return record.shard, record.offset


def _catalog_rows(origin: Origin, ids: set[str]) -> dict[str, int | None]:
    """The rows of some items; of an id that stands more than once the first."""
    found: dict[str, int | None] = {}
    for item_id, row in origin.rows():
        if item_id in ids:
            found.setdefault(item_id, row)
    return found


def _rejected(origin: Origin, item_id: str, sound: str | None) -> tuple[Rejected, ...]:
    """What is said of an item; of a clip also what is said of its sound, of a sound what is said of its clips."""
    own = rejects_of(origin.workdir, [item_id], sound is not None).get(item_id, [])
    whole = rejects_of(origin.workdir, [sound]).get(sound, []) if sound not in (None, item_id) else []
    return (*own, *(said for said in whole if said not in own))


def _sound_of(store: ObjectStore, current: str | None, item_id: str, origin: Origin | None) -> str | None:
    """The sound that an id means, its own or that of its clip; null where neither LATEST nor `examples/` has clips."""
    shape = prepared_shape(origin.workdir / "examples") if origin is not None else None
    if shape is None and (current is None or _clips_of(store, current) is None):
        return None
    if start_of(item_id) is None:
        return item_id
    if origin is not None and _catalog_rows(origin, {item_id}):
        return item_id
    rows = _rows(store, current, item_id) if current is not None else ()
    return item_id if rows and rows[0].item_id != item_id else sound_of(item_id)


def _clips_of(store: ObjectStore, version: str) -> Clips | None:
    try:
        return load_manifest(store, version).clips
    except (NotFound, DamagedArtefact):
        return None  # said already: it is among the unreadable versions


def _rows(store: ObjectStore, version: str, item_id: str) -> tuple[IndexedRow, ...]:
    try:
        return rows_in_version(store, version, [item_id], holds_clips(store, version)).get(item_id, ())
    except (NotFound, DamagedArtefact):
        return ()


def _clips(store: ObjectStore, current: str | None, sound: str | None, origin: Origin | None) -> tuple[ClipPlace, ...]:
    """All clips of a sound that LATEST holds."""
    clips = _clips_of(store, current) if current is not None else None
    if clips is None or current is None or sound is None:
        return ()
    rows = _rows(store, current, sound)
    if not rows:
        return ()
    digest = digest_in_version(store, current, rows[0].item_id)
    return clip_places(sound, rows, clips, digest, origin.workdir / "examples" if origin is not None else None)


def _in_versions(store: ObjectStore, item_id: str) -> tuple[dict[str, InVersion], tuple[str, ...]]:
    """Place in each version that holds it; versions that cannot be read."""
    places, unreadable = {}, []
    for info in list_versions(store):
        try:
            place = _in_version(store, info, item_id)
        except (NotFound, DamagedArtefact):
            unreadable.append(info.version)
            continue
        if place is not None:
            places[info.version] = place
    return places, tuple(unreadable)


def _in_version(store: ObjectStore, info: VersionInfo, item_id: str) -> InVersion | None:
    rows = rows_in_version(store, info.version, [item_id], holds_clips(store, info.version)).get(item_id)
    if not rows:
        return None
    first = min(rows, key=lambda r: start_of(r.item_id) or 0.0)
    clips = len(rows) if first.item_id != item_id else 0
    shard = _shard_of(load_manifest(store, info.version), first.row)
    return InVersion(info.version, first.row, shard, iso_time(info.created_seconds), clips)


def _shard_of(manifest: VersionManifest, row: int) -> int:
    for part in manifest.row_ranges:
        if part.first_row <= row < part.end_row:
            return part.shard
    raise DamagedArtefact(f"row {row} stands in no shard of its version")


def _status(
    published: InVersion | None,
    rejected: tuple[Rejected, ...],
    listed: bool | None,
    older: tuple[InVersion, ...],
    is_prepared: bool,
) -> Status:
    if published is not None:
        return "published"
    if rejected:
        return "rejected"
    if listed:
        return "waiting"
    if older:
        return "withdrawn"
    return "prepared" if is_prepared else "unknown"


def _known_ids(store: ObjectStore, current: str | None, origin: Origin | None) -> Iterator[str]:
    if origin is not None:
        yield from (item_id for item_id, _ in origin.rows())
    if current is not None:
        try:
            yield from ids_of_version(store, current)
        except (NotFound, DamagedArtefact):
            return  # said already: it is among the unreadable versions
