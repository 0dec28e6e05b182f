"""Items that must go -> a version without them, a working directory without them, and a receipt.

ruiji forget digit-0007 --config configs/digits.yaml
ruiji forget digit-0007 digit-0008 --config configs/digits.yaml --within 24 --json
"""

from pathlib import Path

from pipelines._main import Main
from pipelines.next_version import NextVersion, cache_of_workers, job_name, lease_file
from pipelines.stages import Stages
from sim_transforms.commands.forget import (
    Published,
    Receipt,
    check_catalog,
    check_whole_sounds,
    check_within,
    forget_versions,
    judge_receipt,
    receipt_json,
    receipt_text,
    unknown_items,
)
from sim_transforms.commands.forget_artefacts import forget_artefacts
from sim_transforms.commands.published import open_latest
from sim_transforms.commands.whereabouts import catalog_rows, holds_clips, rows_in_version
from sim_transforms.runs.lock import workdir_lock
from sim_transforms.runs.stages import scratch_folder
from sim_transforms.settings.stages import Settings
from sim_transforms.storage.leases import KeptLease
from sim_transforms.storage.object_store import ObjectStore
from sim_transforms.storage.open import open_store
from sim_transforms.storage.versions import latest
from sim_transforms.withdraw_items import settings_of_version, shown_by_centroid, withdrawal


def forget(main: Main) -> None:
    """`ruiji forget ITEM_ID... [--within HOURS] [--keep-in-catalog]`; may be repeated after a crash at any moment."""
    settings, given = main.settings(), main.arguments
    main.check_flags(settings)
    within_seconds = check_within(given.within)
    ids = tuple(dict.fromkeys(given.item_ids))
    stages = Stages(main, settings)
    listed = _listed(stages, settings, ids)
    check_catalog(settings.catalog.source, listed, given.keep_in_catalog)
    store = open_store(settings.store)
    check_whole_sounds(store, ids, listed)
    with (
        workdir_lock(stages.workdir),
        KeptLease(store, job_name(settings), remember=lease_file(stages.workdir)) as lease,
        scratch_folder(stages.workdir, "forget") as scratch,
    ):
        # The version first: what fails later is found again, and a version that misses its recall leaves all as it was.
        published = _publish_without(main, settings, (scratch, stages.examples, lease), ids)
        taken = forget_artefacts(stages.workdir, ids, settings.media.kind == "audio")
        older = forget_versions(store, ids, within_seconds)
    unknown = unknown_items(ids, published, taken, older)
    receipt = Receipt(ids, published, taken, older, unknown, tuple(sorted(listed)))
    main.answer(receipt_json(receipt), receipt_text(receipt))
    problem = judge_receipt(receipt)
    if problem is not None:
        raise problem


def _listed(stages: Stages, settings: Settings, ids: tuple[str, ...]) -> dict[str, int | None]:
    """The items that the catalog holds, with their rows."""
    rows = catalog_rows(stages.source(), settings.catalog.allow_outside, stages.files())
    sought = set(ids)
    return {item_id: row for item_id, row in rows if item_id in sought}


def _publish_without(
    main: Main, settings: Settings, held: tuple[Path, Path, KeptLease], ids: tuple[str, ...]
) -> Published:
    """Patches LATEST where it holds an item, and moves LATEST on."""
    store = open_store(settings.store)
    current = latest(store)
    rows = _rows(store, current, ids) if current is not None else {}
    if not rows:
        return Published(current, current, "unchanged", rows)
    scratch, examples, lease = held
    cache, with_page = cache_of_workers(main.options(settings), scratch), settings.index.page_items > 0
    opened = open_latest(settings.store, cache, with_page=with_page)
    # Once more: another job may have published since.
    rows = _rows(store, opened.version, ids)
    reason = (
        "the centroid of a shard is the vector of an item"
        if shown_by_centroid(opened.folder, opened.manifest, rows)
        else None
    )
    chosen = settings_of_version(opened.manifest, settings)
    following = NextVersion(opened, store, chosen, scratch, main, lease, (examples,))
    how, version = following.publish(withdrawal(opened.manifest, rows), reason)
    return Published(opened.version, version or opened.version, how, rows)


def _rows(store: ObjectStore, version: str, ids: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """The row of each item that a version holds, or those of a sound's clips."""
    clips = holds_clips(store, version)
    found = rows_in_version(store, version, ids, clips)
    # A sound may be named as the clip of another one would be, which is not meant.
    own = {item_id: [r.row for r in rows if not clips or r.item_id != item_id] for item_id, rows in found.items()}
    return {item_id: tuple(rows) for item_id, rows in own.items() if rows}
