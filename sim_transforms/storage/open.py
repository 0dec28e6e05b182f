"""From the `store` of a configuration to a store."""

from sim_transforms.errors import UsageError
from sim_transforms.storage.local import LocalStore
from sim_transforms.storage.object_store import ObjectStore


def open_store(url: str) -> ObjectStore:
    """A folder's path, or a `file://` URL.

    Raises:
        UsageError: another scheme.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return LocalStore(url)
    if scheme == "file":
        return LocalStore(rest)
    raise UsageError(f"store: found {url!r}; this version publishes to local folders alone, give a folder's path")
