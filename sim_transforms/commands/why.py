"""`ruiji why`: where an item stands, or at which stage, when and why it was dropped."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sim_transforms.commands.whereabouts import (
    Rejected,
    catalog_rows,
    files_with,
    ids_of_version,
    iso_time,
    nearest_ids,
    places_in_examples,
    rejects_of,
    rows_in_version,
)
from sim_transforms.errors import DamagedArtefact, NotFound
from sim_transforms.media.remote import LOCAL_ONLY, RemoteFiles
from sim_transforms.records.codec import to_plain
from sim_transforms.records.manifests import VersionManifest
from sim_transforms.storage.object_store import ObjectStore
from sim_transforms.storage.open import open_store
from sim_transforms.storage.versions import VersionInfo, latest, list_versions, load_manifest

Status = Literal["published", "rejected", "waiting", "withdrawn", "prepared", "unknown"]


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
    """Place of an item in a version.

    Attributes:
        shard: whose rows hold it.
        created: ISO 8601 in UTC.
    """

    version: str
    row: int
    shard: int
    created: str


@dataclass(frozen=True)
class Standing:
    """What is known of an item.

    Attributes:
        status: published (LATEST holds it), rejected, waiting (in the catalog alone), withdrawn (only older versions
            hold it), prepared (only examples or embeddings do), unknown.
        store: its URL.
        latest: id of LATEST, or null.
        published: place in LATEST.
        older: places in the other whole versions, oldest first.
        unreadable: versions of which it cannot be told.
        rejected: what the rejects files say.
        catalog: of the configuration, or null where none was given.
        in_catalog: null where it was not asked.
        catalog_row: counted from 1; null where the row is no reference.
        examples: place in `examples/`: (shard, offset, length).
        embeddings: file in `embeddings/`.
        nearest: ids that are spelt alike, where it is unknown.
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


def why(item_id: str, store_url: str, origin: Origin | None) -> Standing:
    """Looks everywhere; without an origin in the store alone."""
    store = open_store(store_url)
    current = latest(store)
    places, unreadable = _in_versions(store, item_id)
    published = places.pop(current) if current in places else None
    rejected: tuple[Rejected, ...] = ()
    examples, embeddings, row, listed = None, None, None, None
    if origin is not None:
        rejected = tuple(rejects_of(origin.workdir, [item_id]).get(item_id, ()))
        examples = places_in_examples(origin.workdir, [item_id]).get(item_id)
        embeddings = next(iter(files_with(origin.workdir / "embeddings", "embeddings-*.parquet", [item_id])), None)
        rows = [row for found, row in origin.rows() if found == item_id]
        listed, row = bool(rows), rows[0] if rows else None
    older = tuple(sorted(places.values(), key=lambda p: (p.created, p.version)))
    status = _status(published, rejected, listed, older, bool(examples or embeddings))
    nearest = nearest_ids(item_id, _known_ids(store, current, origin)) if status == "unknown" else []
    return Standing(
        item_id=item_id, status=status, store=store.url, latest=current, published=published, older=older,
        unreadable=unreadable, rejected=rejected, catalog=origin.catalog if origin else None, in_catalog=listed,
        catalog_row=row, examples=examples, embeddings=embeddings, nearest=tuple(nearest),
    )  # fmt: skip


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
    row = rows_in_version(store, info.version, [item_id]).get(item_id)
    if row is None:
        return None
    shard = _shard_of(load_manifest(store, info.version), row)
    return InVersion(info.version, row, shard, iso_time(info.created_seconds))


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


def not_found(standing: Standing) -> NotFound:
    """The error of an item that stands nowhere."""
    places = [f"the versions of {standing.store}"]
    if standing.catalog is not None:
        places.append(f"the working directory, and the catalog {standing.catalog}")
    near = f"; did you mean {', '.join(standing.nearest)}?" if standing.nearest else ""
    bad = f"; {', '.join(standing.unreadable)} cannot be read (`ruiji versions verify`)" if standing.unreadable else ""
    return NotFound(f"item {standing.item_id!r} stands nowhere: looked in {', '.join(places)}{near}{bad}")


def why_json(standing: Standing) -> dict[str, Any]:
    """The object that --json prints."""
    plain: dict[str, Any] = to_plain(standing)
    return plain


def why_text(standing: Standing) -> str:
    """A headline, then a line a place."""
    lines = [f"{standing.item_id}: {_headline(standing)}"]
    if standing.published is not None:
        lines.append(f"version    {_place(standing.published)}, LATEST")
    for said in standing.rejected:
        lines.append(f"dropped    at {said.stage}: {said.reason}: {said.message}")
        lines.append(f"           {said.uri}; {said.file}, written {said.written}")
    if standing.in_catalog is not None:
        row = "" if standing.catalog_row is None else f"row {standing.catalog_row} of "
        lines.append(f"catalog    {row if standing.in_catalog else 'not in '}{standing.catalog}")
    if standing.examples is not None:
        shard, offset, length = standing.examples
        lines.append(f"examples   shard {shard}, {length:,} bytes from {offset:,} on")
    if standing.embeddings is not None:
        lines.append(f"embeddings {standing.embeddings}")
    lines += [f"older      {_place(place)}, of {place.created}" for place in standing.older]
    lines += [f"unreadable {version} (`ruiji versions verify {version}`)" for version in standing.unreadable]
    return "\n".join(lines)


def _place(place: InVersion) -> str:
    return f"{place.version}, row {place.row}, shard {place.shard}"


def _headline(standing: Standing) -> str:
    if standing.status == "published":
        gone = standing.in_catalog is False
        return "published, but not in the catalog: `ruiji reindex` takes it out" if gone else "published"
    if standing.status == "rejected":
        return f"dropped at {standing.rejected[0].stage}"
    if standing.status == "waiting":
        command = "run" if standing.latest is None else "reindex"
        return f"in the catalog, but not published yet: run `ruiji {command}`"
    if standing.status == "withdrawn":
        return "not in LATEST; older versions hold it"
    return "in the working directory alone" if standing.status == "prepared" else "stands nowhere"
