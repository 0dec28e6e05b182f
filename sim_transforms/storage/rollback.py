"""Moves LATEST back to an older version, which must be whole, and stays so."""

from dataclasses import dataclass

from sim_transforms.errors import DamagedArtefact, NotFound, PublishConflict
from sim_transforms.storage.leases import READERS, REMOVALS, Hold, fresh_holds
from sim_transforms.storage.object_store import ObjectStore
from sim_transforms.storage.versions import (
    MANIFEST,
    is_version_id,
    latest,
    load_manifest,
    missing_files,
    move_latest,
    object_name,
)


@dataclass(frozen=True)
class RolledBack:
    """LATEST named `before` and now names `version`; both alike where there was nothing to move."""

    before: str
    version: str


def roll_back(store: ObjectStore, version: str | None = None) -> RolledBack:
    """Moves LATEST to a whole version, the one that LATEST follows where none is named.

    Leases keep gc away from both versions; the target is looked at before the swap, so that no reader meets a version
    that is not whole, and after it, in case this process slept longer than its leases: then it swaps back.

    Raises:
        NotFound: nothing is published, no such version, or LATEST follows none.
        DamagedArtefact: the version is not whole, or gc is removing it; LATEST names what it did.
        PublishConflict: LATEST was moved meanwhile.
    """
    before = latest(store)
    if before is None:
        raise NotFound(f"{store.url}: nothing is published there (no LATEST)")
    target = _parent(store, before) if version is None else version
    if not is_version_id(target):
        raise NotFound(f"{target!r} is no version id: 16 hex digits are expected (`ruiji versions list`)")
    if target == before:
        return RolledBack(before, target)
    with Hold(store, READERS, target), Hold(store, READERS, before):
        if fresh_holds(store, REMOVALS, target):
            raise DamagedArtefact(f"{store.url}: gc is removing version {target}; LATEST is {before} still")
        check_whole(store, target)
        move_latest(store, target, before)
        try:
            check_whole(store, target)
        except (NotFound, DamagedArtefact) as error:
            _swap_back(store, target, before)
            raise DamagedArtefact(f"{error}; it went while LATEST was moved, which is {before} again") from error
    return RolledBack(before, target)


def check_whole(store: ObjectStore, version: str) -> None:
    """Compares names and sizes with the manifest; `ruiji versions verify` compares the bytes.

    Raises:
        NotFound: there is no such version.
        DamagedArtefact: its manifest was changed, or files are missing or of other sizes; names all of them.
    """
    missing = missing_files(store, version, load_manifest(store, version))
    if missing:
        raise DamagedArtefact(
            f"{store.url}: version {version} is not whole: {', '.join(missing)} missing or of another size"
        )


def _parent(store: ObjectStore, version: str) -> str:
    try:
        parent = load_manifest(store, version).parent
    except (NotFound, DamagedArtefact) as error:
        raise type(error)(f"{error}; LATEST names it, so that its parent is not known: name a version") from error
    if parent is None:
        raise NotFound(f"{store.url}: LATEST is {version}, the first version: there is none before it; name a version")
    if store.info(object_name(parent, MANIFEST)) is None:
        gone = f"LATEST is {version}; {parent}, which it follows, was removed by gc or forget"
        raise NotFound(f"{store.url}: {gone}; name a version of `ruiji versions list`")
    return parent


def _swap_back(store: ObjectStore, target: str, before: str) -> None:
    try:
        move_latest(store, before, target)
    except PublishConflict as error:
        raise PublishConflict(f"{error}; version {target}, to which LATEST was rolled back, is not whole") from error
