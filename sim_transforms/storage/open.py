"""From the `store` of a configuration to a store."""

from sim_transforms.errors import UsageError
from sim_transforms.storage.local import LocalStore
from sim_transforms.storage.object_store import ObjectStore


def open_store(url: str) -> ObjectStore:
    """A folder's path, a `file://` URL, or `gs://bucket/prefix`.

    Raises:
        UsageError: another scheme.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return LocalStore(url)
    if scheme == "file":
        return LocalStore(rest)
    if scheme == "gs":
        # Not above: Google's client takes a second to import, and local stores do without.
        from sim_transforms.storage.gcs import GcsStore

        return GcsStore(url)
    raise UsageError(f"store: found {url!r}; a folder's path or gs://BUCKET/PREFIX is expected")
