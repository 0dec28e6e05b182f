"""A large file -> one object of a remote store, by parts that travel side by side and are put together there."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from sim_transforms.errors import RuijiError
from sim_transforms.records.manifests import FilePart
from sim_transforms.storage.object_store import ObjectStore
from sim_transforms.storage.side_by_side import discard, side_by_side

# Each holds a chunk of its part in memory.
_UPLOADS = 4


def upload_parts(store: ObjectStore, path: Path, parts: Sequence[FilePart], target: str, crc32c: str) -> None:
    """Uploads parts as `<target>.part-<5 digits>`, composes `target` and deletes them, also after an error.

    May be repeated after a crash: the names are the same, so that nothing is left behind.

    Args:
        path: of the file; of each part a chunk is read at a time.
        parts: cover the file in order.
        target: name of the object.
        crc32c: of the whole file, to which the store's own is compared.

    Raises:
        DamagedArtefact: the file is shorter than its parts, or differs from the checksum.
    """
    filled = [part for part in parts if part.size_bytes]
    if len(filled) < 2:
        store.upload(path, target)
        return
    pieces = [(f"{target}.part-{number:05d}", part) for number, part in enumerate(filled)]
    names = [name for name, _ in pieces]
    try:
        side_by_side(lambda p: store.upload(path, p[0], p[1].offset, p[1].size_bytes), pieces, _UPLOADS)
        store.compose(names, target, crc32c)
    except BaseException:
        # The first error is the one to show; what stays is written over by a retry, or cleaned up with its version.
        with suppress(RuijiError):
            discard(store, names)
        raise
    discard(store, names)
